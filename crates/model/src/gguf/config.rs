//! `config.json` from a GGUF file's metadata.

use serde_json::{Map, Value, json};

use super::SUPPORTED_ARCHITECTURES;
use super::metadata::Metadata;
use super::tensors::TensorReader;
use crate::error::{Error, Result};

/// Layers of the one Gemma 3 size whose query scaling is not the head width's.
pub(super) const GEMMA_27B_LAYERS: i64 = 62;

/// Of so many of Gemma's layers, the last sees all positions.
pub(super) const GEMMA_PERIOD: i64 = 6;

/// Our record of what the divisors of a `rope_freqs` were made of; the published models have
/// others' parameters and need none.
pub(super) const DIVISOR_KEYS: [&str; 4] = [
    "limbeck.rope.factor",
    "limbeck.rope.low_freq_factor",
    "limbeck.rope.high_freq_factor",
    "limbeck.rope.original_context_length",
];

pub(super) fn hf_config(metadata: &Metadata<'_>, tensors: &mut TensorReader<'_>) -> Result<Value> {
    let architecture = metadata.string("general.architecture")?;
    if !SUPPORTED_ARCHITECTURES.contains(&architecture) {
        return Err(Error::Unsupported {
            what: "GGUF architecture",
            found: architecture.to_owned(),
            supported: SUPPORTED_ARCHITECTURES,
        });
    }
    let key = |name: &str| format!("{architecture}.{name}");
    let integer = |name: &str| metadata.integer(&key(name));
    let optional = |name: &str| metadata.optional_integer(&key(name));

    let hidden_size = integer("embedding_length")?;
    let num_heads = integer("attention.head_count")?;
    let num_layers = integer("block_count")?;
    let vocab_size = tensors.rows("token_embd.weight")?;
    let mut config = Map::new();
    let mut set = |name: &str, value: Value| {
        config.insert(name.to_owned(), value);
    };
    set("vocab_size", json!(vocab_size));
    set("hidden_size", json!(hidden_size));
    set("intermediate_size", json!(integer("feed_forward_length")?));
    set("num_hidden_layers", json!(num_layers));
    set("num_attention_heads", json!(num_heads));
    set("num_key_value_heads", json!(optional("attention.head_count_kv")?.unwrap_or(num_heads)));
    set("max_position_embeddings", json!(integer("context_length")?));
    set("rms_norm_eps", json!(metadata.number(&key("attention.layer_norm_rms_epsilon"))?));
    set("tie_word_embeddings", json!(!tensors.has("output.weight")));
    let head_dim = match optional("attention.key_length")? {
        Some(head_dim) => Some(head_dim),
        // Llama's whole head is rotated.
        None if architecture == "llama" => optional("rope.dimension_count")?,
        None => None,
    };
    if let Some(head_dim) = head_dim {
        set("head_dim", json!(head_dim));
    }
    let default_theta = if architecture == "gemma3" { 1e6 } else { 1e4 };
    let theta = metadata.optional_number(&key("rope.freq_base"))?.unwrap_or(default_theta);
    set("rope_theta", json!(theta));
    for (name, id) in
        [("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")]
    {
        if let Some(id) = metadata.optional_integer(&format!("tokenizer.ggml.{id}_token_id"))? {
            set(name, json!(id));
        }
    }
    let mut scaling = linear_scaling(metadata, architecture)?;
    let (model_type, class) = match architecture {
        "llama" => {
            if scaling.is_none() {
                scaling = llama3_scaling(metadata, tensors, theta)?;
            }
            set("attention_bias", json!(tensors.has("blk.0.attn_q.bias")));
            set("mlp_bias", json!(tensors.has("blk.0.ffn_gate.bias")));
            if is_mistral(metadata)? {
                set("sliding_window", json!(optional("attention.sliding_window")?));
                ("mistral", "MistralForCausalLM")
            } else {
                ("llama", "LlamaForCausalLM")
            }
        }
        "gemma3" => {
            let query_scalar = if num_layers == GEMMA_27B_LAYERS {
                hidden_size / num_heads.max(1)
            } else {
                head_dim.unwrap_or(256)
            };
            set("query_pre_attn_scalar", json!(query_scalar));
            set("sliding_window", json!(integer("attention.sliding_window")?));
            set("hidden_activation", json!("gelu_pytorch_tanh"));
            let local = metadata.optional_number(&key("rope.freq_base_swa"))?.unwrap_or(1e4);
            set("rope_local_base_freq", json!(local));
            let period = optional("attention.sliding_window_pattern")?.unwrap_or(GEMMA_PERIOD);
            let full = |layer: i64| period > 0 && layer % period == 0;
            let layers: Vec<&str> = (1..=num_layers)
                .map(|layer| if full(layer) { "full_attention" } else { "sliding_attention" })
                .collect();
            set("layer_types", json!(layers));
            ("gemma3_text", "Gemma3ForCausalLM")
        }
        "qwen3" => ("qwen3", "Qwen3ForCausalLM"),
        _ => ("qwen2", "Qwen2ForCausalLM"),
    };
    if architecture != "gemma3" {
        set("hidden_act", json!("silu"));
    }
    set("rope_scaling", scaling.unwrap_or(Value::Null));
    set("model_type", json!(model_type));
    set("architectures", json!([class]));
    set("torch_dtype", json!(tensors.dtype_name()?));
    Ok(Value::Object(config))
}

