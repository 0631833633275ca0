//! Packed decoders as GGUF files: the codes are kept.
//!
//! `LIMBECK_KEEP_GGUF` names a folder to leave files and the folders of the same models in, for
//! `scripts/peers/check_gguf.py`.

use std::path::{Path, PathBuf};

use limbeck_core::{DType, Tokenizer};
use limbeck_model::gguf::{self, TensorType};
use limbeck_model::{Decoder, Input, LoadOptions};
use limbeck_quant::{
    Error, Format, Method, QuantizeConfig, load_decoder, quantize, save, save_gguf,
};
use limbeck_run::Diagnose;
use tch::{Device, Kind, Tensor};

fn student() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/student")
}

fn fp32() -> LoadOptions<'static> {
    LoadOptions::dense(Device::Cpu, Kind::Float)
}

fn packed(config: &QuantizeConfig) -> Decoder {
    let mut decoder = Decoder::load(&student(), &fp32()).unwrap();
    quantize(&mut decoder, &[], config, &mut |_, _, _| {}).unwrap();
    decoder
}

fn config() -> QuantizeConfig {
    QuantizeConfig {
        method: Method::Rtn,
        group_size: 32,
        format: Format::Gguf,
        ..QuantizeConfig::default()
    }
}

fn logits(decoder: &Decoder) -> Tensor {
    let tokens: Vec<i64> = (0..40).map(|place| (place * 37 + 5) % 640).collect();
    let tokens = Tensor::from_slice(&tokens).view([1, 40]);
    decoder.logits(&decoder.forward(&Input::causal(&tokens), None, None).unwrap()).unwrap()
}

#[test]
fn codes_of_every_width_are_kept() {
    for (bits, symmetric, group_size, kind) in [
        (4, true, 32, TensorType::Q4_0),
        (4, true, 64, TensorType::Q4_0),
        (4, true, -1, TensorType::Q4_0),
        (3, true, 32, TensorType::Q4_0),
        (2, true, 32, TensorType::Q4_0),
        (8, true, 64, TensorType::Q8_0),
        (4, false, 32, TensorType::Q4_1),
        (3, false, 64, TensorType::Q4_1),
    ] {
        let config = QuantizeConfig { bits, symmetric: Some(symmetric), group_size, ..config() };
        let decoder = packed(&config);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        // What is dense is exact in bfloat16.
        let exported = save_gguf(&decoder, &student(), &path, TensorType::BF16).unwrap();
        assert_eq!(exported.tensors[&kind], 21, "{exported:?}");
        gguf::import(&path, Kind::Float).unwrap().write(folder.path()).unwrap();
        let back = Decoder::load(folder.path(), &fp32()).unwrap();
        let expected = logits(&decoder);
        let error = ((logits(&back) - &expected).norm() / expected.norm()).double_value(&[]);
        let bound = if symmetric { 1e-5 } else { 1e-2 };
        assert!(error < bound, "{config:?}: {error}");
        if let Some(keep) = std::env::var_os("LIMBECK_KEEP_GGUF") {
            let name = format!("packed-{bits}-{symmetric}-{group_size}");
            let keep = Path::new(&keep).join(name);
            std::fs::create_dir_all(&keep).unwrap();
            std::fs::copy(&path, keep.with_extension("gguf")).unwrap();
            for name in ["model.safetensors", "config.json"] {
                std::fs::copy(folder.path().join(name), keep.join(name)).unwrap();
            }
            Tokenizer::load(&student()).unwrap().copy_files(&keep).unwrap();
        }
    }
}

#[test]
fn folders_of_other_formats_are_written_with_their_codes_or_refused() {
    let gptq = QuantizeConfig { format: Format::Gptq, ..config() };
    let folder = tempfile::tempdir().unwrap();
    save(&packed(&gptq), folder.path(), DType::BFloat16).unwrap();
    let decoder = load_decoder(folder.path(), &fp32()).unwrap();
    let path = folder.path().join("model.gguf");
    let exported = save_gguf(&decoder, &student(), &path, TensorType::Q8_0).unwrap();
    assert_eq!(exported.tensors[&TensorType::Q4_0], 21, "{exported:?}");
    assert_eq!(exported.tensors[&TensorType::Q8_0], 1, "{exported:?}");

    let wide = QuantizeConfig { bits: 8, symmetric: Some(false), ..gptq };
    let path = folder.path().join("other.gguf");
    let error = save_gguf(&packed(&wide), &student(), &path, TensorType::Q8_0).unwrap_err();
    assert!(matches!(error, Error::FormatLimit { .. }), "{error}");
    assert!(error.to_string().contains("asymmetric codes of 8 bits"), "{error}");
    assert!(!path.exists());
}

#[test]
fn what_the_file_cannot_hold_is_refused_before_any_work() {
    let mut decoder = Decoder::load(&student(), &fp32()).unwrap();
    let wide = QuantizeConfig { bits: 8, symmetric: Some(false), ..config() };
    let error = quantize(&mut decoder, &[], &wide, &mut |_, _, _| {}).unwrap_err();
    assert!(error.hint().unwrap().contains("symmetric = true"), "{error}");
    let awq = QuantizeConfig { bits: 8, format: Format::Awq, ..config() };
    let error = quantize(&mut decoder, &[], &awq, &mut |_, _, _| {}).unwrap_err();
    assert!(error.hint().unwrap().contains("compressed-tensors"), "{error}");
    // A file is no folder.
    let folder = tempfile::tempdir().unwrap();
    let error = save(&packed(&config()), folder.path(), DType::BFloat16).unwrap_err();
    assert!(error.to_string().contains("gguf"), "{error}");
}
