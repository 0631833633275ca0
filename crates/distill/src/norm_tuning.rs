//! Repair of a quantised model: its norms, the only weights left as they were, learn to make
//! up for what rounding took from the rest (Li et al., "Norm Tweaking", arXiv:2309.02784; here
//! against the distributions of the unquantised model, not layer by layer).
//!
//! Norms are a few thousand numbers and stay dense in every format, so the folder is as it was
//! but for them. Some sequences are held out: where they do not gain, all stays as it was.

use limbeck_model::{Decoder, Input};
use limbeck_run::config::{Invalid, Validate};
use limbeck_train::optimizer::{Optimizer, OptimizerConfig, OptimizerKind};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::divergence::DivergenceSettings;
use crate::error::Result;

/// One of so many sequences is held out.
const HELD_OUT: usize = 5;
/// Largest norm of a step's gradient.
const CLIP: f64 = 1.0;

/// Settings of [`tune_norms`]; the `repair` table of quantisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NormTuningConfig {
    /// Steps of one sequence each; 0 for no repair. Default 0.
    pub steps: usize,
    /// Highest learning rate, that of the first step; it falls to 0 in a line. Default 5e-4.
    pub learning_rate: f64,
    /// Tokens of a sequence, at most. Default 256.
    pub tokens: usize,
}

impl Default for NormTuningConfig {
    fn default() -> Self {
        Self { steps: 0, learning_rate: 5e-4, tokens: 256 }
    }
}

impl Validate for NormTuningConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return Err(Invalid::new("learning_rate", "a number above 0", self.learning_rate));
        }
        if self.tokens < 2 {
            return Err(Invalid::new("tokens", "at least 2", self.tokens));
        }
        Ok(())
    }
}

/// What tuning did: nats of KL(original ‖ model) a token of the sequences held out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NormTuning {
    /// Before.
    pub before: f64,
    /// After.
    pub after: f64,
    /// Whether the norms were kept.
    pub kept: bool,
}

/// Tunes the norms of the blocks of `model` so that its distributions come closer to those of
/// `original`. `progress` hears of each step.
///
/// The norms are float32 afterwards and rounded to `stored`, the dtype they will be written in.
/// With fewer than two sequences of two tokens, nothing is done.
///
/// # Errors
/// Tokens that a model does not have; libtorch's.
pub fn tune_norms(
    original: &Decoder,
    model: &mut Decoder,
    sequences: &[Vec<i64>],
    config: &NormTuningConfig,
    stored: Kind,
    progress: &mut dyn FnMut(),
) -> Result<Option<NormTuning>> {
    let usable: Vec<&[i64]> = sequences
        .iter()
        .map(|tokens| &tokens[..tokens.len().min(config.tokens)])
        .filter(|tokens| tokens.len() >= 2)
        .collect();
    let (held, taught): (Vec<_>, Vec<_>) =
        usable.iter().enumerate().partition(|(place, _)| place % HELD_OUT == 0);
    if config.steps == 0 || held.is_empty() || taught.is_empty() {
        return Ok(None);
    }
    let held: Vec<&[i64]> = held.into_iter().map(|(_, &tokens)| tokens).collect();
    model.set_requires_grad(false)?;
    let names = norm_names(model);
    let mut norms = Vec::with_capacity(names.len());
    let mut kept = Vec::with_capacity(names.len());
    for name in &names {
        model.map_norm(name, &mut |weight| {
            kept.push(weight.f_detach()?.f_mul_scalar(1.0)?);
            let weight = weight.f_detach()?.f_to_kind(Kind::Float)?.f_mul_scalar(1.0)?;
            norms.push((name.clone(), weight.f_set_requires_grad(true)?));
            let (_, weight) = &norms[norms.len() - 1];
            Ok(weight.shallow_clone())
        })?;
    }
    let before = mean_divergence(original, model, &held)?;
    let settings = OptimizerConfig {
        kind: OptimizerKind::AdamW,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.0,
        muon_ratio: None,
    };
    let mut optimizer = Optimizer::new(norms, settings)?;
    for step in 0..config.steps {
        let (_, &tokens) = taught[step % taught.len()];
        optimizer.zero_gradients()?;
        let (sum, count) = divergence(original, model, tokens)?;
        sum.f_div_scalar(count as f64)?.f_backward()?;
        optimizer.clip_gradients(CLIP)?;
        let left = 1.0 - step as f64 / config.steps as f64;
        optimizer.step(config.learning_rate * left)?;
        progress();
    }
    for name in &names {
        model.map_norm(name, &mut |weight| {
            Ok(weight.f_detach()?.f_to_kind(stored)?.f_to_kind(Kind::Float)?)
        })?;
    }
    let after = mean_divergence(original, model, &held)?;
    let better = after < before;
    if !better {
        for (name, weight) in names.iter().zip(&kept) {
            model.map_norm(name, &mut |_| Ok(weight.shallow_clone()))?;
        }
    }
    Ok(Some(NormTuning { before, after, kept: better }))
}

