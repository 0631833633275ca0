//! Qwen3 (`model_type` `qwen3`): norms on query and key heads, head width set apart.

use super::keys::Keys;
use super::rope;
use crate::config::{Activation, DecoderConfig, NormStyle};
use crate::error::Result;

pub(super) fn config(keys: &Keys<'_>) -> Result<DecoderConfig> {
    let num_attention_heads = keys.size("num_attention_heads")?;
    let num_hidden_layers = keys.size("num_hidden_layers")?;
    // Unlike its siblings, Qwen3 falls back to a fixed width, not to an even share.
    let head_dim = keys.size_or("head_dim", 128)?;
    let attention_bias = keys.flag_or("attention_bias", false)?;
    Ok(DecoderConfig {
        model_type: "qwen3".to_owned(),
        vocab_size: keys.size("vocab_size")?,
        hidden_size: keys.size("hidden_size")?,
        intermediate_size: keys.size("intermediate_size")?,
        num_attention_heads,
        num_key_value_heads: keys.size_or("num_key_value_heads", num_attention_heads)?,
        head_dim,
        activation: keys.activation("hidden_act", Activation::Silu)?,
        rms_norm_eps: keys.number_or("rms_norm_eps", 1e-6)?,
        norm_style: NormStyle::Weight,
        sandwich_norms: false,
        query_key_norm: true,
        query_key_value_bias: attention_bias,
        output_bias: attention_bias,
        mlp_bias: false,
        attention_scale: (head_dim as f64).powf(-0.5),
        embedding_scale: None,
        tie_word_embeddings: keys.flag_or("tie_word_embeddings", false)?,
        initializer_range: keys.number_or("initializer_range", 0.02)?,
        max_position_embeddings: keys.size_or("max_position_embeddings", 32_768)?,
        ropes: vec![rope::single(keys)?],
        layers: keys.qwen_layers(num_hidden_layers, 4096)?,
    })
}
