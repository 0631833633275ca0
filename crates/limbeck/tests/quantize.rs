//! `limbeck quantize` as a user runs it.

mod check;
mod paths;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use limbeck_core::TensorFile;
use serde_json::Value;
use tch::{Kind, Tensor};

use check::check;
use paths::{fixture, text};

fn records(folder: &Path) -> PathBuf {
    let data = folder.join("train.jsonl");
    let arguments = ["data", "generate", "--family", "arith", "--count", "40", "--seed", "5"];
    check(&[&arguments[..], &["--output", text(&data)]].concat(), 0, &[]);
    data
}

/// Quantises the fixture teacher, and gives the folder.
fn quantize(folder: &Path, data: &Path, name: &str, more: &[&str], said: &[&str]) -> PathBuf {
    let (model, output) = (fixture("teacher"), folder.join(name));
    let fixed = ["quantize", "--model", text(&model), "--method", "rtn", "--bits", "2"];
    let files = ["--group-size", "32", "--calibration", text(data), "--output", text(&output)];
    check(&[&fixed[..], &files, more].concat(), 0, said);
    output
}

fn tensor(folder: &Path, key: &str) -> Tensor {
    let file = TensorFile::open(&folder.join("model.safetensors")).unwrap();
    file.tensor(key).unwrap()
}

#[test]
fn a_repair_changes_scales_and_norms_and_brings_the_model_closer() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = records(folder);
    let steps = ["--set", "repair.steps=12", "--set", "repair.texts=2"];
    let plain = quantize(folder, &data, "plain", &[], &[]);
    let repaired = quantize(folder, &data, "repaired", &steps, &["repair: KL", "kept"]);
    let norms = [&steps[..], &["--set", "repair.scales=false"]].concat();
    let norms = quantize(folder, &data, "norms", &norms, &["repair: KL", "kept"]);
    let again = [&steps[..], &["--set", "repair.activation_checkpointing=true"]].concat();
    let again = quantize(folder, &data, "again", &again, &["repair: KL", "kept"]);

    let metrics = |folder: &Path| {
        let text = fs::read_to_string(folder.join("manifest.json")).unwrap();
        let manifest: Value = serde_json::from_str(&text).unwrap();
        let figure = |name: &str| manifest["metrics"][name].as_f64();
        (figure("kl_before_repair"), figure("kl_after_repair"))
    };
    assert_eq!(metrics(&plain), (None, None));
    for folder in [&repaired, &norms] {
        let (Some(before), Some(after)) = metrics(folder) else { panic!("no figures") };
        assert!(after < before, "{before} {after}");
    }
    // The same gradients but for the order of sums.
    let [Some(one), Some(other)] = [&repaired, &again].map(|folder| metrics(folder).1) else {
        panic!("no figures")
    };
    assert!((one - other).abs() < 1e-2 * one, "{one} {other}");
    let layer = "model.layers.1.mlp.down_proj";
    let norm = "model.layers.1.post_attention_layernorm.weight";
    for (key, of_repaired, of_norms) in [
        (format!("{layer}.qweight"), true, true),
        (format!("{layer}.qzeros"), true, true),
        (format!("{layer}.scales"), false, true),
        (norm.to_owned(), false, false),
    ] {
        let before = tensor(&plain, &key);
        assert_eq!(before.equal(&tensor(&repaired, &key)), of_repaired, "{key}");
        assert_eq!(before.equal(&tensor(&norms, &key)), of_norms, "{key}");
        assert_eq!(before.kind(), tensor(&repaired, &key).kind(), "{key}");
    }
    // Scales were nudged, not thrown about.
    let [before, after] =
        [&plain, &repaired].map(|folder| tensor(folder, &format!("{layer}.scales")));
    let change = (after / before - 1.0).abs().max().to_kind(Kind::Double).double_value(&[]);
    assert!(0.0 < change && change < 0.2, "{change}");
}

#[test]
fn a_run_killed_in_its_repair_keeps_its_blocks_and_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = records(folder);
    let model = fixture("teacher");
    let arguments = |output: &Path| {
        let arguments = ["--threads", "1", "quantize", "--model", text(&model)];
        let repair = ["--set", "repair.steps=24", "--set", "repair.tokens=128"];
        let rest = ["--group-size", "32", "--calibration", text(&data), "--output", text(output)];
        let all = [&arguments[..], &repair, &rest].concat();
        all.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let run = |output: &Path| {
        let output = Command::new(env!("CARGO_BIN_EXE_limbeck")).args(arguments(output)).output();
        let output = output.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said
    };
    let blocks = |folder: &Path| {
        let report = fs::read_to_string(folder.join("quantization.json")).unwrap();
        serde_json::from_str::<Value>(&report).unwrap()["resumed_blocks"].as_u64().unwrap()
    };
    let (whole, killed) = (folder.join("whole"), folder.join("killed"));
    run(&whole);
    assert_eq!(blocks(&whole), 0);

    let config = fs::read_to_string(model.join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    let layers = config["num_hidden_layers"].as_u64().unwrap();
    let last = format!(".killed.partial/finished/block-{:04}.json", layers - 1);
    let mut process = Command::new(env!("CARGO_BIN_EXE_limbeck"))
        .args(arguments(&killed))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while !folder.join(&last).exists() {
        assert!(started.elapsed() < Duration::from_secs(300), "no {last}");
        assert!(process.try_wait().unwrap().is_none(), "it ended before it could be killed");
        std::thread::sleep(Duration::from_millis(5));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(!killed.exists(), "it ended before it could be killed");

    let said = run(&killed);
    assert!(said.contains(&format!("{layers} blocks were finished by an earlier run")), "{said}");
    assert_eq!(blocks(&killed), layers);
    let weights = |folder: &Path| fs::read(folder.join("model.safetensors")).unwrap();
    assert!(weights(&killed) == weights(&whole), "other weights than without the kill");
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = records(folder);
    let foreign = folder.join("foreign.jsonl");
    fs::write(&foreign, "{\"id\": \"a\", \"text\": \"<start_of_turn>user\\nhi\"}\n").unwrap();
    let (model, output) = (fixture("teacher"), folder.join("out"));
    let fixed = ["quantize", "--model", text(&model), "--output", text(&output)];
    for (more, exit, said) in [
        (vec!["--set", "repair.texts=0"], 2, vec!["repair.texts", "above 0"]),
        (vec!["--set", "repair.learning_rate=-1"], 2, vec!["repair.learning_rate"]),
        (vec!["--set", "repair.norms=true"], 2, vec!["norms", "unknown"]),
        (vec!["--group-size", "96"], 2, vec!["group_size", "32, 64, 128 or -1"]),
        (vec!["--bits", "5"], 2, vec!["bits", "5"]),
        (vec!["--group-size", "64"], 3, vec!["calibration", "2048", "hint"]),
    ] {
        let few = ["--calibration", text(&data), "--set", "calibration_records=4"];
        check(&[&fixed[..], &few, &more].concat(), exit, &said);
    }
    let said = ["foreign.jsonl", "line 1", "<start_of_turn>", "chat template"];
    check(&[&fixed[..], &["--calibration", text(&foreign)]].concat(), 3, &said);
    assert!(!output.exists());
}
