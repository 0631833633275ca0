//! The metadata of a GGUF file from a decoder's descriptor, and what llama.cpp has no place for.
//!
//! llama.cpp knows much of a model by its architecture alone. Where a model differs in something
//! that no key says, the file would compute something else without a sign of it: that is an error
//! here, unless weights can make up for it.

use super::config::{DIVISOR_KEYS, GEMMA_27B_LAYERS, GEMMA_PERIOD, llama3_divisors};
use super::writer::MetaValue;
use crate::config::{Activation, DecoderConfig, RopeScaling};
use crate::error::{Error, Result};

/// What a descriptor becomes in a file.
#[derive(Debug)]
pub(super) struct Described {
    pub(super) architecture: &'static str,
    pub(super) metadata: Vec<(String, MetaValue)>,
    /// Divisors of the rotary frequencies, where they are a tensor.
    pub(super) rope_divisors: Option<Vec<f32>>,
    /// What query norms are multiplied by, for a scale of the attention that no key says.
    pub(super) query_factor: f64,
    pub(super) warnings: Vec<String>,
}

/// Describes a model.
///
/// # Errors
/// [`Error::Export`] for something that llama.cpp's architecture does not have.
pub(super) fn describe(config: &DecoderConfig) -> Result<Described> {
    let architecture = match config.model_type.as_str() {
        "llama" | "mistral" => "llama",
        "qwen2" => "qwen2",
        "qwen3" => "qwen3",
        "gemma3_text" => "gemma3",
        other => return Err(refuse("model_type", "llama, mistral, qwen2, qwen3 or gemma3", other)),
    };
    let gemma = architecture == "gemma3";
    let mut described = Described {
        architecture,
        metadata: Vec::new(),
        rope_divisors: None,
        query_factor: 1.0,
        warnings: Vec::new(),
    };
    check_fixed(config, architecture)?;
    let mut set = |key: &str, value: MetaValue| {
        described.metadata.push((format!("{architecture}.{key}"), value));
    };
    let count = |value: i64| MetaValue::U32(u32::try_from(value).unwrap_or(u32::MAX));
    set("context_length", count(config.max_position_embeddings));
    set("embedding_length", count(config.hidden_size));
    set("feed_forward_length", count(config.intermediate_size));
    set("block_count", count(config.num_hidden_layers() as i64));
    set("attention.head_count", count(config.num_attention_heads));
    set("attention.head_count_kv", count(config.num_key_value_heads));
    set("attention.key_length", count(config.head_dim));
    set("attention.value_length", count(config.head_dim));
    set("attention.layer_norm_rms_epsilon", MetaValue::F32(config.rms_norm_eps as f32));
    set("rope.dimension_count", count(config.head_dim));
    set("vocab_size", count(config.vocab_size));
    let window = config.layers.iter().find_map(|layer| layer.sliding_window);
    if let Some(window) = window {
        set("attention.sliding_window", count(window));
    } else if gemma {
        // The key is required; with the pattern below, no layer looks at it.
        set("attention.sliding_window", count(config.max_position_embeddings));
    }
    if let Some(rope) = config.ropes.first() {
        set("rope.freq_base", MetaValue::F32(rope.theta as f32));
        if let RopeScaling::Linear { factor } = rope.scaling {
            set("rope.scaling.type", MetaValue::String("linear".to_owned()));
            set("rope.scaling.factor", MetaValue::F32(factor as f32));
        }
    }
    if gemma {
        let sliding = config.ropes.get(1).map_or(10_000.0, |rope| rope.theta);
        set("rope.freq_base_swa", MetaValue::F32(sliding as f32));
        let period = period(config)?;
        if period != GEMMA_PERIOD {
            set("attention.sliding_window_pattern", count(period));
        }
    }
    let theirs = if gemma && config.num_hidden_layers() as i64 == GEMMA_27B_LAYERS {
        (config.hidden_size / config.num_attention_heads) as f64
    } else {
        config.head_dim as f64
    };
    let factor = config.attention_scale * theirs.sqrt();
    if (factor - 1.0).abs() > 1e-6 {
        if !config.query_key_norm {
            let expected = format!("{theirs} to the power of -1/2");
            return Err(refuse("scale of the attention", &expected, config.attention_scale));
        }
        described.query_factor = factor;
    }
    if config.model_type == "mistral" && window.is_some_and(|w| w < config.max_position_embeddings)
    {
        described.warnings.push(format!(
            "llama.cpp computes this architecture without a sliding window: sequences longer than \
             the model's {} tokens give other results there",
            window.unwrap_or_default()
        ));
    }
    scaling(config, &mut described)?;
    Ok(described)
}

