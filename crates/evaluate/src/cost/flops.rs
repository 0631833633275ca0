//! What a token costs in floating-point operations, and how many weights it meets.

use limbeck_model::DecoderConfig;

/// Floating-point operations of one token's forward pass with `context` tokens to look at, itself
/// included: `2` for each weight of a projection and of the head, and
/// `4 · layers · heads · head_dim · context` for attention (a product with the keys and one with
/// the values), where a layer with a sliding window sees no more than that.
///
/// Norms, activations, rotations and softmax are left out, as they are in the literature (Kaplan
/// et al. 2020, table 1): a percent or less of the whole. The head counts once, tied or not; the
/// embedding is a look-up.
pub fn flops_per_token(config: &DecoderConfig, context: f64) -> f64 {
    let attention_width = config.num_attention_heads * config.head_dim;
    let key_value_width = config.num_key_value_heads * config.head_dim;
    // q and o, k and v, gate, up and down.
    let projections = config.hidden_size
        * (2 * attention_width + 2 * key_value_width + 3 * config.intermediate_size);
    let head = config.hidden_size * config.vocab_size;
    let weights = projections * config.layers.len() as i64 + head;
    let seen: f64 = config
        .layers
        .iter()
        .map(|layer| layer.sliding_window.map_or(context, |window| context.min(window as f64)))
        .sum();
    2.0 * weights as f64 + 4.0 * attention_width as f64 * seen
}

/// Weights that a token is multiplied with, of a model with so many: all, but of an embedding that
/// is not also the head the rows of other tokens.
pub fn active_parameters(config: &DecoderConfig, parameters: i64) -> i64 {
    if config.tie_word_embeddings {
        parameters
    } else {
        parameters - (config.vocab_size - 1) * config.hidden_size
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::statistics::tests::close;

    fn student() -> serde_json::Value {
        json!({
            "model_type": "qwen2", "vocab_size": 640, "hidden_size": 128,
            "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 32, "hidden_act": "silu",
            "max_position_embeddings": 1024, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
            "tie_word_embeddings": true
        })
    }

    /// The committed student, by hand: a layer has 128·128 (q) + 2·128·64 (k, v) + 128·128 (o) +
    /// 3·128·192 = 122,880 weights, three of them 368,640; the head 640·128 = 81,920. Twice that is
    /// 901,120. Attention at 100 tokens: 4·3·4·32·100 = 153,600.
    #[test]
    fn the_students_operations() {
        let config = DecoderConfig::from_hf(&student()).unwrap();
        close(flops_per_token(&config, 0.0), 901_120.0, 1e-6);
        close(flops_per_token(&config, 100.0), 1_054_720.0, 1e-6);
    }

    #[test]
    fn a_window_bounds_attention() {
        let mut config = DecoderConfig::from_hf(&student()).unwrap();
        config.layers[0].sliding_window = Some(10);
        // One of three layers at 10 tokens, two at 100.
        let attention = 4.0 * 4.0 * 32.0 * (10.0 + 200.0);
        close(flops_per_token(&config, 100.0), 901_120.0 + attention, 1e-6);
    }

    #[test]
    fn only_rows_in_use_are_active() {
        let tied = DecoderConfig::from_hf(&student()).unwrap();
        assert_eq!(active_parameters(&tied, 451_328), 451_328);
        let mut untied = student();
        untied["tie_word_embeddings"] = false.into();
        let untied = DecoderConfig::from_hf(&untied).unwrap();
        assert_eq!(active_parameters(&untied, 533_248), 533_248 - 639 * 128);
    }
}
