//! How much memory a run will need, before it begins.
//!
//! Parameters, gradients and moments are counted; activations follow from the tensors that
//! autograd keeps of each operation of a block (`crates/model/src/{block,attention,mlp,
//! norm}.rs`). On the CPU the process's memory before the run (program, data, models) is
//! measured instead of guessed.

use std::fmt;

use limbeck_model::{Decoder, DecoderConfig};
use tch::{Device, Kind, Tensor};

use crate::batch::input_length;
use crate::objective::ObjectiveMemory;
use crate::optimizer::OptimizerKind;
use crate::{Error, Example, Objective, Result, TrainConfig};

/// Bytes of a run by what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryEstimate {
    /// What is there before the run: the program and its data on a CPU, the models
    /// (a teacher's included).
    pub present: u64,
    /// Gradients, float32.
    pub gradients: u64,
    /// Moments, and the average of the parameters.
    pub optimizer: u64,
    /// Activations that wait for the backward pass, and its temporaries.
    pub activations: u64,
    /// Logits of a chunk of the head with their gradients.
    pub head: u64,
}

impl MemoryEstimate {
    /// Of a run of these parts, whose parameters are on `device`.
    pub fn new(
        model: &Decoder,
        parameters: &[(String, Tensor)],
        examples: &[Example],
        objective: &dyn Objective,
        config: &TrainConfig,
        device: Device,
    ) -> Self {
        let positions = positions(examples, config.micro_batch_tokens);
        let ObjectiveMemory { resident, activations: extra } = objective.memory(positions);
        let trained: u64 = parameters.iter().map(|(_, tensor)| tensor.numel() as u64).sum();
        let average = if config.ema_decay > 0.0 { 4 * trained } else { 0 };
        let shape = Shape { config: model.config(), kind: model.compute_dtype() };
        let present = match limbeck_run::resident_memory_bytes().filter(|_| device == Device::Cpu) {
            Some(resident) => resident,
            None => bytes_of(&model.named_parameters()) + resident,
        };
        let weights = positions.min(positions_with_loss(examples, positions));
        let rows = config.head_chunk_rows.min(weights as i64) as u64;
        let activations = shape.activations(positions as u64, config.activation_checkpointing)
            + shape.made_weights(model, config.activation_checkpointing)
            + largest_gradient(parameters)
            + extra;
        Self {
            present,
            gradients: 4 * trained,
            optimizer: moments(parameters, config) + average + UPDATE_BYTES,
            // A checkpoint is written from a copy, when the activations are gone.
            activations: activations.max(4 * trained),
            head: shape.head(rows, weights as u64),
        }
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.present + self.gradients + self.optimizer + self.activations + self.head
    }

    /// An error if the device has less.
    ///
    /// # Errors
    /// [`Error::Memory`], with what to lower.
    pub fn check(&self, available: u64) -> Result<()> {
        if self.total() <= available {
            return Ok(());
        }
        let largest = [
            (
                self.activations,
                "lower micro_batch_tokens (and raise gradient_accumulation), or set activation_checkpointing=true",
            ),
            (self.optimizer, "set optimizer=\"adamw_8bit\" or \"adafactor\""),
            (self.head, "lower head_chunk_rows"),
            (
                self.gradients,
                "train fewer parameters: a smaller model, or an adapter (limbeck lora)",
            ),
            (self.present, "use a smaller model, or less data"),
        ];
        let (_, advice) = largest.into_iter().max_by_key(|(bytes, _)| *bytes).unwrap_or_default();
        Err(Error::Memory { estimate: *self, available, advice })
    }
}

impl fmt::Display for MemoryEstimate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        write!(
            formatter,
            "{:.2} GB: {:.2} in use before, gradients {:.2}, optimiser {:.2}, activations {:.2}, \
             head {:.2}",
            gigabytes(self.total()),
            gigabytes(self.present),
            gigabytes(self.gradients),
            gigabytes(self.optimizer),
            gigabytes(self.activations),
            gigabytes(self.head),
        )
    }
}

