//! A projection with adapters in tiers.

use std::sync::{Arc, Mutex};

use limbeck_model::{Error as ModelError, Linear, Result as ModelResult};
use tch::{Kind, Tensor};

use super::lock;
use super::route::Route;

/// `y = Wx + Σ g·s·B·A·x` around any projection, dense or packed, with the adapters and gates
/// that each row of the batch was routed to. Without any it is the projection itself.
#[derive(Debug)]
pub struct TieredLinear {
    base: Box<dyn Linear>,
    name: String,
    /// Index among the decoder's projections.
    projection: usize,
    route: Arc<Mutex<Route>>,
}

impl TieredLinear {
    pub(super) fn new(
        base: Box<dyn Linear>,
        name: String,
        projection: usize,
        route: Arc<Mutex<Route>>,
    ) -> Self {
        Self { base, name, projection, route }
    }

    /// The projection underneath.
    pub fn base(&self) -> &dyn Linear {
        self.base.as_ref()
    }

    /// Takes the tiers off.
    pub fn into_base(self) -> Box<dyn Linear> {
        self.base
    }
}

impl Linear for TieredLinear {
    fn forward(&self, input: &Tensor) -> ModelResult<Tensor> {
        let output = self.base.forward(input)?;
        lock(&self.route)
            .apply(self.projection, input, output)
            .map_err(|error| ModelError::layer(self.name.clone(), error))
    }

    fn in_features(&self) -> i64 {
        self.base.in_features()
    }

    fn out_features(&self) -> i64 {
        self.base.out_features()
    }

    /// The base's tensors alone: adapters belong to the tiers and not to the model, and a
    /// decoder that is saved with tiers on it is its base.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        self.base.tensors()
    }

    /// The weight that all rows are routed to, in the dtype of the base's.
    fn dense_weight(&self) -> ModelResult<Tensor> {
        let weight = self.base.dense_weight()?;
        let delta = lock(&self.route).delta_weight(self.projection);
        match delta.map_err(|error| ModelError::layer(self.name.clone(), error))? {
            None => Ok(weight),
            Some(delta) => {
                let sum = weight.f_to_kind(Kind::Float)?.f_add(&delta)?;
                Ok(sum.f_to_kind(weight.f_kind()?)?)
            }
        }
    }

    fn bias(&self) -> Option<Tensor> {
        self.base.bias()
    }
}
