//! The update ΔW = s·BA of each adapted projection, as penalties see it.

use std::collections::BTreeMap;

use limbeck_model::Decoder;
use tch::Tensor;

use crate::config::Init;
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
    /// [`Error::NotLowRank`] where the adapter trains anything but A and B of the blocks'
    /// projections, and [`Error::Refused`] where its update is not their product: no penalty
    /// on ΔW holds that back.
    pub fn of(decoder: &Decoder, adapter: &Adapter) -> Result<Vec<Self>> {
        let config = adapter.config();
        for (variant, is_on) in
            [("use_dora", config.use_dora), ("init = \"pissa\"", config.init == Init::Pissa)]
        {
            if is_on {
                return Err(Error::Refused {
                    what: variant.to_owned(),
                    operation: "trained with a penalty on its update",
                    reason: "its update is not the product of A and B",
                });
            }
        }
        let mut parameters: BTreeMap<String, Tensor> =
            adapter.trainable_parameters().into_iter().collect();
        let plans = adapter.config().resolve(&decoder.linear_names())?;
        let mut updates = Vec::with_capacity(plans.len());
        let projections = decoder.linear_names();
        for plan in plans {
            if !projections.contains(&plan.name) {
                return Err(Error::NotLowRank { parameter: plan.name });
            }
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
    use crate::{LoraConfig, LoraLinear, TargetModules};

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

    #[test]
    fn what_a_penalty_on_the_product_does_not_hold_is_refused() {
        let refused = |config: LoraConfig| {
            let mut model = model();
            let adapter = Adapter::attach(&mut model, config.adapter(None), 1).unwrap();
            LowRankUpdate::of(&model, &adapter).unwrap_err().to_string()
        };
        let plain = LoraConfig::default;
        let error = refused(LoraConfig { use_dora: true, ..plain() });
        assert!(error.contains("use_dora"), "{error}");
        let error = refused(LoraConfig { init: Init::Pissa, ..plain() });
        assert!(error.contains("pissa"), "{error}");
        for name in ["lm_head", "embed_tokens"] {
            let targets = TargetModules::Names(vec!["q_proj".to_owned(), name.to_owned()]);
            let error = refused(LoraConfig { target_modules: targets, ..plain() });
            assert!(error.contains(name), "{error}");
            let saved = vec![name.to_owned()];
            let error = refused(LoraConfig { modules_to_save: saved, ..plain() });
            assert!(error.contains(name), "{error}");
        }
    }
}
