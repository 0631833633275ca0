//! Every kind of bad model or input ends in an error that names what is wrong, with the
//! exit code for bad input, and never in a panic.

use std::path::{Path, PathBuf};

use limbeck_core::Checkpoint;
use limbeck_model::{
    Attention, Decoder, DecoderConfig, DenseLinear, Error, Input, KvCache, LoadOptions, Taps, gguf,
};
use limbeck_run::{Diagnose as _, Exit};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity").join(family)
}

fn options() -> LoadOptions<'static> {
    LoadOptions::dense(Device::Cpu, Kind::Float)
}

fn config(family: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture(family).join("config.json")).unwrap()).unwrap()
}

/// The `family`'s folder with its tensors changed by `edit`.
fn folder(family: &str, edit: impl FnOnce(&mut Vec<(String, Tensor)>)) -> TempDir {
    let mut checkpoint = Checkpoint::open(&fixture(family)).unwrap();
    let mut tensors: Vec<(String, Tensor)> = checkpoint
        .names()
        .into_iter()
        .map(|name| (name.clone(), checkpoint.take(&name).unwrap()))
        .collect();
    edit(&mut tensors);
    let folder = tempfile::tempdir().unwrap();
    limbeck_core::write_tensors(&folder.path().join("model.safetensors"), &tensors, &[]).unwrap();
    std::fs::copy(fixture(family).join("config.json"), folder.path().join("config.json")).unwrap();
    folder
}

/// Checks the message's parts, the exit code and that there is a hint.
fn check<T>(result: Result<T, Error>, parts: &[&str]) {
    let Err(error) = result else { panic!("no error; expected one with {parts:?}") };
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
    assert_eq!(error.exit() as u8, Exit::BadInput as u8, "{message}");
}

fn check_config(family: &str, edit: impl FnOnce(&mut Value), parts: &[&str]) {
    let mut config = config(family);
    edit(&mut config);
    check(DecoderConfig::from_hf(&config), parts);
}

#[test]
fn missing_tensor() {
    let folder = folder("qwen2", |tensors| {
        tensors.retain(|(name, _)| name != "model.layers.1.mlp.up_proj.weight");
    });
    let loaded = Decoder::load(folder.path(), &options());
    check(loaded, &["model.layers.1.mlp.up_proj.weight", "missing"]);
}

#[test]
fn untied_model_without_a_head() {
    let folder = folder("qwen2_untied", |tensors| {
        tensors.retain(|(name, _)| name != "lm_head.weight");
    });
    check(Decoder::load(folder.path(), &options()), &["lm_head.weight", "missing"]);
}

#[test]
fn tied_model_may_store_its_head_again() {
    let folder = folder("qwen2", |tensors| {
        let embedding = &tensors.iter().find(|(name, _)| name.contains("embed_tokens")).unwrap().1;
        let head = embedding.shallow_clone();
        tensors.push(("lm_head.weight".to_owned(), head));
    });
    let model = Decoder::load(folder.path(), &options()).unwrap();
    assert!(model.head_name().is_none());
}

#[test]
fn wrong_shape() {
    let folder = folder("llama2", |tensors| {
        let name = "model.layers.0.self_attn.k_proj.weight";
        let tensor = &mut tensors.iter_mut().find(|(other, _)| other == name).unwrap().1;
        *tensor = tensor.narrow(0, 0, 8).contiguous();
    });
    let loaded = Decoder::load(folder.path(), &options());
    check(loaded, &["model.layers.0.self_attn.k_proj.weight", "[16, 32]", "[8, 32]"]);
}

#[test]
fn leftover_tensor() {
    let folder = folder("llama2", |tensors| {
        let extra = Tensor::zeros([2], (Kind::Float, Device::Cpu));
        tensors.push(("model.layers.0.self_attn.q_norm.weight".to_owned(), extra));
    });
    check(Decoder::load(folder.path(), &options()), &["model.layers.0.self_attn.q_norm.weight"]);
}

#[test]
fn truncated_tensor_file() {
    let folder = folder("llama2", |_| ());
    let file = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    for length in [bytes.len() - 1, 100, 4, 0] {
        std::fs::write(&file, &bytes[..length]).unwrap();
        let error = Decoder::load(folder.path(), &options()).unwrap_err();
        assert!(error.to_string().contains("model.safetensors"), "{error}");
        assert!(error.hint().is_some());
        assert_eq!(error.exit() as u8, Exit::BadInput as u8);
    }
}

