//! Adapter folders that do not fit: each error names file, tensor or key, what was
//! expected and found, and leaves the decoder as it was.

use std::path::Path;

use limbeck_core::{TensorFile, write_tensors};
use limbeck_lora::{Adapter, Error, TargetModules};
use limbeck_run::{Diagnose, Exit};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::fixture;

const TENSOR: &str = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight";

/// A copy of a PEFT adapter with its configuration and tensors changed.
fn altered(
    config: impl Fn(&mut Value),
    tensors: impl Fn(&mut Vec<(String, Tensor)>),
) -> tempfile::TempDir {
    let source = fixture::path("lora/all_linear");
    let folder = tempfile::tempdir().unwrap();
    let mut value =
        limbeck_core::checkpoint::read_json(&source.join("adapter_config.json")).unwrap();
    config(&mut value);
    std::fs::write(folder.path().join("adapter_config.json"), value.to_string()).unwrap();
    let file = TensorFile::open(&source.join(Adapter::TENSORS)).unwrap();
    let mut entries: Vec<(String, Tensor)> =
        file.names().into_iter().map(|name| (name.clone(), file.tensor(&name).unwrap())).collect();
    tensors(&mut entries);
    write_tensors(&folder.path().join(Adapter::TENSORS), &entries, &[("format", "pt")]).unwrap();
    folder
}

#[track_caller]
fn refused(folder: &Path, parts: &[&str]) -> Error {
    let mut decoder = fixture::qwen2();
    let names = |decoder: &limbeck_model::Decoder| decoder.named_parameters().len();
    let before = names(&decoder);
    let error = Adapter::load(&mut decoder, folder).unwrap_err();
    for part in parts {
        assert!(error.to_string().contains(part), "`{part}` is not in: {error}");
    }
    assert_eq!(error.exit(), Exit::BadInput, "{error}");
    assert!(error.hint().is_some(), "no hint: {error}");
    assert_eq!(names(&decoder), before);
    error
}

#[test]
fn an_adapter_for_another_base_names_tensor_and_shapes() {
    let folder = altered(
        |_| (),
        |tensors| {
            for (name, tensor) in tensors.iter_mut() {
                if name == TENSOR {
                    *tensor = Tensor::zeros([48, 4], (Kind::Float, tch::Device::Cpu));
                }
            }
        },
    );
    refused(folder.path(), &[TENSOR, "[48, 4]", "expected ["]);
}

#[test]
fn a_rank_that_does_not_fit_the_tensors_is_an_error() {
    let folder = altered(|config| config["r"] = json!(8), |_| ());
    refused(folder.path(), &["lora_A.weight", "expected [8, ..]", "rank 8", "found [4, "]);
}

#[test]
fn a_missing_and_a_leftover_tensor_are_named() {
    let folder = altered(|_| (), |tensors| tensors.retain(|(name, _)| name != TENSOR));
    refused(folder.path(), &[TENSOR, "missing", "adapter_model.safetensors"]);
    let folder = altered(
        |_| (),
        |tensors| {
            let extra = tensors[0].1.shallow_clone();
            tensors.push(("base_model.model.lm_head.lora_A.weight".to_owned(), extra));
        },
    );
    refused(folder.path(), &["lm_head.lora_A.weight"]);
    let folder = altered(|config| config["target_modules"] = json!(["q_proj"]), |_| ());
    refused(folder.path(), &["belong to no part", "lora_A.weight"]);
}

#[test]
fn a_wrong_prefix_is_an_error_and_not_an_adapter_that_does_nothing() {
    let folder = altered(
        |_| (),
        |tensors| {
            for (name, _) in tensors.iter_mut() {
                *name = name.replace("base_model.model.", "base.");
            }
        },
    );
    refused(folder.path(), &["base.model.layers.0", "begins with base_model.model."]);
    // PEFT would load nothing of this one, and only warn.
    let folder = altered(
        |_| (),
        |tensors| {
            for (name, _) in tensors.iter_mut() {
                *name = name.replace("base_model.model.model.", "base_model.model.");
            }
        },
    );
    refused(folder.path(), &["base_model.model.layers.0.", "it has not"]);
}