/// Bytes that a run may take on the device, what this process has already included; `None`
/// where nothing says so.
pub fn available_bytes(device: Device) -> Option<u64> {
    match device {
        Device::Cpu => {
            Some(limbeck_run::available_memory_bytes()? + limbeck_run::resident_memory_bytes()?)
        }
        Device::Cuda(index) => graphics_memory(index),
        _ => None,
    }
}

/// The device's memory as the driver's own tool says it; libtorch's bindings do not.
fn graphics_memory(index: usize) -> Option<u64> {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    let named = visible.split(',').map(str::trim).filter(|name| !name.is_empty()).nth(index);
    let name = named.map_or_else(|| index.to_string(), str::to_owned);
    let output = std::process::Command::new("nvidia-smi")
        .args(["--query-gpu=memory.total", "--format=csv,noheader,nounits", "--id", &name])
        .output()
        .ok()?;
    let mebibytes: u64 = String::from_utf8(output.stdout).ok()?.trim().parse().ok()?;
    Some(mebibytes << 20)
}

/// Temporaries of an update, which works on slabs.
const UPDATE_BYTES: u64 = 4 * 4 * (1 << 22);

/// Positions of the largest micro-batch, padding included.
fn positions(examples: &[Example], micro_batch_tokens: usize) -> usize {
    let longest = examples.iter().map(input_length).max().unwrap_or(0);
    micro_batch_tokens.min(longest * examples.len()).max(longest)
}

/// Of so many positions, those that carry a loss in this data.
fn positions_with_loss(examples: &[Example], positions: usize) -> usize {
    let all: usize = examples.iter().map(input_length).sum();
    let learned: usize = examples
        .iter()
        .map(|example| example.weights.iter().skip(1).filter(|&&weight| weight > 0.0).count())
        .sum();
    // Micro-batches differ from the average.
    (positions as f64 * (1.2 * learned as f64 / all.max(1) as f64).min(1.0)).ceil() as usize
}

fn bytes_of(tensors: &[(String, Tensor)]) -> u64 {
    let bytes = |tensor: &Tensor| (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64;
    tensors.iter().map(|(_, tensor)| bytes(tensor)).sum()
}

/// The gradient of the largest matrix, before it is added to the others.
fn largest_gradient(parameters: &[(String, Tensor)]) -> u64 {
    4 * parameters.iter().map(|(_, tensor)| tensor.numel() as u64).max().unwrap_or(0)
}

fn moments(parameters: &[(String, Tensor)], config: &TrainConfig) -> u64 {
    let muon = config.muon_learning_rate > 0.0;
    parameters
        .iter()
        .map(|(name, tensor)| {
            let (size, count) = (tensor.size(), tensor.numel() as u64);
            let by_token = name.contains("embed_tokens") || name.contains("lm_head");
            match (size.len(), config.optimizer) {
                (2, _) if muon && !by_token => 4 * count,
                (2.., OptimizerKind::AdamW8bit) => 2 * count + count / 32,
                (2.., OptimizerKind::Adafactor) => 4 * (size[0] as u64 + count / size[0] as u64),
                (_, OptimizerKind::Adafactor) => 4 * count,
                _ => 8 * count,
            }
        })
        .sum()
}

/// Rows of a frozen head that are made at a time.
const FROZEN_HEAD_ROWS: u64 = 4096;

/// Whether a layer of these tensors is used as it lies in memory.
fn is_held(tensors: &[(String, Tensor)], kind: Kind) -> bool {
    tensors.iter().any(|(suffix, tensor)| suffix == "weight" && tensor.kind() == kind)
}

/// A model's widths and the dtype of its activations.
struct Shape<'a> {
    config: &'a DecoderConfig,
    kind: Kind,
}

