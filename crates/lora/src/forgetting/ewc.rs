//! Elastic weight consolidation on the update of the weights.
//!
//! EWC (Kirkpatrick et al. 2017, arXiv:1612.00796) holds weights that matter to earlier tasks
//! where they are: `λ/2 · Σ Ω ⊙ ΔW²`, with ΔW = s·BA. In the separable form `Ω = Σ_t g_t x_tᵀ` the
//! same sum is
//!
//! ```text
//! λ/2 · s² · Σ_t Σ (Bᵀ diag(g_t) B) ⊙ (A diag(x_t) Aᵀ)
//! ```
//!
//! which needs r² numbers a task instead of the whole ΔW.

use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::fisher::{Fisher, FisherKind, Importance};
use super::penalty::Penalty;
use super::update::LowRankUpdate;
use crate::{Error, Result};

/// How strongly earlier tasks are held, and by which importances.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EwcConfig {
    /// `exact` or `separable`. Default `separable`.
    pub fisher: FisherKind,
    /// λ, with each task's importances at a mean of 1. Default 1.
    pub lambda: f64,
    /// γ: what earlier importances keep with each further task, 0 to 1. Default 1.
    pub gamma: f64,
    /// Training records of each task that its importances are estimated on. Default 256.
    pub records: usize,
}

impl Default for EwcConfig {
    fn default() -> Self {
        Self { fisher: FisherKind::default(), lambda: 1.0, gamma: 1.0, records: 256 }
    }
}

impl Validate for EwcConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        if !(self.lambda > 0.0 && self.lambda.is_finite()) {
            return Err(Invalid::new("lambda", "a number above 0", self.lambda));
        }
        if !(0.0..=1.0).contains(&self.gamma) {
            return Err(Invalid::new("gamma", "a number from 0 to 1", self.gamma));
        }
        if self.records == 0 {
            return Err(Invalid::new("records", "at least 1", self.records));
        }
        Ok(())
    }
}

/// The penalty of an adapter in training.
#[derive(Debug)]
pub struct Ewc {
    lambda: f64,
    modules: Vec<(LowRankUpdate, Importance)>,
}

impl Ewc {
    /// Holds the updates back by the importances of their projections.
    ///
    /// # Errors
    /// [`Error::FisherMismatch`] for a projection without importances.
    pub fn new(fisher: &Fisher, updates: Vec<LowRankUpdate>, lambda: f64) -> Result<Self> {
        let modules = updates
            .into_iter()
            .map(|update| {
                let importance = fisher.get(&update.name).ok_or_else(|| Error::FisherMismatch {
                    expected: format!("importances of {}", update.name),
                    found: "none".to_owned(),
                })?;
                let here = |tensor: &Tensor| tensor.f_to_device(update.lora_a.device());
                let importance = match importance {
                    Importance::Exact(diagonal) => Importance::Exact(here(diagonal)?),
                    Importance::Separable { output, input } => {
                        Importance::Separable { output: here(output)?, input: here(input)? }
                    }
                };
                Ok((update, importance))
            })
            .collect::<Result<_>>()?;
        Ok(Self { lambda, modules })
    }
}

impl Penalty for Ewc {
    fn name(&self) -> &'static str {
        "ewc"
    }

    fn backward(&self) -> limbeck_train::Result<f64> {
        let mut value = 0.0;
        // Projection by projection, so that no more than one ΔW is held.
        for (update, importance) in &self.modules {
            let factor = 0.5 * self.lambda * update.scale * update.scale;
            let term = importance.quadratic(update)?.f_mul_scalar(factor)?;
            value += term.f_double_value(&[])?;
            term.f_backward()?;
        }
        Ok(value)
    }
}