#[test]
fn weights_stored_as_integers_are_refused() {
    let folder = altered(
        |_| (),
        |tensors| {
            for (name, tensor) in tensors.iter_mut() {
                if name == TENSOR {
                    *tensor = tensor.to_kind(Kind::Int64);
                }
            }
        },
    );
    let mut decoder = fixture::qwen2();
    let error = Adapter::load(&mut decoder, folder.path()).unwrap_err();
    assert!(matches!(&error, Error::Dtype { tensor, .. } if tensor == TENSOR), "{error}");
}

#[test]
fn half_precision_tensors_are_read() {
    let folder = altered(
        |_| (),
        |tensors| {
            for (_, tensor) in tensors.iter_mut() {
                *tensor = tensor.to_kind(Kind::BFloat16);
            }
        },
    );
    let mut decoder = fixture::qwen2();
    let adapter = Adapter::load(&mut decoder, folder.path()).unwrap();
    assert!(adapter.trainable_parameters().iter().all(|(_, tensor)| tensor.kind() == Kind::Float));
}

#[test]
fn damaged_files_are_named() {
    let folder = altered(|_| (), |_| ());
    let path = folder.path().join(Adapter::TENSORS);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    refused(folder.path(), &["adapter_model.safetensors", "expected"]);
    std::fs::write(folder.path().join("adapter_config.json"), "{ \"r\": ").unwrap();
    let error = Adapter::load(&mut fixture::qwen2(), folder.path()).unwrap_err();
    assert!(error.to_string().contains("adapter_config.json"), "{error}");
    let error = Adapter::load(&mut fixture::qwen2(), Path::new("no/such/folder")).unwrap_err();
    assert!(error.to_string().contains("no/such/folder"), "{error}");
}

#[test]
fn features_that_are_not_implemented_are_named() {
    let folder = altered(|config| config["lora_bias"] = json!(true), |_| ());
    refused(folder.path(), &["lora_bias", "adapter_config.json"]);
    // Said to be DoRA, but without the lengths that make it so.
    let folder = altered(|config| config["use_dora"] = json!(true), |_| ());
    refused(folder.path(), &["lora_magnitude_vector", "missing"]);
    let saved = |config: &mut Value| config["modules_to_save"] = json!(["lm_head"]);
    refused(altered(saved, |_| ()).path(), &["base_model.model.lm_head.weight", "missing"]);
    let folder = altered(|config| config["target_modules"] = json!(["q_proj", "c_attn"]), |_| ());
    refused(folder.path(), &["c_attn", "q_proj"]);
    let folder = altered(|config| config["rank_pattern"] = json!({ "c_attn": 2 }), |_| ());
    refused(folder.path(), &["rank_pattern", "c_attn"]);
}

#[test]
fn a_second_adapter_and_a_foreign_decoder_are_refused() {
    let mut decoder = fixture::qwen2();
    let config = || fixture::config(TargetModules::AllLinear);
    let adapter = Adapter::attach(&mut decoder, config(), 1).unwrap();
    let error = Adapter::attach(&mut decoder, config(), 1).unwrap_err();
    assert!(matches!(error, Error::AlreadyAdapted { .. }), "{error}");
    let error = adapter.detach(&mut fixture::qwen2()).unwrap_err();
    assert!(matches!(error, Error::NotAdapted { .. }), "{error}");
}

#[test]
fn a_model_saved_with_its_adapter_on_is_no_plain_checkpoint() {
    let mut decoder = fixture::qwen2();
    Adapter::load(&mut decoder, &fixture::path("lora/all_linear")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    decoder.save(folder.path(), Kind::Float).unwrap();
    let error = fixture::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("lora_A.weight"), "{error}");
}