impl Shape<'_> {
    fn element(&self) -> u64 {
        self.kind.elt_size_in_bytes() as u64
    }

    /// What a norm over `width` keeps a position: its input in float32, and what it gives
    /// before and after the weight.
    fn norm(&self, width: u64) -> u64 {
        (4 + 2 * self.element()) * width
    }

    /// Bytes that autograd keeps of a block, a position.
    fn block(&self) -> u64 {
        let config = self.config;
        let hidden = config.hidden_size as u64;
        let query = (config.num_attention_heads * config.head_dim) as u64;
        let key = (config.num_key_value_heads * config.head_dim) as u64;
        let intermediate = config.intermediate_size as u64;
        let norms = if config.sandwich_norms { 4 } else { 2 };
        let of_heads = if config.query_key_norm { self.norm(query) + self.norm(key) } else { 0 };
        // Attention keeps query, key, value and result; the gated layer keeps gate,
        // activation, up and product.
        let attention = self.element() * (2 * query + 2 * key);
        norms * self.norm(hidden) + of_heads + attention + self.element() * 4 * intermediate
    }

    /// Gradients of a block on their way back, a position.
    fn temporaries(&self) -> u64 {
        let widest = self.config.intermediate_size.max(self.config.hidden_size) as u64;
        self.element() * 3 * widest + 4 * 3 * self.config.hidden_size as u64
    }

    fn activations(&self, positions: u64, checkpointing: bool) -> u64 {
        let blocks = self.config.layers.len() as u64;
        let hidden = self.config.hidden_size as u64;
        let kept = if checkpointing {
            blocks * self.element() * hidden + self.block()
        } else {
            blocks * self.block()
        };
        // The final norm, and its rows with their gradients.
        let rest = self.norm(hidden) + 3 * self.element() * hidden;
        positions * (kept + self.temporaries() + rest)
    }

    /// Weights that a product takes in another form than they are held in, cast or
    /// dequantised: they stay until the backward pass; with checkpointing, those of a block.
    fn made_weights(&self, model: &Decoder, checkpointing: bool) -> u64 {
        let element = self.element();
        let names = model.linear_names();
        let of_blocks =
            names.chunks((names.len() / model.num_layers().max(1)).max(1)).map(|block| {
                let layers = block.iter().filter_map(|name| model.linear(name));
                let made = layers.filter(|layer| !is_held(&layer.tensors(), self.kind));
                made.map(|layer| (layer.in_features() * layer.out_features()) as u64).sum::<u64>()
            });
        let blocks = if checkpointing { of_blocks.max().unwrap_or(0) } else { of_blocks.sum() };
        let head = match model.head_name().and_then(|name| model.linear(name)) {
            Some(head) => head.tensors(),
            None => model.embedding().tensors(),
        };
        let (vocab, hidden) = (self.config.vocab_size as u64, self.config.hidden_size as u64);
        let rows = match head.iter().any(|(_, tensor)| tensor.requires_grad()) {
            _ if is_held(&head, self.kind) => 0,
            true => vocab,
            false => vocab.min(FROZEN_HEAD_ROWS),
        };
        element * (blocks + rows * hidden)
    }

    /// Logits of a chunk in float32: themselves, their logarithms of probabilities, and the
    /// gradients of both; beside them once in the dtype of the activations.
    fn head(&self, chunk_rows: u64, rows: u64) -> u64 {
        let narrow = if self.kind == Kind::Float { 0 } else { 2 * self.element() };
        let vocab = self.config.vocab_size as u64;
        chunk_rows * vocab * (3 * 4 + narrow) + rows * self.config.hidden_size as u64 * 4
    }
}

#[cfg(test)]
mod tests {
    use limbeck_core::test_device;
    use limbeck_run::{Diagnose as _, Exit};
    use serde_json::json;

    use super::*;
    use crate::SupervisedObjective;
    use crate::optimizer::Optimizer;

    fn model() -> Decoder {
        let config = json!({
            "model_type": "qwen2", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 256,
            "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
            "hidden_act": "silu", "max_position_embeddings": 128, "initializer_range": 0.1,
            "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "use_sliding_window": false,
            "tie_word_embeddings": true,
        });
        let model = Decoder::init(&config, 7, test_device(), Kind::Float).unwrap();
        model.set_requires_grad(true).unwrap();
        model
    }

