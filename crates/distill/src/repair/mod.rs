//! Repair of a quantised model: what it has left to tune learns to make up for what rounding
//! took, from the distributions of the unquantised model.
//!
//! What is tuned is a [`TunedPart`]: [`Norms`] here, and whatever else a caller knows of, such
//! as the scales of packed weights. All of it fits the folder as it is. The unquantised model
//! is asked beforehand ([`Lessons`]), so that there are never two. Some texts are held out:
//! where they do not gain, all stays as it was.

mod lessons;
mod norms;

use limbeck_model::Decoder;
use limbeck_run::config::{Invalid, Validate};
use limbeck_train::optimizer::{Optimizer, OptimizerConfig, OptimizerKind};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::Result;
use lessons::{LOGITS_BYTES, Lesson};
pub use lessons::{Lessons, Text};
pub use norms::Norms;

/// Largest norm of a step's gradient.
const CLIP: f64 = 1.0;

/// Settings of [`repair()`]; the `repair` table of quantisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RepairConfig {
    /// Steps; 0 for no repair. Default 0.
    pub steps: usize,
    /// Texts of a step. Default 4.
    pub texts: usize,
    /// Highest learning rate, that of the first step; it falls to 0 in a line. Default 1e-3.
    pub learning_rate: f64,
    /// Tokens of a text, at most. Default 512.
    pub tokens: usize,
    /// Whether the scales of packed weights are tuned beside the norms. Default true.
    pub scales: bool,
    /// Keep only each block's input in the forward pass and compute its activations, and its
    /// dequantised matrices, again in the backward pass: those of one block are there instead
    /// of all, for a third more time. Default false.
    pub activation_checkpointing: bool,
}

impl Default for RepairConfig {
    fn default() -> Self {
        Self {
            steps: 0,
            texts: 4,
            learning_rate: 1e-3,
            tokens: 512,
            scales: true,
            activation_checkpointing: false,
        }
    }
}

impl Validate for RepairConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return Err(Invalid::new("learning_rate", "a number above 0", self.learning_rate));
        }
        if self.tokens < 2 {
            return Err(Invalid::new("tokens", "at least 2", self.tokens));
        }
        if self.texts == 0 {
            return Err(Invalid::new("texts", "a number above 0", self.texts));
        }
        Ok(())
    }
}

/// What repair did: nats of KL(original ‖ model) a counted token of the texts held out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repair {
    /// Before.
    pub before: f64,
    /// After; that of the weights as they are stored.
    pub after: f64,
    /// Whether what was learnt was kept.
    pub kept: bool,
}

/// Weights of a model that repair may tune.
pub trait TunedPart {
    /// Makes them trainable, in float32, and names them.
    ///
    /// # Errors
    /// libtorch's.
    fn open(&mut self, model: &mut Decoder) -> limbeck_model::Result<Vec<(String, Tensor)>>;

    /// Rounds them to what is stored, and makes constants of them again.
    ///
    /// # Errors
    /// Weights that cannot be stored.
    fn settle(&mut self, model: &mut Decoder) -> limbeck_model::Result<()>;

    /// Puts back what was there before [`Self::open`], be they settled or not.
    ///
    /// # Errors
    /// libtorch's.
    fn restore(&mut self, model: &mut Decoder) -> limbeck_model::Result<()>;
}

/// Tunes parts of `model` so that its distributions come closer to those that the lessons hold.
/// `progress` hears of each step. Without steps, or anything to tune, nothing is done.
///
/// # Errors
/// Tokens that the model does not have; those of the parts; libtorch's.
pub fn repair(
    model: &mut Decoder,
    parts: &mut [&mut dyn TunedPart],
    mut lessons: Lessons,
    config: &RepairConfig,
    progress: &mut dyn FnMut(),
) -> Result<Option<Repair>> {
    if config.steps == 0 {
        return Ok(None);
    }
    let head = lessons.open_head(model)?;
    let repair = tune(model, parts, &lessons, config, progress);
    head.put_back(model)?;
    repair
}

