//! GGUF files written here from the parity models, changed as llama.cpp's converter
//! changes them, come back as the same models.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use limbeck_core::{Checkpoint, Tokenizer};
use limbeck_model::{DecoderConfig, config::RopeScaling, gguf};
use tch::{Kind, Tensor};

/// What goes into a file; tests change it before it is written.
struct Model {
    hf_config: serde_json::Value,
    hf_tensors: Vec<(String, Tensor)>,
    metadata: BTreeMap<String, Value>,
    tensors: Vec<(String, QTensor)>,
}

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity").join(family)
}

fn quantise(tensor: &Tensor, dtype: GgmlDType) -> QTensor {
    let shape: Vec<usize> = tensor.size().into_iter().map(|size| size as usize).collect();
    let values: Vec<f32> = Vec::try_from(tensor.flatten(0, -1)).unwrap();
    let tensor = candle_core::Tensor::from_vec(values, shape, &candle_core::Device::Cpu).unwrap();
    QTensor::quantize(&tensor, dtype).unwrap()
}

/// Hugging Face's half-split rows to llama.cpp's interleaved ones.
fn interleave(tensor: &Tensor, heads: i64) -> Tensor {
    let rows = tensor.size()[0];
    tensor.view([heads, 2, rows / heads / 2, -1]).transpose(1, 2).reshape(tensor.size())
}

impl Model {
    fn new(family: &str, architecture: &str) -> Self {
        let text = std::fs::read(fixture(family).join("config.json")).unwrap();
        let hf_config: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let config = DecoderConfig::from_hf(&hf_config).unwrap();
        let mut checkpoint = Checkpoint::open(&fixture(family)).unwrap();
        let mut tensors = Vec::new();
        let mut hf_tensors = Vec::new();
        for name in checkpoint.names() {
            let tensor = checkpoint.take(&name).unwrap();
            let mut changed = tensor.copy();
            if architecture == "gemma3" && name.ends_with("norm.weight") {
                changed += 1.0;
            }
            if architecture == "llama" && name.contains("q_proj") {
                changed = interleave(&tensor, config.num_attention_heads);
            }
            if architecture == "llama" && name.contains("k_proj") {
                changed = interleave(&tensor, config.num_key_value_heads);
            }
            tensors.push((their_name(&name, architecture), quantise(&changed, GgmlDType::F32)));
            hf_tensors.push((name, tensor));
        }
        Self { metadata: metadata(&config, architecture), hf_config, hf_tensors, tensors }
    }

    fn set(mut self, key: &str, value: Value) -> Self {
        self.metadata.insert(key.to_owned(), value);
        self
    }

    fn import(&self) -> limbeck_model::Result<gguf::Imported> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        let metadata: Vec<(&str, &Value)> =
            self.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<(&str, &QTensor)> =
            self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        gguf_file::write(&mut File::create(&path).unwrap(), &metadata, &tensors).unwrap();
        gguf::import(&path, Kind::Float)
    }

    /// Imports and compares every tensor with the original, bit by bit.
    fn check(&self) -> DecoderConfig {
        let imported = self.import().unwrap();
        let found: BTreeMap<String, Tensor> = imported.tensors.into_iter().collect();
        assert_eq!(found.len(), self.hf_tensors.len());
        for (name, tensor) in &self.hf_tensors {
            let error = (&found[name] - tensor).abs().max().double_value(&[]);
            // The 1 added to Gemma's norms costs bits.
            let tolerance = if name.contains("norm") { 1e-6 } else { 0.0 };
            assert!(error <= tolerance, "{name}: {error}");
        }
        DecoderConfig::from_hf(&imported.hf_config).unwrap()
    }
}

