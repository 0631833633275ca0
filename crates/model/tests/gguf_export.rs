//! Models that are written as GGUF files come back as the same models, with the same tokenizer.
//!
//! `LIMBECK_KEEP_GGUF` names a folder to leave the files in, for `scripts/peers/check_gguf.py` to
//! compare llama.cpp's logits with those of the folders that the files were made of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use limbeck_core::Tokenizer;
use limbeck_model::gguf::{self, BlockMatrix, ExportOptions, Exported, TensorType};
use limbeck_model::{Decoder, DecoderConfig, Error, Input, LoadOptions};
use limbeck_run::{Diagnose, Exit};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

const FAMILIES: [&str; 7] =
    ["llama2", "llama3", "mistral", "qwen2", "qwen2_untied", "qwen3", "gemma3"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(name)
}

fn load(folder: &Path) -> Decoder {
    Decoder::load(folder, &LoadOptions::dense(Device::Cpu, Kind::Float)).unwrap()
}

/// A folder that a model went to a file and came back to.
struct Trip {
    folder: tempfile::TempDir,
    exported: Exported,
}

fn trip(decoder: &Decoder, tokenizer: &Path, options: ExportOptions<'_>) -> Trip {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let exported = gguf::export(decoder, tokenizer, &path, options).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), exported.bytes);
    if let Some(keep) = std::env::var_os("LIMBECK_KEEP_GGUF") {
        let name = tokenizer.file_name().unwrap().to_string_lossy();
        let name = format!("{name}-{}.gguf", options.kind);
        std::fs::copy(&path, Path::new(&keep).join(name)).unwrap();
    }
    gguf::import(&path, Kind::Float).unwrap().write(folder.path()).unwrap();
    Trip { folder, exported }
}

fn dense(kind: TensorType) -> ExportOptions<'static> {
    ExportOptions { kind, blocks: None }
}

fn logits(decoder: &Decoder) -> Tensor {
    let count = decoder.config().vocab_size;
    let tokens: Vec<i64> = (0..40).map(|place| (place * 37 + 5) % count).collect();
    let tokens = Tensor::from_slice(&tokens).view([1, 40]);
    decoder.logits(&decoder.forward(&Input::causal(&tokens), None, None).unwrap()).unwrap()
}

fn difference(found: &Tensor, expected: &Tensor) -> f64 {
    ((found - expected).norm() / expected.norm()).double_value(&[])
}

#[test]
fn every_family_comes_back() {
    for family in FAMILIES {
        let folder = fixture("parity").join(family);
        let original = load(&folder);
        let trip = trip(&original, &folder, dense(TensorType::F32));
        let back = load(trip.folder.path());
        assert!(difference(&logits(&back), &logits(&original)) < 1e-5, "{family}");
        // The 1 added to Gemma's norms costs bits, and its query norms make up for a scale.
        if family == "gemma3" {
            assert_eq!(back.config().layers, original.config().layers);
            assert_eq!(back.config().ropes, original.config().ropes);
        } else {
            assert_eq!(back.config(), original.config(), "{family}");
            let found: BTreeMap<String, Tensor> = back.named_parameters().into_iter().collect();
            for (name, tensor) in original.named_parameters() {
                assert_eq!(found[&name], tensor, "{family}: {name}");
            }
        }
        let (ours, theirs) =
            (Tokenizer::load(&folder).unwrap(), Tokenizer::load(trip.folder.path()).unwrap());
        for text in ["the 1234 theme ", "<|im_start|>user\nthere it's<|im_end|>", "é ▁ 名"] {
            assert_eq!(theirs.encode(text).unwrap(), ours.encode(text).unwrap(), "{family}");
        }
        assert_eq!(theirs.eos_token_ids(), ours.eos_token_ids());
        let template = |folder: &Path| -> Value {
            let config = std::fs::read(folder.join("tokenizer_config.json")).unwrap();
            serde_json::from_slice::<Value>(&config).unwrap()["chat_template"].take()
        };
        assert_eq!(template(trip.folder.path()), template(&folder));
    }
}

#[test]
fn blocks_stay_within_their_error_and_what_they_do_not_divide_is_said() {
    // Rows of 128 and 192 weights: neither is a multiple of 256.
    let folder = fixture("student");
    let original = load(&folder);
    let expected = logits(&original);
    for (kind, bound, written) in [
        (TensorType::F16, 1e-3, TensorType::F16),
        (TensorType::BF16, 1e-6, TensorType::BF16),
        (TensorType::Q8_0, 0.02, TensorType::Q8_0),
        (TensorType::Q4_0, 0.3, TensorType::Q4_0),
        (TensorType::Q4K, 0.15, TensorType::Q5_0),
        (TensorType::Q6K, 0.02, TensorType::Q8_0),
    ] {
        let trip = trip(&original, &folder, dense(kind));
        let found = difference(&logits(&load(trip.folder.path())), &expected);
        println!("{kind}: relative error of the logits {found:.1e}, {:?}", trip.exported);
        assert!(found < bound, "{kind}: {found}");
        // Seven projections of three blocks, and the embedding where it is of the same type.
        assert!(trip.exported.tensors[&written] >= 21, "{:?}", trip.exported);
        let says = trip.exported.warnings.iter().any(|text| text.contains("do not divide"));
        assert_eq!(says, written != kind || kind == TensorType::Q4_0, "{:?}", trip.exported);
    }
}

