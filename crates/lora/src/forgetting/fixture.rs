//! A small model, batches and adapters for the tests of this folder.

use limbeck_core::seed::CounterRng;
use limbeck_core::test_device;
use limbeck_model::Decoder;
use limbeck_train::{Batch, Example};
use serde_json::json;
use tch::{Kind, Tensor, no_grad};

use super::update::LowRankUpdate;
use crate::{Adapter, LoraConfig, Rank};

/// Two blocks, 32 wide.
pub(super) fn model() -> Decoder {
    let config = json!({
        "model_type": "qwen2", "vocab_size": 50, "hidden_size": 32,
        "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "hidden_act": "silu", "max_position_embeddings": 128,
        "initializer_range": 0.2, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "use_sliding_window": false, "tie_word_embeddings": true,
    });
    Decoder::init(&config, 7, test_device(), Kind::Float).unwrap()
}

/// Examples of different lengths, of which the first three tokens are given.
pub(super) fn examples(count: usize) -> Vec<Example> {
    (0..count)
        .map(|index| Example {
            id: index.to_string(),
            tokens: (0..7 + 2 * index).map(|at| ((index * 19 + at * 7) % 50) as i64).collect(),
            weights: (0..7 + 2 * index).map(|at| if at > 2 { 1.0 } else { 0.0 }).collect(),
            ..Example::default()
        })
        .collect()
}

pub(super) fn batch(examples: &[Example]) -> Batch {
    Batch::new(&examples.iter().collect::<Vec<_>>(), 0, test_device()).unwrap()
}

/// Numbers of mean 0 and variance 1, from a stream of their own: libtorch's generator is
/// shared by tests that run at the same time.
pub(super) fn random(shape: &[i64], seed: u64) -> Tensor {
    let mut stream = CounterRng::new(seed);
    let count = shape.iter().product::<i64>() as usize;
    let values: Vec<f32> =
        (0..count).map(|_| (12.0_f64.sqrt() * (stream.next_f64() - 0.5)) as f32).collect();
    Tensor::from_slice(&values).view(shape).to_device(test_device())
}

/// An adapter of which B is not zero.
pub(super) fn adapter(decoder: &mut Decoder, rank: i64) -> Adapter {
    let config = LoraConfig { rank: Rank::new(rank).unwrap(), ..LoraConfig::default() };
    let adapter = Adapter::attach(decoder, config.adapter(None), 3).unwrap();
    for (index, (name, tensor)) in adapter.trainable_parameters().into_iter().enumerate() {
        if name.contains("lora_B") {
            let values = random(&tensor.size(), index as u64) * 0.1;
            no_grad(|| tensor.shallow_clone().copy_(&values));
        }
    }
    adapter
}

/// One update of a projection of 7 inputs and 5 outputs, with gradients of zero.
pub(super) fn update(name: &str, scale: f64) -> LowRankUpdate {
    let leaf = |shape: &[i64], seed| random(shape, seed).set_requires_grad(true);
    LowRankUpdate {
        name: name.to_owned(),
        lora_a: leaf(&[2, 7], 1),
        lora_b: leaf(&[5, 2], 2),
        scale,
    }
}
