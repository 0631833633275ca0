//! Names of tensors there and here, and how llama.cpp's converter changes them: what import and
//! export share.

use crate::config::DecoderConfig;

/// Llama 3's divisors of the rotary frequencies.
pub(super) const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// How llama.cpp's converter changed a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Rows of each head reordered from half-split to interleaved pairs.
    Interleaved {
        heads: i64,
    },
    /// Gemma's norm weights stored with the 1 added.
    PlusOne,
}

/// A projection of a block.
pub(super) struct Projection {
    /// Name in the file, behind `blk.{index}.`.
    pub(super) theirs: &'static str,
    /// Name here, behind `model.layers.{index}.`.
    pub(super) ours: &'static str,
    pub(super) in_features: i64,
    pub(super) out_features: i64,
    pub(super) bias: bool,
    /// Of weight and bias.
    pub(super) change: Change,
}

/// Norms of a block: their name, ours, width.
pub(super) fn norms(config: &DecoderConfig) -> Vec<(&'static str, &'static str, i64)> {
    let (hidden, head_dim) = (config.hidden_size, config.head_dim);
    let mut norms = vec![("attn_norm", "input_layernorm", hidden)];
    if config.query_key_norm {
        norms.push(("attn_q_norm", "self_attn.q_norm", head_dim));
        norms.push(("attn_k_norm", "self_attn.k_norm", head_dim));
    }
    if config.sandwich_norms {
        norms.push(("post_attention_norm", "post_attention_layernorm", hidden));
        norms.push(("ffn_norm", "pre_feedforward_layernorm", hidden));
        norms.push(("post_ffw_norm", "post_feedforward_layernorm", hidden));
    } else {
        norms.push(("ffn_norm", "post_attention_layernorm", hidden));
    }
    norms
}

/// How norms of an architecture are changed.
pub(super) fn norm_change(architecture: &str) -> Change {
    if architecture == "gemma3" { Change::PlusOne } else { Change::None }
}

/// Projections of a block.
pub(super) fn projections(config: &DecoderConfig, architecture: &str) -> [Projection; 7] {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let query = config.num_attention_heads * config.head_dim;
    let value = config.num_key_value_heads * config.head_dim;
    // Only the llama architecture rotates interleaved pairs in llama.cpp.
    let rotated = |heads| match architecture {
        "llama" => Change::Interleaved { heads },
        _ => Change::None,
    };
    let of = |theirs, ours, in_features, out_features, bias, change| Projection {
        theirs,
        ours,
        in_features,
        out_features,
        bias,
        change,
    };
    let qkv_bias = config.query_key_value_bias;
    let (query_change, key_change) =
        (rotated(config.num_attention_heads), rotated(config.num_key_value_heads));
    [
        of("attn_q", "self_attn.q_proj", hidden, query, qkv_bias, query_change),
        of("attn_k", "self_attn.k_proj", hidden, value, qkv_bias, key_change),
        of("attn_v", "self_attn.v_proj", hidden, value, qkv_bias, Change::None),
        of("attn_output", "self_attn.o_proj", query, hidden, config.output_bias, Change::None),
        of("ffn_gate", "mlp.gate_proj", hidden, inner, config.mlp_bias, Change::None),
        of("ffn_up", "mlp.up_proj", hidden, inner, config.mlp_bias, Change::None),
        of("ffn_down", "mlp.down_proj", inner, hidden, config.mlp_bias, Change::None),
    ]
}
