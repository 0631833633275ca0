//! Configurations as published models have them.

use serde_json::{Value, json};

use crate::config::{DecoderConfig, RopeScaling};

fn parse(config: &Value) -> DecoderConfig {
    DecoderConfig::from_hf(config).unwrap()
}

#[test]
fn gemma_wrapper_with_most_keys_left_out() {
    let config = parse(&json!({
        "model_type": "gemma3",
        "vision_config": { "hidden_size": 1152 },
        "text_config": {
            "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240,
            "num_hidden_layers": 34, "sliding_window": 1024,
            "rope_scaling": { "rope_type": "linear", "factor": 8.0 },
        },
    }));
    assert_eq!(
        (config.num_attention_heads, config.num_key_value_heads, config.head_dim),
        (8, 4, 256)
    );
    assert!(config.tie_word_embeddings && config.query_key_norm && config.sandwich_norms);
    assert_eq!(config.embedding_scale, Some(2560_f64.sqrt()));
    let full: Vec<usize> =
        (0..34).filter(|index| config.layers[*index].sliding_window.is_none()).collect();
    assert_eq!(full, [5, 11, 17, 23, 29]);
    let rope = |layer: usize| config.ropes[config.layers[layer].rope];
    assert_eq!((rope(0).theta, rope(0).scaling), (1e4, RopeScaling::Default));
    assert_eq!((rope(5).theta, rope(5).scaling), (1e6, RopeScaling::Linear { factor: 8.0 }));
}

#[test]
fn qwen_windows_start_at_max_window_layers() {
    let mut keys = json!({
        "model_type": "qwen2", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 8,
        "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 1,
        "use_sliding_window": true, "sliding_window": 5, "max_window_layers": 3,
    });
    let windows = |keys: &Value| -> Vec<Option<i64>> {
        parse(keys).layers.iter().map(|layer| layer.sliding_window).collect()
    };
    assert_eq!(windows(&keys), [None, None, None, Some(5)]);
    keys["use_sliding_window"] = json!(false);
    assert_eq!(windows(&keys), [None; 4]);
}

#[test]
fn mistral_without_a_window() {
    let config = parse(&json!({
        "model_type": "mistral", "vocab_size": 10, "hidden_size": 64, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 8, "sliding_window": null,
        "head_dim": 16, "rope_theta": 1e6,
    }));
    assert_eq!((config.layers[0].sliding_window, config.head_dim), (None, 16));
    assert_eq!(config.num_key_value_heads, 8);
}

#[test]
fn older_name_of_the_rope_type() {
    let config = parse(&json!({
        "model_type": "llama", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2,
        "rope_scaling": { "type": "linear", "factor": 2.0 },
    }));
    assert_eq!(config.ropes[0].scaling, RopeScaling::Linear { factor: 2.0 });
    assert_eq!(config.num_key_value_heads, 2);
}
