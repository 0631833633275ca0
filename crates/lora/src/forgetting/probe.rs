//! What goes into a projection and the loss's gradient by what comes out, without a gradient
//! by the weight.
//!
//! A probed projection adds a leaf of zeros to its output. The leaf changes nothing and its
//! gradient is δ = ∂L/∂y, so that for an update ΔW of the weight ∂L/∂ΔW = Σ δ xᵀ over the
//! positions: of one example, of a batch or of nothing but its diagonal, as the caller likes.

use std::sync::{Arc, Mutex, PoisonError};

use limbeck_model::{Decoder, Linear, Result as ModelResult};
use tch::{Kind, Tensor};

use crate::{Error, Result};

/// What a probed projection saw of one batch.
#[derive(Debug)]
pub struct Observation {
    /// Its input, f32 `[batch, seq, in_features]`.
    pub input: Tensor,
    /// The loss's gradient by its output, f32 `[batch, seq, out_features]`.
    pub output_gradient: Tensor,
}

/// The input and the leaf of the last forward pass; none before it, and once taken.
type Slot = Arc<Mutex<Option<(Tensor, Tensor)>>>;

/// Probes on some of a decoder's projections.
#[derive(Debug)]
pub struct Probes {
    modules: Vec<(String, Slot)>,
}

impl Probes {
    /// Puts a probe around each projection and freezes the decoder's own parameters.
    ///
    /// # Errors
    /// A name that the decoder does not have, before anything is changed.
    pub fn attach(decoder: &mut Decoder, names: &[String]) -> Result<Self> {
        if let Some(name) = names.iter().find(|name| decoder.linear(name).is_none()) {
            return Err(limbeck_model::Error::LinearMissing { name: name.clone() }.into());
        }
        decoder.set_requires_grad(false)?;
        let modules: Vec<(String, Slot)> =
            names.iter().map(|name| (name.clone(), Slot::default())).collect();
        for (name, slot) in &modules {
            decoder.map_linear(name, &mut |base| {
                Ok(Box::new(ProbedLinear { base, slot: Arc::clone(slot) }))
            })?;
        }
        Ok(Self { modules })
    }

    /// The probed projections, in the order they were given.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.modules.iter().map(|(name, _)| name.as_str())
    }

    /// What the projections saw since the last call, after one forward and one backward pass.
    ///
    /// # Errors
    /// [`Error::Unobserved`] where there was no such pass.
    pub fn take(&self) -> Result<Vec<Observation>> {
        self.modules
            .iter()
            .map(|(name, slot)| {
                let unobserved = || Error::Unobserved { name: name.clone() };
                let taken = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                let (input, leaf) = taken.ok_or_else(unobserved)?;
                let gradient = leaf.f_grad()?;
                if !gradient.defined() {
                    return Err(unobserved());
                }
                Ok(Observation {
                    input: input.f_to_kind(Kind::Float)?,
                    output_gradient: gradient.f_to_kind(Kind::Float)?,
                })
            })
            .collect()
    }

    /// Takes the probes off again: the projections are the very layers they were.
    ///
    /// # Errors
    /// [`Error::Unobserved`] for a projection that has lost its probe.
    pub fn detach(self, decoder: &mut Decoder) -> Result<()> {
        for (name, _) in &self.modules {
            decoder.map_linear(name, &mut |layer| {
                let layer: Box<dyn std::any::Any> = layer;
                layer.downcast::<ProbedLinear>().map(|probed| probed.base).map_err(|_| {
                    limbeck_model::Error::layer(name, Error::Unobserved { name: name.clone() })
                })
            })?;
        }
        Ok(())
    }
}

/// A projection that remembers its last input and lets the gradient of its output be read.
#[derive(Debug)]
struct ProbedLinear {
    base: Box<dyn Linear>,
    slot: Slot,
}

impl Linear for ProbedLinear {
    fn forward(&self, input: &Tensor) -> ModelResult<Tensor> {
        let output = self.base.forward(input)?;
        let leaf = output.f_detach()?.f_zeros_like()?.f_set_requires_grad(true)?;
        let probed = output.f_add(&leaf)?;
        let seen = (input.f_detach()?, leaf);
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        Ok(probed)
    }

    fn in_features(&self) -> i64 {
        self.base.in_features()
    }

    fn out_features(&self) -> i64 {
        self.base.out_features()
    }

    fn tensors(&self) -> Vec<(String, Tensor)> {
        self.base.tensors()
    }

    fn dense_weight(&self) -> ModelResult<Tensor> {
        self.base.dense_weight()
    }

    fn bias(&self) -> Option<Tensor> {
        self.base.bias()
    }
}

#[cfg(test)]
mod tests {
    use limbeck_train::Objective as _;

    use super::super::fixture::{batch, examples, model, random};
    use super::*;
    use crate::FrozenHeadObjective;

    #[test]
    fn a_probed_model_computes_the_same_and_hands_its_layers_back() {
        let mut model = model();
        let names = model.linear_names();
        let batch = batch(&examples(2));
        let hidden = |model: &Decoder| limbeck_train::objective::forward(model, &batch).unwrap();
        let before = hidden(&model);
        let weight = model.linear(&names[3]).unwrap().dense_weight().unwrap().data_ptr();
        let probes = Probes::attach(&mut model, &names).unwrap();
        // Probes ask for gradients, and norms that are differentiated sum in another order.
        let difference = (hidden(&model) - &before).abs().max().double_value(&[]);
        assert!(difference < 1e-5, "{difference}");
        assert!(matches!(probes.take(), Err(Error::Unobserved { .. })), "no backward pass");
        probes.detach(&mut model).unwrap();
        assert_eq!(hidden(&model), before);
        assert_eq!(model.linear(&names[3]).unwrap().dense_weight().unwrap().data_ptr(), weight);
    }

    #[test]
    fn the_product_of_both_is_the_gradient_by_the_weight() {
        let mut model = model();
        let name = model.linear_names()[4].clone();
        let weight = model.linear(&name).unwrap().dense_weight().unwrap();
        let batch = batch(&examples(3));
        let mut objective = FrozenHeadObjective { chunk_rows: 100 };
        let weight = weight.set_requires_grad(true);
        objective.accumulate(&model, &batch, 2.0).unwrap();
        let expected = weight.grad();
        let probes = Probes::attach(&mut model, &[name]).unwrap();
        objective.accumulate(&model, &batch, 2.0).unwrap();
        let seen = probes.take().unwrap().pop().unwrap();
        let flat = |tensor: &Tensor| tensor.flatten(0, 1);
        let found = flat(&seen.output_gradient).tr().matmul(&flat(&seen.input));
        assert!(found.allclose(&expected, 1e-4, 1e-6, false));
        assert!(expected.abs().max().double_value(&[]) > 1e-4);
        assert!(probes.take().is_err(), "taken once");
    }

    #[test]
    fn an_unknown_projection_is_named_and_changes_nothing() {
        let mut model = model();
        let names = [model.linear_names()[0].clone(), "model.layers.9.mlp.up_proj".to_owned()];
        let error = Probes::attach(&mut model, &names).unwrap_err();
        assert!(error.to_string().contains("layers.9"), "{error}");
        let input = random(&[1, 2, 32], 1);
        let layer: &dyn std::any::Any = model.linear(&names[0]).unwrap();
        assert!(layer.is::<limbeck_model::DenseLinear>(), "{input:?}");
    }
}
