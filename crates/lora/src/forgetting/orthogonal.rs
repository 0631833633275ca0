//! O-LoRA's penalty (Wang et al. 2023, arXiv:2310.14152): the inputs that a new adapter reads
//! are to be others than those of the adapters before it, `λ₁ Σ |A_old A_newᵀ|`.
//!
//! The adapters before have been absorbed; of them only the A's are kept.

use std::collections::BTreeMap;
use std::path::Path;

use limbeck_core::{Checkpoint, write_tensors};
use limbeck_model::Decoder;
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::penalty::Penalty;
use super::update::LowRankUpdate;
use crate::{Error, Result};

/// How strongly a new adapter is kept from the inputs of earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OrthogonalConfig {
    /// λ₁. Default 0.5, the paper's.
    pub lambda: f64,
}

impl Default for OrthogonalConfig {
    fn default() -> Self {
        Self { lambda: 0.5 }
    }
}

impl Validate for OrthogonalConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        if self.lambda > 0.0 && self.lambda.is_finite() {
            return Ok(());
        }
        Err(Invalid::new("lambda", "a number above 0", self.lambda))
    }
}

/// The A's of the adapters so far, by projection: f32 `[ranks, in_features]`.
#[derive(Debug, Default)]
pub struct Subspaces {
    modules: BTreeMap<String, Tensor>,
}

impl Subspaces {
    /// Adds those of an adapter.
    ///
    /// # Errors
    /// libtorch's.
    pub fn add(&mut self, updates: &[LowRankUpdate]) -> Result<()> {
        for LowRankUpdate { name, lora_a, .. } in updates {
            // A copy: the adapter's own tensor is a view into the optimiser's buffer.
            let lora_a = lora_a.f_detach()?.f_add_scalar(0.0)?;
            let all = match self.modules.remove(name) {
                Some(before) => Tensor::f_cat(&[before, lora_a], 0)?,
                None => lora_a,
            };
            self.modules.insert(name.clone(), all);
        }
        Ok(())
    }

    /// Writes them as a safetensors file.
    ///
    /// # Errors
    /// Write errors.
    pub fn save(&self, path: &Path) -> Result<()> {
        let tensors: Vec<(String, Tensor)> = self
            .modules
            .iter()
            .map(|(name, lora_a)| (format!("{name}.lora_A"), lora_a.shallow_clone()))
            .collect();
        Ok(write_tensors(path, &tensors, &[("format", "pt")])?)
    }

    /// Reads those of a decoder's projections.
    ///
    /// # Errors
    /// A damaged file; [`Error::FisherFile`] for a tensor that belongs to no projection or has
    /// another width.
    pub fn load(path: &Path, decoder: &Decoder) -> Result<Self> {
        let mut file = Checkpoint::open_file(path)?;
        let mut modules = BTreeMap::new();
        for key in file.names() {
            let wrong = |expected: String, found: String| Error::FisherFile {
                path: path.to_owned(),
                expected,
                found,
            };
            let name = key.strip_suffix(".lora_A").unwrap_or(&key).to_owned();
            let linear = decoder
                .linear(&name)
                .ok_or_else(|| wrong("lora_A of a projection".to_owned(), key.clone()))?;
            let tensor = file.take(&key)?.f_to_device(decoder.device())?;
            let width = linear.in_features();
            if tensor.size2().is_ok_and(|(_, found)| found == width) {
                modules.insert(name, tensor);
            } else {
                let expected = format!("{key} of shape [ranks, {width}]");
                return Err(wrong(expected, format!("{:?}", tensor.size())));
            }
        }
        Ok(Self { modules })
    }
}

/// The penalty of an adapter in training; nothing for projections that no earlier one had.
#[derive(Debug)]
pub struct Orthogonal {
    lambda: f64,
    modules: Vec<(LowRankUpdate, Tensor)>,
}

impl Orthogonal {
    /// Keeps the updates from the subspaces.
    pub fn new(subspaces: &Subspaces, updates: Vec<LowRankUpdate>, lambda: f64) -> Self {
        let modules = updates
            .into_iter()
            .filter_map(|update| {
                let before = subspaces.modules.get(&update.name)?.shallow_clone();
                Some((update, before))
            })
            .collect();
        Self { lambda, modules }
    }
}

impl Penalty for Orthogonal {
    fn name(&self) -> &'static str {
        "orthogonal"
    }

    fn backward(&self) -> limbeck_train::Result<f64> {
        let mut value = 0.0;
        for (update, before) in &self.modules {
            let overlap = before.f_matmul(&update.lora_a.f_tr()?)?; // [ranks before, rank]
            let term = overlap.f_abs()?.f_sum(Kind::Float)?.f_mul_scalar(self.lambda)?;
            value += term.f_double_value(&[])?;
            term.f_backward()?;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{adapter, model, random, update};
    use super::*;

    const NAME: &str = "model.layers.0.self_attn.q_proj";

    #[test]
    fn the_value_is_the_formula_and_the_gradient_goes_to_a_alone() {
        let mut before = Subspaces::default();
        let (first, second) = (random(&[2, 7], 8), random(&[3, 7], 9));
        for lora_a in [&first, &second] {
            let lora_a = lora_a.shallow_clone();
            before.add(&[LowRankUpdate { lora_a, ..update(NAME, 1.0) }]).unwrap();
        }
        let new = update(NAME, 1.0);
        let lora_a = new.lora_a.shallow_clone();
        let penalty = Orthogonal::new(&before, vec![new, update("another", 1.0)], 0.2);
        let sum = |old: &Tensor| old.matmul(&lora_a.tr()).abs().sum(Kind::Float).double_value(&[]);
        let expected = 0.2 * (sum(&first) + sum(&second));
        let value = penalty.backward().unwrap();
        assert!((value - expected).abs() < 1e-5 * expected, "{value} {expected}");
        assert!(lora_a.grad().abs().max().double_value(&[]) > 0.0);
        assert!(!penalty.modules[0].0.lora_b.grad().defined());
        assert_eq!(penalty.modules.len(), 1, "nothing came before in the other projection");
    }

    #[test]
    fn inputs_that_no_adapter_read_cost_nothing() {
        let mut before = Subspaces::default();
        let axes = Tensor::eye(7, (Kind::Float, limbeck_core::test_device()));
        let of = |from| {
            let lora_a = axes.narrow(0, from, 2).copy().set_requires_grad(true);
            LowRankUpdate { lora_a, ..update(NAME, 1.0) }
        };
        before.add(&[of(0)]).unwrap();
        let cost = |from| Orthogonal::new(&before, vec![of(from)], 1.0).backward().unwrap();
        assert!(cost(2).abs() < 1e-9 && (cost(1) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_saved_is_loaded_and_a_foreign_tensor_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("subspaces.safetensors");
        let mut model = model();
        let adapter = adapter(&mut model, 2);
        let mut before = Subspaces::default();
        before.add(&LowRankUpdate::of(&model, &adapter).unwrap()).unwrap();
        before.save(&path).unwrap();
        let loaded = Subspaces::load(&path, &model).unwrap();
        assert_eq!(loaded.modules.len(), model.linear_names().len());
        for (name, lora_a) in &before.modules {
            assert_eq!(loaded.modules[name], lora_a.detach(), "{name}");
        }
        for (name, shape) in [("elsewhere", [2, 32]), (NAME, [2, 31])] {
            let tensor = (format!("{name}.lora_A"), random(&shape, 1));
            write_tensors(&path, &[tensor], &[]).unwrap();
            let error = Subspaces::load(&path, &model).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(OrthogonalConfig { lambda: -1.0 }.validate().is_err());
    }
}
