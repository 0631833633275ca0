//! `limbeck lora` above rounded bases: NF4, and a GPTQ folder.

mod check;
mod paths;

use std::fs;
use std::path::{Path, PathBuf};

use limbeck_core::TensorFile;
use serde_json::Value;

use check::check;
use paths::{fixture, text};

/// Records whose chains the tiny model can be taught a little of.
fn data(folder: &Path) -> PathBuf {
    let data = folder.join("train.jsonl");
    let arguments = ["data", "generate", "--family", "logic", "--count", "40", "--seed", "1"];
    check(&[&arguments[..], &["--output", text(&data)]].concat(), 0, &[]);
    data
}

fn manifest(folder: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join("manifest.json")).unwrap()).unwrap()
}

fn losses(folder: &Path) -> Vec<f64> {
    let metrics = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let lines = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| line["loss"].as_f64()).collect()
}

/// Trains an adapter above `model` and returns its folder.
fn train(folder: &Path, model: &Path, name: &str, settings: &[&str], said: &[&str]) -> PathBuf {
    let output = folder.join(name);
    let data = folder.join("train.jsonl");
    let mut arguments = vec!["lora", "train", "--model", text(model), "--data", text(&data)];
    let common = [
        "rank=8",
        "train.steps=12",
        "train.warmup_steps=1",
        "train.learning_rate=0.02",
        "train.micro_batch_tokens=1024",
        "train.max_length=1200",
        "train.log_every=1",
    ];
    for setting in common.iter().chain(settings) {
        arguments.extend(["--set", setting]);
    }
    arguments.extend(["--output", text(&output)]);
    check(&arguments, 0, said);
    output
}

#[test]
fn an_adapter_above_nf4_learns_and_goes_into_the_base_itself() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    data(folder);
    let model = fixture("parity/qwen2");
    let said = ["computed again in the backward pass", "bits a weight"];
    let adapter = train(folder, &model, "nf4", &["base=nf4"], &said);
    let plain = train(folder, &model, "stored", &[], &[]);
    let (rounded, stored) = (losses(&adapter), losses(&plain));
    assert!(rounded[11] < 0.9 * rounded[0], "{rounded:?}");
    assert!((rounded[11] / stored[11] - 1.0).abs() < 0.1, "{rounded:?} {stored:?}");
    let (rounded, stored) = (manifest(&adapter), manifest(&plain));
    assert_eq!(rounded["config"]["train"]["activation_checkpointing"], true);
    assert_eq!(stored["config"]["train"]["activation_checkpointing"], false);
    // Rows of 32 fill half a block, and the stored base is float32.
    let bytes = |manifest: &Value| manifest["metrics"]["base_bytes"].as_f64().unwrap();
    assert!(bytes(&rounded) < 0.4 * bytes(&stored));

    let merged = folder.join("merged");
    let start = ["lora", "merge", "--model", text(&model), "--adapter"];
    let end = ["--output", text(&merged)];
    let said = ["trained above the base in NF4", "merged into the base itself"];
    check(&[&start[..], &[text(&adapter)], &end[..]].concat(), 0, &said);
    let metrics = &manifest(&merged)["metrics"];
    assert!(metrics["perplexity"].as_f64().unwrap() > 1.0);
    assert!(metrics["perplexity_on_nf4_base"].as_f64().unwrap() > 1.0);
    let train = folder.join("train.jsonl");
    let calibrated = [&start[..], &[text(&adapter), "--calibration", text(&train)], &end].concat();
    check(&calibrated, 2, &["--calibration", "not packed", "hint"]);
}

#[test]
fn an_adapter_above_a_packed_base_is_packed_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let train_file = data(folder);
    let (plain, model) = (fixture("parity/qwen2"), folder.join("packed"));
    let arguments = ["quantize", "--model", text(&plain), "--method", "rtn", "--group-size", "-1"];
    let more = ["--calibration", text(&train_file), "--output", text(&model)];
    check(&[&arguments[..], &more[..]].concat(), 0, &[]);

    let keep = ["train.activation_checkpointing=false"];
    let adapter = train(folder, &model, "adapter", &keep, &["bits a weight"]);
    let losses = losses(&adapter);
    assert!(losses[11] < 0.9 * losses[0], "{losses:?}");
    assert_eq!(manifest(&adapter)["config"]["train"]["activation_checkpointing"], false);

    for (name, more) in [("rtn", &[][..]), ("gptq", &["--calibration", text(&train_file)][..])] {
        let output = folder.join(name);
        let start = ["lora", "merge", "--model", text(&model), "--adapter", text(&adapter)];
        let end = ["--data", text(&train_file), "--output", text(&output)];
        let said = ["packed again in 4 bits: perplexity"];
        check(&[&start[..], more, &end[..]].concat(), 0, &said);
        let file = TensorFile::open(&output.join("model.safetensors")).unwrap();
        assert!(file.info("model.layers.0.self_attn.q_proj.qweight").is_some());
        assert!(file.info("model.layers.0.self_attn.q_proj.weight").is_none());
        let metrics = &manifest(&output)["metrics"];
        let figure = |name: &str| metrics[name].as_f64().unwrap();
        // Rounding costs something, but not what training gained.
        let change = figure("perplexity") / figure("perplexity_before");
        assert!((0.5..2.0).contains(&change), "{change}");
    }

    let nf4 = folder.join("twice");
    let data = ["--data", text(&train_file), "--set", "base=nf4", "--output", text(&nf4)];
    let arguments = [&["lora", "train", "--model", text(&model)][..], &data[..]].concat();
    check(&arguments, 2, &["quantization_config", "NF4", "hint", "stored"]);
}
