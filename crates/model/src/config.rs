//! The one descriptor of all decoder families.
//!
//! A family file maps its Hugging Face keys onto [`DecoderConfig`]; the decoder reads
//! nothing else. Field names are Hugging Face's where there is one.

use serde_json::Value;

use crate::error::{Error, Result};
use crate::families;

/// Everything that distinguishes one decoder from another.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// Hugging Face `model_type` after unwrapping (`llama`, `qwen2`, …).
    pub model_type: String,
    /// Rows of the embedding.
    pub vocab_size: i64,
    /// Width of the residual stream.
    pub hidden_size: i64,
    /// Width of the gated feed-forward layer.
    pub intermediate_size: i64,
    /// Query heads.
    pub num_attention_heads: i64,
    /// Key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: i64,
    /// Width of one head.
    pub head_dim: i64,
    /// Activation of the gate.
    pub activation: Activation,
    /// Added to the mean square before the root.
    pub rms_norm_eps: f64,
    /// How norm weights are stored and applied.
    pub norm_style: NormStyle,
    /// Gemma's extra norms on the outputs of attention and feed-forward.
    pub sandwich_norms: bool,
    /// Norms of the query and key heads before the rotation.
    pub query_key_norm: bool,
    /// Biases of `q_proj`, `k_proj` and `v_proj`.
    pub query_key_value_bias: bool,
    /// Bias of `o_proj`.
    pub output_bias: bool,
    /// Biases of the feed-forward projections.
    pub mlp_bias: bool,
    /// Factor on query-key products before the softmax.
    pub attention_scale: f64,
    /// Factor on the embeddings; rounded to the compute dtype before use.
    pub embedding_scale: Option<f64>,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Standard deviation of freshly initialised matrices.
    pub initializer_range: f64,
    /// Longest sequence that the model was made for; not enforced.
    pub max_position_embeddings: i64,
    /// Distinct rotary settings; layers refer to them by index.
    pub ropes: Vec<RopeConfig>,
    /// One entry a block.
    pub layers: Vec<LayerConfig>,
}

/// What may differ from block to block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerConfig {
    /// A key is visible when the query is fewer than this many positions after it;
    /// `None` = every earlier key is.
    pub sliding_window: Option<i64>,
    /// Index into [`DecoderConfig::ropes`].
    pub rope: usize,
}

/// Rotary position embedding: base and scaling of the frequencies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeConfig {
    /// Base of the geometric series of wavelengths.
    pub theta: f64,
    /// Change of the frequencies for longer contexts.
    pub scaling: RopeScaling,
}

/// Supported values of `rope_type`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    /// Frequencies as they are.
    Default,
    /// All frequencies divided by `factor` (position interpolation).
    Linear {
        /// Stretch of the context.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, a ramp between.
    Llama3 {
        /// Division of low frequencies.
        factor: f64,
        /// Wavelengths above original length ÷ this are divided.
        low_freq_factor: f64,
        /// Wavelengths below original length ÷ this are kept.
        high_freq_factor: f64,
        /// Context length before the extension.
        original_max_position_embeddings: f64,
    },
}

/// Supported values of `hidden_act`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// GELU in its tanh approximation.
    GeluTanh,
    /// Exact GELU.
    Gelu,
}

/// How a root-mean-square norm stores and applies its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormStyle {
    /// Normalised in fp32, rounded to the input's dtype, then times `w` (Llama).
    Weight,
    /// Normalised and times `1 + w` in fp32, then rounded (Gemma).
    OnePlusWeight,
}

impl DecoderConfig {
    /// Reads the contents of a `config.json`.
    ///
    /// # Errors
    /// Names the key that is missing or impossible, or lists the supported values of a
    /// key whose value has no implementation.
    pub fn from_hf(hf_config: &Value) -> Result<Self> {
        let config = families::parse(hf_config)?;
        config.validate()?;
        Ok(config)
    }

    /// Blocks of the decoder.
    pub fn num_hidden_layers(&self) -> usize {
        self.layers.len()
    }

    /// Query heads that share one key-value head.
    pub fn num_key_value_groups(&self) -> i64 {
        self.num_attention_heads / self.num_key_value_heads
    }

    fn validate(&self) -> Result<()> {
        for (key, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.layers.len() as i64),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
        ] {
            if value < 1 {
                return Err(Error::config(key, "a positive integer", value.to_string()));
            }
        }
        if self.num_attention_heads % self.num_key_value_heads != 0 {
            return Err(Error::config(
                "num_key_value_heads",
                format!("a divisor of num_attention_heads ({})", self.num_attention_heads),
                self.num_key_value_heads.to_string(),
            ));
        }
        if self.head_dim % 2 != 0 {
            return Err(Error::config("head_dim", "an even number", self.head_dim.to_string()));
        }
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            return Err(Error::config(
                "rms_norm_eps",
                "a number between 0 and 1",
                self.rms_norm_eps.to_string(),
            ));
        }
        if !(self.initializer_range >= 0.0 && self.initializer_range.is_finite()) {
            return Err(Error::config(
                "initializer_range",
                "a non-negative number",
                self.initializer_range.to_string(),
            ));
        }
        for layer in &self.layers {
            if let Some(window) = layer.sliding_window
                && window < 1
            {
                return Err(Error::config(
                    "sliding_window",
                    "a positive integer or null",
                    window.to_string(),
                ));
            }
        }
        for rope in &self.ropes {
            if !(rope.theta > 0.0 && rope.theta.is_finite()) {
                return Err(Error::config(
                    "rope_theta",
                    "a positive number",
                    rope.theta.to_string(),
                ));
            }
        }
        Ok(())
    }
}
