//! The update ΔW = s·BA of each adapted projection, as penalties see it.

use std::collections::BTreeMap;

use limbeck_model::Decoder;
use tch::Tensor;

use crate::{Adapter, Error, Result};

/// The factors of one projection's update. The tensors are the adapter's own, so that what a
/// penalty adds to their gradients is there for the optimiser.
#[derive(Debug)]
pub struct LowRankUpdate {
    /// The projection's name, such as `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// `[rank, in_features]`, f32.
    pub lora_a: Tensor,
    /// `[out_features, rank]`, f32.
    pub lora_b: Tensor,
    /// s.
    pub scale: f64,
}

impl LowRankUpdate {
    /// The updates of an adapter that is on this decoder.
    ///
    /// # Errors
    /// [`Error::NotLowRank`] where the adapter trains anything but A and B of projections:
    /// no penalty on ΔW holds that back.
    pub fn of(decoder: &Decoder, adapter: &Adapter) -> Result<Vec<Self>> {
        let mut parameters: BTreeMap<String, Tensor> =
            adapter.trainable_parameters().into_iter().collect();
        let plans = adapter.config().resolve(&decoder.linear_names())?;
        let mut updates = Vec::with_capacity(plans.len());
        for plan in plans {
            let key = |matrix: &str| format!("base_model.model.{}.{matrix}.weight", plan.name);
            let mut take = |matrix: &str| {
                let name = key(matrix);
                parameters.remove(&name).ok_or(Error::NotLowRank { parameter: name })
            };
            let (lora_a, lora_b) = (take("lora_A")?, take("lora_B")?);
            updates.push(Self { name: plan.name, lora_a, lora_b, scale: plan.scale });
        }
        match parameters.into_keys().next() {
            Some(parameter) => Err(Error::NotLowRank { parameter }),
            None => Ok(updates),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{adapter, model};
    use super::*;
    use crate::LoraLinear;

    #[test]
    fn it_has_every_projection_and_its_product_is_the_layers_update() {
        let mut model = model();
        let adapter = adapter(&mut model, 3);
        let updates = LowRankUpdate::of(&model, &adapter).unwrap();
        let names: Vec<String> = updates.iter().map(|update| update.name.clone()).collect();
        assert_eq!(names, model.linear_names());
        for LowRankUpdate { name, lora_a, lora_b, scale } in &updates {
            let layer: &dyn std::any::Any = model.linear(name).unwrap();
            let expected = layer.downcast_ref::<LoraLinear>().unwrap().delta_weight().unwrap();
            let found = lora_b.matmul(lora_a) * *scale;
            assert!(found.allclose(&expected, 1e-5, 1e-7, false), "{name}");
        }
    }
}