fn their_name(name: &str, architecture: &str) -> String {
    let post_attention = if architecture == "gemma3" { "post_attention_norm" } else { "ffn_norm" };
    let mut name = name.to_owned();
    for (ours, theirs) in [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("model.layers", "blk"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", post_attention),
        ("pre_feedforward_layernorm", "ffn_norm"),
        ("post_feedforward_layernorm", "post_ffw_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("self_attn.q_norm", "attn_q_norm"),
        ("self_attn.k_norm", "attn_k_norm"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ] {
        name = name.replace(ours, theirs);
    }
    name
}

fn strings(values: &[&str]) -> Value {
    Value::Array(values.iter().map(|value| Value::String((*value).to_owned())).collect())
}

fn integer(value: i64) -> Value {
    Value::U32(value as u32)
}

fn metadata(config: &DecoderConfig, architecture: &str) -> BTreeMap<String, Value> {
    let mut metadata = BTreeMap::new();
    let mut set = |key: &str, value: Value| {
        let key = key.replace("ARCH", architecture);
        metadata.insert(key, value);
    };
    set("general.architecture", Value::String(architecture.to_owned()));
    set("ARCH.embedding_length", integer(config.hidden_size));
    set("ARCH.feed_forward_length", integer(config.intermediate_size));
    set("ARCH.block_count", integer(config.layers.len() as i64));
    set("ARCH.attention.head_count", integer(config.num_attention_heads));
    set("ARCH.attention.head_count_kv", integer(config.num_key_value_heads));
    set("ARCH.attention.key_length", integer(config.head_dim));
    set("ARCH.context_length", integer(config.max_position_embeddings));
    set("ARCH.attention.layer_norm_rms_epsilon", Value::F32(config.rms_norm_eps as f32));
    set("ARCH.rope.freq_base", Value::F32(config.ropes[0].theta as f32));
    if let Some(window) = config.layers[0].sliding_window {
        set("ARCH.attention.sliding_window", integer(window));
    }
    set("tokenizer.ggml.model", Value::String("gpt2".to_owned()));
    set("tokenizer.ggml.pre", Value::String("qwen2".to_owned()));
    set("tokenizer.ggml.tokens", strings(&["<|end|>", "a", "b", "ab", "Ġ", "Ġab", "1"]));
    set("tokenizer.ggml.merges", strings(&["a b", "Ġ ab"]));
    let types = [3, 1, 1, 1, 1, 1, 1].into_iter().map(Value::I32).collect();
    set("tokenizer.ggml.token_type", Value::Array(types));
    set("tokenizer.ggml.eos_token_id", integer(0));
    metadata
}

#[test]
fn every_architecture_comes_back() {
    for (family, architecture) in
        [("llama2", "llama"), ("qwen2", "qwen2"), ("qwen2_untied", "qwen2"), ("qwen3", "qwen3")]
    {
        let model = Model::new(family, architecture);
        let expected = DecoderConfig::from_hf(&model.hf_config).unwrap();
        assert_eq!(model.check(), expected, "{family}");
    }
}

#[test]
fn mistral_is_a_llama_with_a_name() {
    let model = Model::new("mistral", "llama")
        .set("general.name", Value::String("Mistral 7B Instruct".to_owned()));
    let expected = DecoderConfig::from_hf(&model.hf_config).unwrap();
    assert_eq!(model.check(), expected);
}

#[test]
fn gemma_norms_lose_their_one() {
    let config = Model::new("gemma3", "gemma3").check();
    assert_eq!(config.model_type, "gemma3_text");
    assert_eq!(config.layers[0].sliding_window, Some(6));
    // llama.cpp stores neither: the query scale is the head's, every sixth layer is full.
    assert!((config.attention_scale - 12_f64.powf(-0.5)).abs() < 1e-12);
    assert!(config.layers.iter().all(|layer| layer.sliding_window.is_some()));
}

#[test]
fn llama3_scaling_is_recognised_by_its_divisors() {
    let (factor, low, high, original, theta) = (8.0_f64, 1.0, 4.0, 8192.0, 500_000_f64);
    let divisors: Vec<f32> = (0..4)
        .map(|index| {
            let wavelength = std::f64::consts::TAU * theta.powf(f64::from(index) / 4.0);
            let smooth: f64 = ((original / wavelength - low) / (high - low)).clamp(0.0, 1.0);
            (1.0 / ((1.0 - smooth) / factor + smooth)) as f32
        })
        .collect();
    let with = |divisors: &[f32]| {
        let mut model =
            Model::new("llama2", "llama").set("llama.rope.freq_base", Value::F32(theta as f32));
        let divisors = quantise(&Tensor::from_slice(divisors), GgmlDType::F32);
        model.tensors.push(("rope_freqs.weight".to_owned(), divisors));
        model
    };
    let expected = RopeScaling::Llama3 {
        factor,
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_position_embeddings: original,
    };
    assert_eq!(with(&divisors).check().ropes[0].scaling, expected);
    let error = with(&[1.0, 2.0, 3.0, 8.0]).import().unwrap_err().to_string();
    assert!(error.contains("rope_freqs"), "{error}");
}

#[test]
fn quantised_blocks_stay_within_their_error() {
    let mut model = Model::new("llama2", "llama");
    let name = "model.layers.0.self_attn.v_proj.weight";
    let original = &model.hf_tensors.iter().find(|(other, _)| other == name).unwrap().1;
    let slot = model.tensors.iter_mut().find(|(other, _)| other == "blk.0.attn_v.weight").unwrap();
    slot.1 = quantise(original, GgmlDType::Q8_0);
    let imported = model.import().unwrap();
    let found = &imported.tensors.iter().find(|(other, _)| other == name).unwrap().1;
    // Half a step of a block whose largest entry is 127 steps.
    let bound = original.abs().max().double_value(&[]) / 127.0 * 0.51;
    let error = (found - original).abs().max().double_value(&[]);
    assert!(error > 0.0 && error < bound, "{error}, {bound}");
}

#[test]
fn byte_level_tokenizer() {
    let imported = Model::new("qwen2", "qwen2").import().unwrap();
    let folder = tempfile::tempdir().unwrap();
    imported.write(folder.path()).unwrap();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    assert_eq!(tokenizer.encode("ab ab11<|end|>").unwrap(), [3, 5, 6, 6, 0]);
    assert_eq!(tokenizer.decode(&[3, 5, 6, 0], true).unwrap(), "ab ab1");
    assert_eq!(tokenizer.eos_token_ids(), [0]);
}

#[test]
fn sentencepiece_tokenizer_merges_by_score() {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    let first = tokens.len() as i64;
    tokens.extend(["▁", "a", "b", "ab", "ba", "▁ab", "▁a"].map(str::to_owned));
    let mut scores = vec![0.0_f32; first as usize];
    scores.extend([-7.0, -8.0, -9.0, -2.0, -1.0, -3.0, -4.0]);
    let types = (0..tokens.len() as i64).map(|id| match id {
        0 => 2,
        1 | 2 => 3,
        id if id < first => 6,
        _ => 1,
    });
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let mut model = Model::new("llama2", "llama")
        .set("tokenizer.ggml.model", Value::String("llama".to_owned()))
        .set("tokenizer.ggml.tokens", strings(&tokens))
        .set("tokenizer.ggml.scores", Value::Array(scores.into_iter().map(Value::F32).collect()))
        .set("tokenizer.ggml.token_type", Value::Array(types.map(Value::I32).collect()))
        .set("tokenizer.ggml.bos_token_id", integer(1))
        .set("tokenizer.ggml.eos_token_id", integer(2))
        .set("tokenizer.ggml.unknown_token_id", integer(0));
    model.metadata.remove("tokenizer.ggml.merges");
    let folder = tempfile::tempdir().unwrap();
    model.import().unwrap().write(folder.path()).unwrap();
    let tokenizer = Tokenizer::load(folder.path()).unwrap();
    // `ba` has the best score, so "aba" is a + ba, and the leading space joins `a`.
    assert_eq!(tokenizer.encode("aba").unwrap(), [first + 6, first + 4]);
    assert_eq!(tokenizer.encode("ab ab").unwrap(), [first + 5, first + 5]);
    // An unknown character falls back to its bytes.
    let bytes = tokenizer.encode("é").unwrap();
    assert_eq!(bytes, [first, 3 + 0xC3, 3 + 0xA9]);
    assert_eq!(tokenizer.decode(&bytes, false).unwrap(), "é");
    assert_eq!(tokenizer.decode(&[first + 5, first + 5], false).unwrap(), "ab ab");
}

#[test]
fn damaged_or_unknown_content_is_named() {
    let check = |model: Model, parts: &[&str]| {
        let message = model.import().unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    };
    let text = |text: &str| Value::String(text.to_owned());
    let new = || Model::new("llama2", "llama");
    check(
        new().set("general.architecture", text("rwkv")),
        &["rwkv", "llama, qwen2, qwen3, gemma3"],
    );
    check(new().set("llama.embedding_length", text("x")), &["llama.embedding_length", "String"]);
    check(new().set("llama.embedding_length", integer(16)), &["token_embd.weight", "[272, 16]"]);
    check(new().set("llama.rope.scaling.type", text("yarn")), &["yarn", "linear"]);
    check(new().set("tokenizer.ggml.pre", text("new")), &["pre-tokenizer", "new", "qwen2"]);
    check(new().set("tokenizer.ggml.model", text("t5")), &["t5", "gpt2, llama"]);
    check(new().set("tokenizer.ggml.eos_token_id", integer(99)), &["eos_token_id", "99"]);
    check(new().set("tokenizer.ggml.tokens", strings(&["a", "a"])), &["\"a\" twice"]);
    let mut missing = new();
    missing.tensors.retain(|(name, _)| name != "blk.1.ffn_up.weight");
    check(missing, &["blk.1.ffn_up.weight", "no such tensor"]);
    let mut extra = new();
    extra.tensors.push((
        "blk.9.attn_q.weight".to_owned(),
        quantise(&Tensor::from_slice(&[1_f32]), GgmlDType::F32),
    ));
    check(extra, &["blk.9.attn_q.weight"]);
}