/// llama.cpp has one architecture for Llama and Mistral; only the name tells them apart.
fn is_mistral(metadata: &Metadata<'_>) -> Result<bool> {
    for key in ["general.basename", "general.name"] {
        if let Some(name) = metadata.optional_string(key)?
            && name.to_lowercase().starts_with("mistral")
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn linear_scaling(metadata: &Metadata<'_>, architecture: &str) -> Result<Option<Value>> {
    let key = |name: &str| format!("{architecture}.rope.scaling.{name}");
    match metadata.optional_string(&key("type"))? {
        None | Some("none") => Ok(None),
        Some("linear") => {
            let factor = metadata.number(&key("factor"))?;
            Ok(Some(json!({ "rope_type": "linear", "factor": factor })))
        }
        Some(other) => Err(Error::Unsupported {
            what: "GGUF rope scaling type",
            found: other.to_owned(),
            supported: &["none", "linear"],
        }),
    }
}

/// Llama 3's scaling is stored as the divisor of each frequency; the parameters behind it
/// are those of the published models, recognised by the divisors they give.
fn llama3_scaling(
    metadata: &Metadata<'_>,
    tensors: &mut TensorReader<'_>,
    theta: f64,
) -> Result<Option<Value>> {
    let Some(divisors) = tensors.rope_divisors()? else { return Ok(None) };
    let highest = divisors.iter().copied().fold(1.0_f64, f64::max);
    let [factor, low, high, original] = DIVISOR_KEYS.map(|key| metadata.optional_number(key));
    let (factor, original) = (factor?.unwrap_or(highest), original?.unwrap_or(8192.0));
    let (low, high) = (low?.unwrap_or(1.0), high?.unwrap_or(4.0));
    let expected = llama3_divisors(theta, divisors.len(), [factor, low, high, original]);
    let fits = divisors
        .iter()
        .zip(expected)
        .all(|(divisor, expected)| (divisor - expected).abs() < 1e-3 * expected);
    if !fits {
        return Err(Error::Unsupported {
            what: "GGUF rope_freqs",
            found: format!("{divisors:?}"),
            supported: &["Llama 3's factors (low 1, high 4, original length 8192)"],
        });
    }
    Ok(Some(json!({
        "rope_type": "llama3", "factor": factor, "low_freq_factor": low,
        "high_freq_factor": high, "original_max_position_embeddings": original as i64,
    })))
}

/// What Llama 3's scaling divides each of `count` frequencies by, given its factor, low and high
/// frequency factors and original context length.
pub(super) fn llama3_divisors(
    theta: f64,
    count: usize,
    [factor, low, high, original]: [f64; 4],
) -> Vec<f64> {
    let divisor = |index: usize| {
        let wavelength = std::f64::consts::TAU * theta.powf(index as f64 / count as f64);
        let smooth = ((original / wavelength - low) / (high - low)).clamp(0.0, 1.0);
        1.0 / ((1.0 - smooth) / factor + smooth)
    };
    (0..count).map(divisor).collect()
}