    fn estimate(model: &Decoder, config: &TrainConfig) -> MemoryEstimate {
        let examples: Vec<Example> = (0..64)
            .map(|_| Example {
                id: String::new(),
                tokens: vec![1; 101],
                weights: vec![1.0; 101],
                ..Example::default()
            })
            .collect();
        let objective = SupervisedObjective { chunk_rows: config.head_chunk_rows };
        let parameters = model.named_parameters();
        MemoryEstimate::new(model, &parameters, &examples, &objective, config, Device::Cpu)
    }

    #[test]
    fn moments_are_those_of_the_optimizer() {
        for (optimizer, muon_learning_rate) in [
            (OptimizerKind::AdamW, 0.0),
            (OptimizerKind::AdamW8bit, 0.0),
            (OptimizerKind::Adafactor, 0.0),
            (OptimizerKind::AdamW, 0.02),
        ] {
            let (model, config) =
                (model(), TrainConfig { optimizer, muon_learning_rate, ..TrainConfig::default() });
            let guessed = moments(&model.named_parameters(), &config);
            let actual =
                Optimizer::new(model.named_parameters(), config.optimizer()).unwrap().state_bytes();
            // Views are padded.
            assert!(actual >= guessed && actual < guessed + guessed / 50, "{guessed} {actual}");
        }
    }

    #[test]
    fn each_part_follows_what_it_is_of() {
        let model = model();
        let with = |config: TrainConfig| estimate(&model, &config);
        let base = TrainConfig { micro_batch_tokens: 4096, ..TrainConfig::default() };
        let plain = with(base.clone());
        assert_eq!(plain.gradients, 4 * model.num_parameters() as u64);
        let twice = with(TrainConfig { micro_batch_tokens: 2048, ..base.clone() });
        let ratio = plain.activations as f64 / twice.activations as f64;
        assert!((1.8..2.05).contains(&ratio), "{ratio}");
        let again = with(TrainConfig { activation_checkpointing: true, ..base.clone() });
        assert!(again.activations < plain.activations / 2, "{again} {plain}");
        let average = with(TrainConfig { ema_decay: 0.99, ..base.clone() });
        assert_eq!(average.optimizer - plain.optimizer, plain.gradients);
        let chunked = with(TrainConfig { head_chunk_rows: 256, ..base.clone() });
        assert!(chunked.head < plain.head / 3);
        // No more positions than the data has.
        let unlimited = with(TrainConfig { micro_batch_tokens: 1 << 30, ..base });
        assert!(unlimited.activations < 2 * plain.activations);
    }

    #[test]
    fn weights_in_another_dtype_are_counted_where_autograd_keeps_them() {
        let mut model = model();
        let made = |model: &Decoder, checkpointing| {
            let shape = Shape { config: model.config(), kind: model.compute_dtype() };
            shape.made_weights(model, checkpointing)
        };
        assert_eq!((made(&model, false), made(&model, true)), (0, 0));
        model.set_compute_dtype(Kind::BFloat16);
        let block = 2 * (64 * (64 + 2 * 32 + 64) + 3 * 64 * 256);
        let head = 2 * 512 * 64;
        assert_eq!(made(&model, false), 4 * block + head);
        assert_eq!(made(&model, true), block + head);
    }

    #[test]
    fn more_than_there_is_names_what_to_lower() {
        let few = TrainConfig { micro_batch_tokens: 64, ..TrainConfig::default() };
        let (large, small) = (
            estimate(&model(), &TrainConfig { micro_batch_tokens: 6400, ..few.clone() }),
            MemoryEstimate { optimizer: 3 << 30, ..MemoryEstimate::default() },
        );
        large.check(large.total()).unwrap();
        for (estimate, key) in [
            (MemoryEstimate { present: 0, optimizer: 0, ..large }, "micro_batch_tokens"),
            (small, "adamw_8bit"),
        ] {
            let error = estimate.check(estimate.total() - 1).unwrap_err();
            assert_eq!(error.exit(), Exit::Missing);
            let hint = error.hint().unwrap();
            assert!(hint.contains(key) && hint.contains("check_memory"), "{hint}");
            assert!(error.to_string().contains("GB"), "{error}");
        }
    }
}