/// Names of the blocks' norms, as [`Decoder::map_norm`] takes them.
fn norm_names(model: &Decoder) -> Vec<String> {
    model
        .named_parameters()
        .into_iter()
        .filter_map(|(name, _)| {
            let layer = name.strip_suffix(".weight")?;
            let is_norm = layer.starts_with("model.layers.") && layer.ends_with("norm");
            is_norm.then(|| layer.to_owned())
        })
        .collect()
}

/// Nats a token over sequences.
fn mean_divergence(original: &Decoder, model: &Decoder, sequences: &[&[i64]]) -> Result<f64> {
    let _no_grad = tch::no_grad_guard();
    let (mut sum, mut tokens) = (0.0, 0);
    for sequence in sequences {
        let (of_sequence, count) = divergence(original, model, sequence)?;
        sum += of_sequence.f_double_value(&[])?;
        tokens += count;
    }
    Ok(sum / tokens.max(1) as f64)
}

/// The sum over the tokens of a sequence, and their number.
fn divergence(original: &Decoder, model: &Decoder, tokens: &[i64]) -> Result<(Tensor, usize)> {
    let logits = |decoder: &Decoder| -> Result<Tensor> {
        let tokens = Tensor::f_from_slice(tokens)?.f_unsqueeze(0)?.f_to_device(decoder.device())?;
        let hidden = decoder.forward(&Input::causal(&tokens), None, None)?;
        Ok(decoder.logits(&hidden)?.f_squeeze_dim(0)?.f_to_kind(Kind::Float)?)
    };
    let theirs = {
        let _no_grad = tch::no_grad_guard();
        logits(original)?
    };
    let rows = DivergenceSettings::default().per_row(&logits(model)?, &theirs)?;
    Ok((rows.f_sum(Kind::Float)?, tokens.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tch::Device;

    use super::*;

    fn decoder(seed: u64) -> Decoder {
        let config = json!({
            "model_type": "qwen3", "hidden_act": "silu", "hidden_size": 32, "head_dim": 8,
            "initializer_range": 0.2, "intermediate_size": 48, "max_position_embeddings": 64,
            "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": true,
            "vocab_size": 40,
        });
        Decoder::init(&config, seed, Device::Cpu, Kind::Float).unwrap()
    }

    fn sequences() -> Vec<Vec<i64>> {
        (0..20).map(|row| (0..16).map(|place| (row * 11 + place * 7) % 40).collect()).collect()
    }

    /// A model with a norm that was tampered with: what tuning can put right.
    fn tampered() -> Decoder {
        let mut model = decoder(1);
        let name = "model.layers.1.post_attention_layernorm";
        model.map_norm(name, &mut |weight| Ok(weight.f_mul_scalar(1.3)?)).unwrap();
        model
    }

    #[test]
    fn norms_make_up_for_what_was_lost_and_nothing_else_changes() {
        let (original, mut model) = (decoder(1), tampered());
        let before = model.named_parameters();
        let before: Vec<(String, Tensor)> =
            before.into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
        let config =
            NormTuningConfig { steps: 80, learning_rate: 1e-2, ..NormTuningConfig::default() };
        let mut steps = 0;
        let tuning =
            tune_norms(&original, &mut model, &sequences(), &config, Kind::BFloat16, &mut || {
                steps += 1;
            });
        let tuning = tuning.unwrap().unwrap();
        assert_eq!(steps, 80);
        assert!(tuning.kept && tuning.after < 0.5 * tuning.before, "{tuning:?}");
        for ((name, before), (_, after)) in before.iter().zip(model.named_parameters()) {
            assert!(!after.requires_grad(), "{name}");
            let block_norm = name.contains("layers") && name.contains("norm");
            assert_eq!(before.equal(&after), !block_norm, "{name}");
            if block_norm {
                assert_eq!(after, after.to_kind(Kind::BFloat16).to_kind(Kind::Float), "{name}");
            }
        }
    }

    #[test]
    fn what_does_not_help_is_undone() {
        let (original, mut model) = (decoder(1), tampered());
        let before = model.named_parameters();
        let config =
            NormTuningConfig { steps: 5, learning_rate: 1e3, ..NormTuningConfig::default() };
        let tuning =
            tune_norms(&original, &mut model, &sequences(), &config, Kind::Float, &mut || {});
        assert!(!tuning.unwrap().unwrap().kept);
        for ((name, before), (_, after)) in before.iter().zip(model.named_parameters()) {
            assert_eq!(before, &after, "{name}");
        }
        let none = NormTuningConfig::default();
        let tuning =
            tune_norms(&original, &mut model, &sequences(), &none, Kind::Float, &mut || {});
        assert_eq!(tuning.unwrap(), None);
    }
}
