//! One seed, one result, also after a resume. In a program of its own: dropout draws from
//! libtorch's generator, which all tests of a process share.

use std::path::Path;

use limbeck_core::test_device;
use limbeck_lora::{Adapter, LoraConfig, train};
use limbeck_model::Decoder;
use limbeck_train::{Example, TrainConfig, TrainReport, Trainer};
use serde_json::json;
use tch::{Kind, Tensor};

fn decoder() -> Decoder {
    let config = json!({
        "model_type": "qwen2", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "hidden_act": "silu", "max_position_embeddings": 64, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "tie_word_embeddings": true, "initializer_range": 0.2,
    });
    Decoder::init(&config, 1, test_device(), Kind::Float).unwrap()
}

fn trained(seed: u64, output: &Path) -> (Vec<(String, Tensor)>, TrainReport) {
    let config = LoraConfig {
        dropout: 0.2,
        train: TrainConfig {
            steps: 6,
            warmup_steps: 1,
            micro_batch_tokens: 64,
            checkpoint_every: 3,
            ..TrainConfig::default()
        },
        ..LoraConfig::default()
    };
    let examples: Vec<Example> = (0..16_i64)
        .map(|index| Example {
            id: index.to_string(),
            tokens: (0..10).map(|position| (index * 7 + position * position) % 64).collect(),
            weights: (0..10).map(|position| f32::from(u8::from(position > 2))).collect(),
            ..Example::default()
        })
        .collect();
    let mut decoder = decoder();
    let adapter = Adapter::attach(&mut decoder, config.adapter(None), seed).unwrap();
    let trainer = Trainer {
        config: &config.train,
        output,
        seed,
        pad_token_id: 0,
        device: test_device(),
        label: "lora",
        run: "test",
    };
    let report = train(&decoder, &adapter, &examples, &[], &trainer).unwrap();
    let copies = adapter.trainable_parameters().into_iter();
    (copies.map(|(name, tensor)| (name, tensor.detach().copy())).collect(), report)
}

fn equal(left: &[(String, Tensor)], right: &[(String, Tensor)]) -> bool {
    left.iter().zip(right).all(|((_, left), (_, right))| left == right)
}

#[test]
fn a_seed_fixes_every_bit_also_of_a_resumed_run() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let (first, report) = trained(3, folders[0].path());
    assert_eq!(report.resumed_from, 0);
    let (second, _) = trained(3, folders[1].path());
    assert!(equal(&first, &second), "two runs differ");
    let (resumed, report) = trained(3, folders[0].path());
    assert_eq!(report.resumed_from, 3);
    assert!(equal(&first, &resumed), "the resumed run differs");
    let (other, _) = trained(4, folders[2].path());
    assert!(!equal(&first, &other), "the seed has no effect");
}
