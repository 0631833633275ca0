//! Gemma 3 text models (`model_type` `gemma3_text`, or the `text_config` of `gemma3`).
//!
//! Norms scale by `1 + w` and stand on both sides of attention and feed-forward, query
//! and key heads are normed, embeddings are scaled, and sliding layers rotate with a
//! base of their own. Published configurations leave out keys at their defaults, so the
//! defaults here are transformers' for the whole class.

use super::keys::Keys;
use super::rope;
use crate::config::{Activation, DecoderConfig, LayerConfig, NormStyle};
use crate::error::Result;

const FULL: usize = 0;
const SLIDING: usize = 1;

pub(super) fn config(keys: &Keys<'_>) -> Result<DecoderConfig> {
    keys.must_be_absent_or_false("attn_logit_softcapping")?;
    keys.must_be_absent_or_false("final_logit_softcapping")?;
    keys.must_be_absent_or_false("use_bidirectional_attention")?;
    let hidden_size = keys.size_or("hidden_size", 2304)?;
    let num_hidden_layers = keys.size_or("num_hidden_layers", 26)?;
    let query_scalar = keys.number_or("query_pre_attn_scalar", 256.0)?;
    let attention_bias = keys.flag_or("attention_bias", false)?;
    let sliding_window = keys.size_or("sliding_window", 4096)?;
    let slides = if let Some(slides) = keys.layer_types(num_hidden_layers)? {
        slides
    } else {
        // Older configurations give the period of full layers under either name.
        let pattern = match keys.optional_integer("sliding_window_pattern")? {
            Some(_) => keys.size("sliding_window_pattern")?,
            None => keys.size_or("_sliding_window_pattern", 6)?,
        };
        (1..=num_hidden_layers).map(|number| number % pattern != 0).collect()
    };
    let layers = slides
        .into_iter()
        .map(|slides| LayerConfig {
            sliding_window: slides.then_some(sliding_window),
            rope: if slides { SLIDING } else { FULL },
        })
        .collect();

    let parameters = keys.object("rope_parameters")?;
    let (mut full, mut sliding) = (None, None);
    if let Some(parameters) = &parameters {
        full = parameters.object("full_attention")?;
        sliding = parameters.object("sliding_attention")?;
    }
    // `rope_scaling` belongs to the full layers only.
    let full = match keys.object("rope_scaling")? {
        Some(scaling) => Some(scaling),
        None => full,
    };
    let full_theta = keys.number_or("rope_theta", 1_000_000.0)?;
    let sliding_theta = keys.number_or("rope_local_base_freq", 10_000.0)?;

    Ok(DecoderConfig {
        model_type: "gemma3_text".to_owned(),
        vocab_size: keys.size_or("vocab_size", 262_208)?,
        hidden_size,
        intermediate_size: keys.size_or("intermediate_size", 9216)?,
        num_attention_heads: keys.size_or("num_attention_heads", 8)?,
        num_key_value_heads: keys.size_or("num_key_value_heads", 4)?,
        head_dim: keys.size_or("head_dim", 256)?,
        activation: keys.activation("hidden_activation", Activation::GeluTanh)?,
        rms_norm_eps: keys.number_or("rms_norm_eps", 1e-6)?,
        norm_style: NormStyle::OnePlusWeight,
        sandwich_norms: true,
        query_key_norm: true,
        query_key_value_bias: attention_bias,
        output_bias: attention_bias,
        mlp_bias: false,
        attention_scale: query_scalar.powf(-0.5),
        embedding_scale: Some((hidden_size as f64).sqrt()),
        tie_word_embeddings: keys.flag_or("tie_word_embeddings", true)?,
        initializer_range: keys.number_or("initializer_range", 0.02)?,
        max_position_embeddings: keys.size_or("max_position_embeddings", 131_072)?,
        ropes: vec![
            rope::from_parameters(keys, full.as_ref(), full_theta)?,
            rope::from_parameters(keys, sliding.as_ref(), sliding_theta)?,
        ],
        layers,
    })
}
