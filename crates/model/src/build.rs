//! Assembles a decoder from wherever its tensors come from.

use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::attention::SelfAttention;
use crate::block::Block;
use crate::config::DecoderConfig;
use crate::decoder::Decoder;
use crate::embedding::Embedding;
use crate::error::Result;
use crate::linear::Linear;
use crate::mlp::Mlp;
use crate::norm::RmsNorm;
use crate::rope::Rope;

/// Gives out parameters by checkpoint key: read from a file or freshly drawn.
pub(crate) trait ParameterSource {
    /// The embedding of `rows` vectors stored under `name`.
    fn embedding(&mut self, name: &str, rows: i64, width: i64) -> Result<Box<dyn Embedding>>;

    /// A norm's weight `[width]` under `{name}.weight`.
    fn norm(&mut self, name: &str, width: i64) -> Result<Tensor>;

    /// The projection stored under `name`.
    fn linear(
        &mut self,
        name: &str,
        in_features: i64,
        out_features: i64,
        bias: bool,
    ) -> Result<Box<dyn Linear>>;
}

pub(crate) fn build(
    config: DecoderConfig,
    hf_config: Value,
    device: Device,
    compute_dtype: Kind,
    source: &mut dyn ParameterSource,
) -> Result<Decoder> {
    let embed_tokens =
        source.embedding("model.embed_tokens", config.vocab_size, config.hidden_size)?;
    let layers = (0..config.num_hidden_layers())
        .map(|index| block(&config, index, source))
        .collect::<Result<_>>()?;
    let final_norm = norm(&config, "model.norm", config.hidden_size, source)?;
    let lm_head = if config.tie_word_embeddings {
        None
    } else {
        Some(source.linear("lm_head", config.hidden_size, config.vocab_size, false)?)
    };
    let ropes = config
        .ropes
        .iter()
        .map(|rope| Rope::new(rope, config.head_dim, device))
        .collect::<Result<_>>()?;
    Ok(Decoder {
        config,
        hf_config,
        device,
        compute_dtype,
        embed_tokens,
        layers,
        final_norm,
        lm_head,
        ropes,
    })
}

fn norm(
    config: &DecoderConfig,
    name: &str,
    width: i64,
    source: &mut dyn ParameterSource,
) -> Result<RmsNorm> {
    Ok(RmsNorm::new(source.norm(name, width)?, config.rms_norm_eps, config.norm_style))
}

fn block(config: &DecoderConfig, index: usize, source: &mut dyn ParameterSource) -> Result<Block> {
    let prefix = format!("model.layers.{index}");
    let key = |suffix: &str| format!("{prefix}.{suffix}");
    let hidden = config.hidden_size;
    let inner = config.intermediate_size;
    let query_width = config.num_attention_heads * config.head_dim;
    let value_width = config.num_key_value_heads * config.head_dim;
    let qkv_bias = config.query_key_value_bias;

    let input_norm = norm(config, &key("input_layernorm"), hidden, source)?;
    let q_proj = source.linear(&key("self_attn.q_proj"), hidden, query_width, qkv_bias)?;
    let k_proj = source.linear(&key("self_attn.k_proj"), hidden, value_width, qkv_bias)?;
    let v_proj = source.linear(&key("self_attn.v_proj"), hidden, value_width, qkv_bias)?;
    let o_proj =
        source.linear(&key("self_attn.o_proj"), query_width, hidden, config.output_bias)?;
    let (q_norm, k_norm) = if config.query_key_norm {
        (
            Some(norm(config, &key("self_attn.q_norm"), config.head_dim, source)?),
            Some(norm(config, &key("self_attn.k_norm"), config.head_dim, source)?),
        )
    } else {
        (None, None)
    };
    let after_attention = norm(config, &key("post_attention_layernorm"), hidden, source)?;
    let (attention_output_norm, mlp_norm, mlp_output_norm) = if config.sandwich_norms {
        (
            Some(after_attention),
            norm(config, &key("pre_feedforward_layernorm"), hidden, source)?,
            Some(norm(config, &key("post_feedforward_layernorm"), hidden, source)?),
        )
    } else {
        (None, after_attention, None)
    };
    Ok(Block {
        input_norm,
        attention: SelfAttention {
            q_proj,
            k_proj,
            v_proj,
            o_proj,
            q_norm,
            k_norm,
            num_heads: config.num_attention_heads,
            num_key_value_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            scale: config.attention_scale,
        },
        attention_output_norm,
        mlp_norm,
        mlp: Mlp {
            gate_proj: source.linear(&key("mlp.gate_proj"), hidden, inner, config.mlp_bias)?,
            up_proj: source.linear(&key("mlp.up_proj"), hidden, inner, config.mlp_bias)?,
            down_proj: source.linear(&key("mlp.down_proj"), inner, hidden, config.mlp_bias)?,
            activation: config.activation,
        },
        mlp_output_norm,
    })
}