#[test]
fn missing_or_broken_configuration() {
    let folder = folder("llama2", |_| ());
    let file = folder.path().join("config.json");
    std::fs::write(&file, "{\"model_type\": \"llama\",").unwrap();
    check(Decoder::load(folder.path(), &options()), &["config.json"]);
    std::fs::remove_file(&file).unwrap();
    check(Decoder::load(folder.path(), &options()), &["config.json"]);
    check(DecoderConfig::from_hf(&json!([])), &["a JSON object"]);
}

#[test]
fn unknown_architecture_lists_the_known_ones() {
    let set = |key: &'static str, value: Value| move |config: &mut Value| config[key] = value;
    check_config(
        "llama2",
        set("model_type", json!("mamba")),
        &["model_type", "mamba", "llama, mistral, qwen2, qwen3, gemma3_text"],
    );
    check_config(
        "llama2",
        set("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0})),
        &["rope_type", "yarn", "default, linear, llama3"],
    );
    check_config("llama2", set("hidden_act", json!("relu")), &["hidden_act", "relu", "silu"]);
    check_config("gemma3", set("attn_logit_softcapping", json!(50.0)), &["attn_logit_softcapping"]);
}

#[test]
fn impossible_values_name_their_key() {
    let set = |key: &'static str, value: Value| move |config: &mut Value| config[key] = value;
    check_config("llama2", set("hidden_size", json!("32")), &["hidden_size", "integer", "\"32\""]);
    check_config("llama2", set("vocab_size", json!(0)), &["vocab_size", "positive", "0"]);
    check_config("llama2", set("num_hidden_layers", json!(-1)), &["num_hidden_layers", "-1"]);
    check_config(
        "llama2",
        set("num_key_value_heads", json!(3)),
        &["num_key_value_heads", "divisor of num_attention_heads (4)", "3"],
    );
    check_config("llama2", set("head_dim", json!(7)), &["head_dim", "even", "7"]);
    check_config("llama2", set("rms_norm_eps", json!(0.0)), &["rms_norm_eps", "0"]);
    check_config("llama2", set("rope_theta", json!(-1.0)), &["rope_theta", "-1"]);
    check_config("mistral", set("sliding_window", json!(0)), &["sliding_window", "0"]);
    check_config(
        "qwen2",
        set("layer_types", json!(["full_attention"])),
        &["layer_types", "3", "1"],
    );
    check_config(
        "gemma3",
        set("layer_types", json!(["a", "b", "c", "d"])),
        &["layer_types[0]", "\"a\""],
    );
    check_config(
        "llama3",
        set(
            "rope_scaling",
            json!({"rope_type": "llama3", "low_freq_factor": 4.0, "high_freq_factor": 1.0}),
        ),
        &["rope_scaling.high_freq_factor"],
    );
    let remove = |config: &mut Value| {
        config.as_object_mut().unwrap().remove("intermediate_size");
    };
    check_config("llama2", remove, &["intermediate_size", "nothing"]);
}

#[test]
fn quantised_folder_without_its_loader() {
    let mut hf_config = config("qwen2");
    hf_config["quantization_config"] = json!({"quant_method": "gptq"});
    let mut checkpoint = Checkpoint::open(&fixture("qwen2")).unwrap();
    let loaded = Decoder::from_checkpoint(&hf_config, &mut checkpoint, &options());
    check(loaded, &["quantization_config", "gptq"]);
}

#[test]
fn inputs_that_do_not_fit() {
    let model = Decoder::load(&fixture("qwen2"), &options()).unwrap();
    let forward = |input: &Input<'_>| model.forward(input, None, None);
    let tokens = Tensor::from_slice(&[5_i64, 6, 7]).unsqueeze(0);

    for token in [-1, 272] {
        let outside = Tensor::from_slice(&[5, token]).unsqueeze(0);
        check(forward(&Input::causal(&outside)), &[&token.to_string(), "272"]);
    }
    let empty = Tensor::zeros([1, 0], (Kind::Int64, Device::Cpu));
    check(forward(&Input::causal(&empty)), &["at least one token"]);

    let short = Tensor::ones([1, 2], (Kind::Bool, Device::Cpu));
    let input = Input { tokens: &tokens, positions: None, attention: Attention::KeyMask(&short) };
    check(forward(&input), &["key mask", "[1, 3]", "[1, 2]"]);
    let segments = Tensor::ones([1, 2], (Kind::Int64, Device::Cpu));
    let input =
        Input { tokens: &tokens, positions: None, attention: Attention::Segments(&segments) };
    check(forward(&input), &["segments", "[1, 3]", "[1, 2]"]);

    let positions = Tensor::from_slice(&[0_i64, 1]).unsqueeze(0);
    let input =
        Input { tokens: &tokens, positions: Some(&positions), attention: Attention::Causal };
    check(forward(&input), &["positions", "[1, 3]", "[1, 2]"]);
    let positions = Tensor::from_slice(&[0_i64, -1, 2]).unsqueeze(0);
    let input =
        Input { tokens: &tokens, positions: Some(&positions), attention: Attention::Causal };
    check(forward(&input), &["positions", "-1"]);

    let mut cache = KvCache::new(&model, 2, 4).unwrap();
    check(model.forward(&Input::causal(&tokens), Some(&mut cache), None), &["1 rows", "2"]);
    check(KvCache::new(&model, 0, 4), &["at least 1"]);
    check(cache.truncate(1), &["up to 0"]);

    let mut taps = Taps::new(vec![4], Vec::new());
    check(model.forward(&Input::causal(&tokens), None, Some(&mut taps)), &["0..=3", "4"]);
    let mut taps = Taps::new(Vec::new(), vec![3]);
    check(model.forward(&Input::causal(&tokens), None, Some(&mut taps)), &["below 3"]);
    let hidden = Tensor::zeros([1, 3, 32], (Kind::Float, Device::Cpu));
    check(model.layer_forward(3, &hidden, &Input::causal(&tokens)), &["below 3", "3"]);
}

#[test]
fn replacing_linears() {
    let mut model = Decoder::load(&fixture("qwen2"), &options()).unwrap();
    for name in ["model.layers.3.mlp.up_proj", "model.layers.0.mlp", "q_proj"] {
        check(model.map_linear(name, &mut Ok), &[name, "self_attn.q_proj"]);
        assert!(model.linear(name).is_none());
    }
    let name = "model.layers.0.mlp.up_proj";
    let failing = &mut |_| Err(Error::TokenOutOfRange { token: 0, vocab_size: 0 });
    model.map_linear(name, failing).unwrap_err();
    let tokens = Tensor::from_slice(&[5_i64]).unsqueeze(0);
    let error = model.forward(&Input::causal(&tokens), None, None).unwrap_err();
    assert_eq!(error.to_string(), format!("linear layer `{name}` was taken out and not replaced"));

    let weight = Tensor::zeros([40, 32], (Kind::Float, Device::Cpu));
    model
        .map_linear(name, &mut |_| Ok(Box::new(DenseLinear::new(weight.shallow_clone(), None)?)))
        .unwrap();
    let _ = model.forward(&Input::causal(&tokens), None, None).unwrap();
}

#[test]
fn a_tied_head_is_wrapped_untied_or_left_alone() {
    let mut model = Decoder::load(&fixture("qwen2"), &options()).unwrap();
    let tokens = Tensor::from_slice(&[5_i64, 6]).unsqueeze(0);
    let logits = |model: &Decoder| {
        let hidden = model.forward(&Input::causal(&tokens), None, None).unwrap();
        model.logits(&hidden).unwrap()
    };
    let before = logits(&model);
    // What is put back as it was is no head of its own.
    model.map_linear("lm_head", &mut Ok).unwrap();
    assert!(model.linear("lm_head").is_none() && model.head_name().is_none());
    let own = || DenseLinear::new(Tensor::ones([272, 32], (Kind::Float, Device::Cpu)), None);
    check(model.map_linear("lm_head", &mut |_| Ok(Box::new(own()?))), &["lm_head", "tied"]);
    assert_eq!(logits(&model), before);
    check(
        model.set_head(Box::new(
            DenseLinear::new(Tensor::ones([5, 32], (Kind::Float, Device::Cpu)), None).unwrap(),
        )),
        &["(272, 32)", "(5, 32)"],
    );
    model.set_head(Box::new(own().unwrap())).unwrap();
    assert_eq!(model.head_name(), Some("lm_head"));
    assert_eq!(model.hf_config()["tie_word_embeddings"], false);
    assert_ne!(logits(&model), before);
    let folder = tempfile::tempdir().unwrap();
    model.save(folder.path(), Kind::Float).unwrap();
    let read = Decoder::load(folder.path(), &options()).unwrap();
    assert_eq!(logits(&read), logits(&model));
}

#[test]
fn files_that_are_no_gguf() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    check(gguf::import(&file, Kind::Float), &["model.gguf"]);
    for bytes in [&b""[..], b"GGUF", b"not a gguf file at all"] {
        std::fs::write(&file, bytes).unwrap();
        check(gguf::import(&file, Kind::Float), &["model.gguf", "a GGUF header"]);
    }
}
