//! Methods on whole decoders: AWQ, heads and embeddings, widths that differ by layer, and
//! runs that go on after an interruption.

mod awq;
mod gemma_270m;
mod gptaq;
mod head;
mod mixed_precision;
mod resume;

use std::path::{Path, PathBuf};

use limbeck_core::seed::CounterRng;
use limbeck_core::test_device;
use limbeck_model::{Decoder, Input, LoadOptions};
use limbeck_quant::{Method, QuantizeConfig};
use tch::{Kind, Tensor};

/// Models with weights under `fixtures/parity/`: all families, tied and untied.
const FIXTURES: [&str; 7] =
    ["gemma3", "llama2", "llama3", "mistral", "qwen2", "qwen2_untied", "qwen3"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity").join(name)
}

fn fp32() -> LoadOptions<'static> {
    LoadOptions::dense(test_device(), Kind::Float)
}

fn load(name: &str) -> Decoder {
    Decoder::load(&fixture(name), &fp32()).unwrap()
}

/// A small model with a head of its own or tied, whose parameters bf16 holds exactly.
fn small(tied: bool) -> Decoder {
    let config = serde_json::json!({
        "model_type": "qwen2", "hidden_act": "silu", "hidden_size": 64,
        "initializer_range": 0.1, "intermediate_size": 96, "max_position_embeddings": 256,
        "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": tied,
        "vocab_size": 96,
    });
    let folder = tempfile::tempdir().unwrap();
    let decoder = Decoder::init(&config, 5, test_device(), Kind::Float).unwrap();
    decoder.save(folder.path(), Kind::BFloat16).unwrap();
    Decoder::load(folder.path(), &fp32()).unwrap()
}

fn sequences(decoder: &Decoder, seed: u64) -> Vec<Vec<i64>> {
    let vocab = decoder.config().vocab_size as usize;
    let mut rng = CounterRng::new(seed);
    (0..24).map(|_| (0..8 + rng.below(40)).map(|_| rng.below(vocab) as i64).collect()).collect()
}

fn config(method: Method) -> QuantizeConfig {
    QuantizeConfig {
        method,
        group_size: 32,
        calibration_tokens_min: 1,
        ..QuantizeConfig::default()
    }
}

fn logits(decoder: &Decoder) -> Tensor {
    let vocab = decoder.config().vocab_size;
    let tokens: Vec<i64> = (0..40).map(|place| (place * 7 + 3) % vocab).collect();
    let tokens = Tensor::from_slice(&tokens).view([2, 20]).to_device(test_device());
    let hidden = decoder.forward(&Input::causal(&tokens), None, None).unwrap();
    decoder.logits(&hidden).unwrap()
}

fn relative(expected: &Tensor, found: &Tensor) -> f64 {
    ((expected - found).norm() / expected.norm()).double_value(&[])
}
