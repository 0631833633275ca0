//! The tiny Qwen2 model and the adapters that PEFT made on it.

use std::path::{Path, PathBuf};

use limbeck_core::{TensorFile, test_device};
use limbeck_lora::{AdapterConfig, Alpha, Rank, TargetModules};
use limbeck_model::{Decoder, Input, LoadOptions};
use tch::{Kind, Tensor, no_grad};

pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

pub(crate) fn qwen2() -> Decoder {
    load(&path("parity/qwen2")).unwrap()
}

pub(crate) fn load(folder: &Path) -> limbeck_model::Result<Decoder> {
    let options = LoadOptions {
        device: test_device(),
        parameter_dtype: Kind::Float,
        compute_dtype: Kind::Float,
        linear_loader: None,
    };
    Decoder::load(folder, &options)
}

/// Tokens `[1, seq]` and the logits `[seq, vocab]` that Python computed from them.
pub(crate) fn expected(folder: &str) -> (Tensor, Tensor) {
    let file = TensorFile::open(&path(folder).join("expected.safetensors")).unwrap();
    let tensor = |name| file.tensor(name).unwrap().to_device(test_device());
    (tensor("tokens"), tensor("logits"))
}

/// Logits `[seq, vocab]` of one row of tokens `[1, seq]`.
pub(crate) fn logits(decoder: &Decoder, tokens: &Tensor) -> Tensor {
    no_grad(|| {
        let hidden = decoder.forward(&Input::causal(tokens), None, None).unwrap();
        decoder.logits(&hidden).unwrap().squeeze_dim(0)
    })
}

pub(crate) fn largest_difference(left: &Tensor, right: &Tensor) -> f64 {
    (left - right).abs().max().double_value(&[])
}

pub(crate) fn config(targets: TargetModules) -> AdapterConfig {
    AdapterConfig {
        rank: Rank::new(4).unwrap(),
        alpha: Alpha::new(8.0).unwrap(),
        target_modules: targets,
        base_model: Some("fixtures/parity/qwen2".to_owned()),
        ..AdapterConfig::default()
    }
}