/// Llama 3's scaling: the divisors, and our record of what they were made of.
fn scaling(config: &DecoderConfig, described: &mut Described) -> Result<()> {
    let Some(rope) = config.ropes.first() else { return Ok(()) };
    if let RopeScaling::Llama3 {
        factor,
        low_freq_factor,
        high_freq_factor,
        original_max_position_embeddings,
    } = rope.scaling
    {
        if described.architecture != "llama" {
            let expected = "none or linear for this architecture";
            return Err(refuse("rope scaling", expected, "llama3"));
        }
        let parameters =
            [factor, low_freq_factor, high_freq_factor, original_max_position_embeddings];
        let divisors = llama3_divisors(rope.theta, config.head_dim as usize / 2, parameters);
        described.rope_divisors = Some(divisors.into_iter().map(|value| value as f32).collect());
        for (key, value) in DIVISOR_KEYS.into_iter().zip(parameters) {
            described.metadata.push((key.to_owned(), MetaValue::F32(value as f32)));
        }
    }
    Ok(())
}

/// What llama.cpp takes for granted of an architecture.
fn check_fixed(config: &DecoderConfig, architecture: &str) -> Result<()> {
    let gemma = architecture == "gemma3";
    let activation = if gemma { Activation::GeluTanh } else { Activation::Silu };
    if config.activation != activation {
        let expected = format!("{activation:?} for this architecture");
        return Err(refuse("activation", &expected, format!("{:?}", config.activation)));
    }
    let biases = config.query_key_value_bias || config.output_bias || config.mlp_bias;
    if matches!(architecture, "qwen3" | "gemma3") && biases {
        return Err(refuse("biases", "none for this architecture", "some"));
    }
    if !gemma && config.model_type != "mistral" {
        let sliding = config.layers.iter().filter(|layer| layer.sliding_window.is_some()).count();
        if sliding > 0 {
            return Err(refuse("sliding layers", "none for this architecture", sliding));
        }
    }
    if gemma && config.ropes.get(1).is_some_and(|rope| rope.scaling != RopeScaling::Default) {
        return Err(refuse("rope scaling of sliding layers", "none", "some"));
    }
    Ok(())
}

/// Of how many layers the last sees all positions; 0 where none does.
fn period(config: &DecoderConfig) -> Result<i64> {
    let full = |index: usize| config.layers[index].sliding_window.is_none();
    let count = config.num_hidden_layers();
    let Some(first) = (0..count).find(|&index| full(index)) else {
        return Ok(if count < GEMMA_PERIOD as usize { GEMMA_PERIOD } else { 0 });
    };
    let period = first + 1;
    if (0..count).all(|index| full(index) == (index % period == first)) {
        return Ok(period as i64);
    }
    let pattern: String = (0..count).map(|index| if full(index) { 'f' } else { 's' }).collect();
    Err(refuse("pattern of full and sliding layers", "every nth layer full", pattern))
}

fn refuse(what: &str, expected: &str, got: impl std::fmt::Display) -> Error {
    Error::Export { what: what.to_owned(), expected: expected.to_owned(), got: got.to_string() }
}