fn tune(
    model: &mut Decoder,
    parts: &mut [&mut dyn TunedPart],
    lessons: &Lessons,
    config: &RepairConfig,
    progress: &mut dyn FnMut(),
) -> Result<Option<Repair>> {
    model.set_requires_grad(false)?;
    let before = lessons.held_out_divergence(model, config.texts)?;
    let mut weights = Vec::new();
    for part in &mut *parts {
        weights.extend(part.open(model)?);
    }
    if weights.is_empty() {
        return Ok(None);
    }
    let after = if learn(model, weights, lessons, config, progress)? {
        for part in &mut *parts {
            part.settle(model)?;
        }
        lessons.held_out_divergence(model, config.texts)?
    } else {
        f64::INFINITY
    };
    let kept = after < before;
    if !kept {
        for part in &mut *parts {
            part.restore(model)?;
        }
    }
    Ok(Some(Repair { before, after, kept }))
}

/// Bytes of memory that [`Lessons`] and [`repair()`] take beside the model.
///
/// What the lessons hold; of each projection (with checkpointing, of those of one block) the
/// weights of a step, and where scales learn what these are multiplied from; the head; some
/// slices of logits; of each token of a step what the blocks keep for their gradients.
pub fn peak_bytes(model: &Decoder, texts: &[Text<'_>], config: &RepairConfig) -> u64 {
    const FLOAT: i64 = 4;
    /// Logits and theirs, log-softmax, its exponential, what is made of these, and gradients:
    /// measured on Gemma 3 270M.
    const SLICES: i64 = 12;
    /// Vectors as wide as the hidden states, and as the MLP, that a block keeps of a token.
    const KEPT: (i64, i64) = (20, 6);
    let shape = model.config();
    let widths = model.linear_names().into_iter().filter_map(|name| {
        let layer = model.linear(&name)?;
        Some((layer.in_features() * layer.out_features(), layer.out_features()))
    });
    let (mut projections, mut largest, mut widest) = (0, 0, 0);
    for (size, outputs) in widths {
        projections += size;
        largest = largest.max(size);
        widest = widest.max(outputs);
    }
    let layers = model.num_layers() as i64;
    let lengths = texts.iter().map(|text| text.tokens.len().min(config.tokens) as i64);
    let longest = lengths.max().unwrap_or(0);
    let tokens = longest * config.texts.min(texts.len()) as i64;
    let maps = 3 * longest * model.config().num_attention_heads;
    let kept = KEPT.0 * shape.hidden_size + KEPT.1 * widest + maps;
    let (blocks, ends) = if config.activation_checkpointing { (1, layers) } else { (layers, 0) };
    let weights = projections * blocks / layers.max(1);
    let weights = if config.scales { 2 * weights + 2 * largest } else { weights };
    let activations = tokens * (kept * blocks + shape.hidden_size * ends);
    let logits = (shape.vocab_size * tokens).min(LOGITS_BYTES / FLOAT);
    let head = shape.vocab_size * shape.hidden_size;
    let step = FLOAT * (weights + activations + SLICES * logits + head);
    lessons::bytes(model, texts, config) + step.unsigned_abs()
}

/// Takes the steps; false where they lead to what is no number.
fn learn(
    model: &Decoder,
    weights: Vec<(String, Tensor)>,
    lessons: &Lessons,
    config: &RepairConfig,
    progress: &mut dyn FnMut(),
) -> Result<bool> {
    let settings = OptimizerConfig {
        kind: OptimizerKind::AdamW,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.0,
        muon_ratio: None,
    };
    let mut optimizer = Optimizer::new(weights, settings)?;
    let mut turn = lessons.taught.iter().cycle();
    for step in 0..config.steps {
        optimizer.zero_gradients()?;
        let batch: Vec<&Lesson> = turn.by_ref().take(config.texts).collect();
        if !lessons.teach(model, &batch, config.activation_checkpointing)?.is_finite() {
            return Ok(false);
        }
        optimizer.clip_gradients(CLIP)?;
        let left = 1.0 - step as f64 / config.steps as f64;
        optimizer.step(config.learning_rate * left)?;
        progress();
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tch::{Device, Kind};

    use super::*;

    pub(super) fn config(tied: bool) -> serde_json::Value {
        json!({
            "model_type": "qwen3", "hidden_act": "silu", "hidden_size": 32, "head_dim": 8,
            "initializer_range": 0.2, "intermediate_size": 48, "max_position_embeddings": 64,
            "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": tied,
            "vocab_size": 40,
        })
    }

    pub(super) fn decoder(seed: u64) -> Decoder {
        Decoder::init(&config(true), seed, Device::Cpu, Kind::Float).unwrap()
    }

    pub(super) fn sequences() -> Vec<Vec<i64>> {
        (0..20).map(|row| (0..16).map(|place| (row * 11 + place * 7) % 40).collect()).collect()
    }

    /// A model with a norm that was tampered with: what tuning can put right.
    pub(super) fn tampered() -> Decoder {
        let mut model = decoder(1);
        let name = "model.layers.1.post_attention_layernorm";
        model.map_norm(name, &mut |weight| Ok(weight.f_mul_scalar(1.3)?)).unwrap();
        model
    }

    fn lessons(config: &RepairConfig) -> Lessons {
        let sequences = sequences();
        let texts: Vec<Text<'_>> =
            sequences.iter().map(|tokens| Text { tokens, reply: 6 }).collect();
        Lessons::new(&decoder(1), &texts, config, &mut |_| {}).unwrap().unwrap()
    }

    fn repaired(model: &mut Decoder, config: &RepairConfig, steps: &mut usize) -> Option<Repair> {
        let mut norms = Norms::stored_in(Kind::BFloat16);
        let lessons = lessons(&RepairConfig { steps: 1, ..config.clone() });
        repair(model, &mut [&mut norms], lessons, config, &mut || *steps += 1).unwrap()
    }

    #[test]
    fn norms_make_up_for_what_was_lost_and_nothing_else_changes() {
        let mut model = tampered();
        let before = model.named_parameters();
        let before: Vec<(String, Tensor)> =
            before.into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
        let config =
            RepairConfig { steps: 80, texts: 1, learning_rate: 1e-2, ..RepairConfig::default() };
        let mut steps = 0;
        let repair = repaired(&mut model, &config, &mut steps).unwrap();
        assert_eq!(steps, 80);
        assert!(repair.kept && repair.after < 0.5 * repair.before, "{repair:?}");
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
    fn activations_computed_again_teach_the_same() {
        let config =
            RepairConfig { steps: 20, texts: 3, learning_rate: 1e-2, ..RepairConfig::default() };
        let again = RepairConfig { activation_checkpointing: true, ..config.clone() };
        let [one, other] = [&config, &again].map(|config| {
            let mut model = tampered();
            let repair = repaired(&mut model, config, &mut 0).unwrap();
            assert!(repair.kept, "{repair:?}");
            repair.after
        });
        assert!((one - other).abs() < 1e-3 * one, "{one} {other}");
        let (model, sequences) = (decoder(1), sequences());
        let texts: Vec<Text<'_>> =
            sequences.iter().map(|tokens| Text { tokens, reply: 6 }).collect();
        assert!(peak_bytes(&model, &texts, &again) < peak_bytes(&model, &texts, &config));
    }

    #[test]
    fn with_nothing_to_count_there_is_nothing_to_learn() {
        let tokens = sequences().remove(0);
        let texts = [Text { tokens: &tokens, reply: 16 }, Text { tokens: &[], reply: 0 }];
        let config = RepairConfig { steps: 3, ..RepairConfig::default() };
        assert!(Lessons::new(&decoder(1), &texts, &config, &mut |_| {}).unwrap().is_none());
    }

    #[test]
    fn what_does_not_help_is_undone() {
        let mut model = tampered();
        let before = model.named_parameters();
        // A rate that makes it worse, and one that leads nowhere.
        for learning_rate in [1e3, 1e38] {
            let config = RepairConfig { steps: 5, learning_rate, ..RepairConfig::default() };
            let repair = repaired(&mut model, &config, &mut 0).unwrap();
            assert!(!repair.kept, "{repair:?}");
            for ((name, before), (_, after)) in before.iter().zip(model.named_parameters()) {
                assert_eq!(before, &after, "{name}");
                assert!(!after.requires_grad(), "{name}");
            }
        }
        assert_eq!(repaired(&mut model, &RepairConfig::default(), &mut 0), None);
    }
}