#[test]
fn given_blocks_are_written_as_they_are() {
    for family in ["llama2", "qwen2"] {
        let folder = fixture("parity").join(family);
        let original = load(&folder);
        // fp32 is a type of block, too: of one weight.
        let layer = "model.layers.1.self_attn.k_proj";
        let weight = original.linear(layer).unwrap().dense_weight().unwrap() * 2.0;
        let blocks = |name: &str| {
            let values = Vec::<f32>::try_from(weight.flatten(0, -1)).unwrap();
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (name == layer).then_some(BlockMatrix { kind: TensorType::F32, bytes })
        };
        let options = ExportOptions { kind: TensorType::BF16, blocks: Some(&blocks) };
        let trip = trip(&original, &folder, options);
        let back = load(trip.folder.path());
        assert_eq!(back.linear(layer).unwrap().dense_weight().unwrap(), weight, "{family}");
        let short = |name: &str| {
            blocks(name).map(|mut matrix| {
                matrix.bytes.pop();
                matrix
            })
        };
        let options = ExportOptions { blocks: Some(&short), ..options };
        let path = trip.folder.path().join("other.gguf");
        let error = gguf::export(&original, &folder, &path, options).unwrap_err().to_string();
        assert!(error.contains(layer), "{error}");
        assert!(!path.exists());
    }
}

#[test]
fn a_sentencepiece_tokenizer_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = (0..256).map(|byte| (format!("<0x{byte:02X}>"), json!(byte + 3)));
    let mut vocab: serde_json::Map<String, Value> = bytes.collect();
    for (id, token) in ["<unk>", "<s>", "</s>"].into_iter().enumerate() {
        vocab.insert(token.to_owned(), json!(id));
    }
    for (id, token) in ["▁", "a", "b", "ba", "ab", "▁ab"].into_iter().enumerate() {
        vocab.insert(token.to_owned(), json!(id + 259));
    }
    let special = |id: i64, content: &str| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        })
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": "▁" },
            { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
        ] },
        "pre_tokenizer": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                { "SpecialToken": { "id": "<s>", "type_id": 0 } },
                { "Sequence": { "id": "A", "type_id": 0 } },
            ],
            "pair": [],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [1], "tokens": ["<s>"] } },
        },
        "decoder": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>", "fuse_unk": true,
            "byte_fallback": true, "ignore_merges": false, "vocab": vocab,
            "merges": [["b", "a"], ["a", "b"], ["▁", "ab"]],
        },
    });
    let write = |name: &str, value: &Value| {
        std::fs::write(folder.path().join(name), value.to_string()).unwrap();
    };
    write("tokenizer.json", &tokenizer);
    let config =
        json!({ "bos_token": "<s>", "eos_token": { "content": "</s>" }, "unk_token": "<unk>" });
    write("tokenizer_config.json", &config);
    let trip = trip(&load(&fixture("parity/llama2")), folder.path(), dense(TensorType::F32));
    assert_eq!(trip.exported.warnings, [""; 0]);
    let (ours, theirs) =
        (Tokenizer::load(folder.path()).unwrap(), Tokenizer::load(trip.folder.path()).unwrap());
    for text in ["aba ab", "ab", "é</s>b"] {
        let ids = ours.encode_document(text).unwrap();
        assert_eq!(ids[0], 1, "{text}");
        assert_eq!(theirs.encode_document(text).unwrap(), ids, "{text}");
    }
    assert_eq!(theirs.eos_token_ids(), [2]);
}

#[test]
fn what_llama_cpp_has_no_place_for_is_named() {
    let refuse = |family: &str, edit: &dyn Fn(&mut Value), part: &str| {
        let folder = fixture("parity").join(family);
        let text = std::fs::read(folder.join("config.json")).unwrap();
        let mut config: Value = serde_json::from_slice(&text).unwrap();
        edit(&mut config);
        DecoderConfig::from_hf(&config).unwrap();
        let decoder = Decoder::init(&config, 1, Device::Cpu, Kind::Float).unwrap();
        let target = tempfile::tempdir().unwrap();
        let path = target.path().join("model.gguf");
        let error = gguf::export(&decoder, &folder, &path, dense(TensorType::F16)).unwrap_err();
        assert!(matches!(error, Error::Export { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(error.exit(), Exit::BadInput);
        assert!(error.hint().is_some() && !path.exists());
    };
    refuse("qwen3", &|config| config["attention_bias"] = json!(true), "biases");
    refuse("llama2", &|config| config["hidden_act"] = json!("gelu"), "Gelu");
    refuse("llama2", &|config| config["vocab_size"] = json!(100), "token ids below 100");
    refuse(
        "gemma3",
        &|config| {
            let layers =
                ["full_attention", "sliding_attention", "sliding_attention", "full_attention"];
            config["layer_types"] = json!(layers);
        },
        "fssf",
    );
    refuse(
        "qwen2",
        &|config| {
            config["use_sliding_window"] = json!(true);
            config["layer_types"] =
                json!(["full_attention", "sliding_attention", "full_attention"]);
            config["sliding_window"] = json!(8);
        },
        "sliding layers",
    );
}

#[test]
fn a_pattern_of_words_without_a_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let source = fixture("student");
    let text = std::fs::read_to_string(source.join("tokenizer.json")).unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), text.replace("\\\\p{L}+", "\\\\p{L}*"))
        .unwrap();
    let path = folder.path().join("model.gguf");
    let error = gguf::export(&load(&source), folder.path(), &path, dense(TensorType::F16));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("pre-tokenizer") && error.contains("qwen2"), "{error}");
}