impl Importance {
    /// `Σ Ω ⊙ (BA)²`, without the scale.
    fn quadratic(&self, update: &LowRankUpdate) -> std::result::Result<Tensor, tch::TchError> {
        let LowRankUpdate { lora_a, lora_b, .. } = update;
        match self {
            Self::Exact(diagonal) => {
                lora_b.f_matmul(lora_a)?.f_square()?.f_mul(diagonal)?.f_sum(Kind::Float)
            }
            Self::Separable { output, input } => {
                // [tasks, rank, rank], both.
                let left = lora_b.f_tr()?.f_mul(&output.f_unsqueeze(1)?)?.f_matmul(lora_b)?;
                let right = lora_a.f_mul(&input.f_unsqueeze(1)?)?.f_matmul(&lora_a.f_tr()?)?;
                left.f_mul(&right)?.f_sum(Kind::Float)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::no_grad;

    use super::super::fixture::{adapter, batch, examples, model, random, update};
    use super::*;

    const NAME: &str = "model.layers.0.mlp.up_proj";

    /// Two tasks' vectors for a projection of 7 inputs and 5 outputs.
    fn separable() -> Importance {
        Importance::Separable {
            output: random(&[2, 5], 5).square(),
            input: random(&[2, 7], 6).square(),
        }
    }

    fn exact() -> Importance {
        Importance::Exact(separable().dense().unwrap())
    }

    fn penalty(importance: Importance, update: LowRankUpdate) -> Ewc {
        Ewc { lambda: 0.3, modules: vec![(update, importance)] }
    }

    fn close(found: &Tensor, expected: &Tensor) {
        let size = expected.abs().max().double_value(&[]);
        assert!(size > 0.0 && found.allclose(expected, 1e-4, 1e-5 * size, false));
    }

    #[test]
    fn the_value_is_that_of_the_explicit_matrix() {
        let LowRankUpdate { lora_a, lora_b, .. } = update(NAME, 1.7);
        let delta = lora_b.matmul(&lora_a) * 1.7;
        let expected = (separable().dense().unwrap() * delta.square()).sum(Kind::Float) * 0.15;
        for importance in [separable(), exact()] {
            let value = penalty(importance, update(NAME, 1.7)).backward().unwrap();
            let expected = expected.double_value(&[]);
            assert!((value - expected).abs() < 1e-5 * expected, "{value} {expected}");
        }
    }

    #[test]
    fn both_forms_have_the_same_gradients_and_they_are_finite_differences() {
        let (one, other) =
            (penalty(separable(), update(NAME, 0.7)), penalty(exact(), update(NAME, 0.7)));
        one.backward().unwrap();
        other.backward().unwrap();
        let step = 1e-2;
        for of in [
            |update: &LowRankUpdate| update.lora_a.shallow_clone(),
            |update: &LowRankUpdate| update.lora_b.shallow_clone(),
        ] {
            close(&of(&one.modules[0].0).grad(), &of(&other.modules[0].0).grad());
            for place in [0, 3, 9] {
                let at = |by: f64| {
                    let moved = penalty(exact(), update(NAME, 0.7));
                    no_grad(|| {
                        let mut entry = of(&moved.modules[0].0).view([-1]).get(place);
                        let _ = entry.g_add_scalar_(by);
                    });
                    moved.backward().unwrap()
                };
                let expected = (at(step) - at(-step)) / (2.0 * step);
                let found = of(&one.modules[0].0).grad().view([-1]).double_value(&[place]);
                assert!(
                    (found - expected).abs() < 2e-3 * (1.0 + expected.abs()),
                    "{found} {expected}"
                );
            }
        }
    }

    #[test]
    fn another_gauge_of_the_same_update_costs_the_same() {
        for importance in [separable, exact] {
            let plain = penalty(importance(), update(NAME, 1.0)).backward().unwrap();
            let mut gauged = update(NAME, 1.0);
            let mix = Tensor::from_slice(&[2.0_f32, 1.0, -0.5, 3.0]).view([2, 2]);
            let mix = mix.to_device(gauged.lora_a.device());
            gauged.lora_b = gauged.lora_b.matmul(&mix).detach().set_requires_grad(true);
            gauged.lora_a = mix.inverse().matmul(&gauged.lora_a).detach().set_requires_grad(true);
            let found = penalty(importance(), gauged).backward().unwrap();
            assert!((found - plain).abs() < 1e-4 * plain, "{found} {plain}");
        }
    }

    #[test]
    fn it_holds_every_projection_of_an_adapter_and_names_one_it_does_not_know() {
        let mut model = model();
        let names = model.linear_names();
        let batches = [batch(&examples(3))];
        for kind in [FisherKind::Exact, FisherKind::Separable] {
            let fisher = Fisher::estimate(&mut model, &names, &batches, kind).unwrap();
            let adapter = adapter(&mut model, 4);
            let updates = || LowRankUpdate::of(&model, &adapter).unwrap();
            let expected: f64 = updates()
                .iter()
                .map(|LowRankUpdate { name, lora_a, lora_b, scale }| {
                    let square = (lora_b.matmul(lora_a) * *scale).square();
                    let importance = fisher.get(name).unwrap().dense().unwrap();
                    (square * importance).sum(Kind::Double).double_value(&[])
                })
                .sum();
            let ewc = Ewc::new(&fisher, updates(), 4.0).unwrap();
            let value = ewc.backward().unwrap();
            assert!((value - 2.0 * expected).abs() < 1e-4 * expected, "{value} {expected}");
            for (name, tensor) in adapter.trainable_parameters() {
                assert!(tensor.grad().abs().max().double_value(&[]) > 0.0, "{name}");
            }
            let mut updates = updates();
            updates[2].name = "elsewhere".to_owned();
            let error = Ewc::new(&fisher, updates, 1.0).unwrap_err().to_string();
            assert!(error.contains("elsewhere"), "{error}");
            adapter.detach(&mut model).unwrap();
        }
    }

    #[test]
    fn impossible_values_name_their_key() {
        EwcConfig::default().validate().unwrap();
        for (field, config) in [
            ("lambda", EwcConfig { lambda: 0.0, ..EwcConfig::default() }),
            ("lambda", EwcConfig { lambda: f64::NAN, ..EwcConfig::default() }),
            ("gamma", EwcConfig { gamma: 1.5, ..EwcConfig::default() }),
            ("records", EwcConfig { records: 0, ..EwcConfig::default() }),
        ] {
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }
}
