//! Adapters as a user handles them: trained with replay, made portable, combined, and what is
//! refused.

mod check;
mod paths;

use std::fs;
use std::path::Path;

use serde_json::Value;

use check::check;
use paths::{fixture, text};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_portable_adapter_scores_as_the_one_it_was_made_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (model, source) = (fixture("parity/qwen2"), fixture("lora/rslora_patterns"));
    let (portable, input) = (path("portable"), path("in.jsonl"));
    let export = ["lora", "export", "--portable", "--adapter", text(&source)];
    let output = ["--output", text(&portable), "--json"];
    let said = check(&[&export[..], &output[..]].concat(), 0, &[]);
    let said: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!((&said["modules"], &said["rank"]), (&9.into(), &4.into()));
    let config = json(&portable.join("adapter_config.json"));
    assert_eq!((&config["r"], &config["lora_alpha"]), (&4.into(), &4.into()));
    assert_eq!(config["rank_pattern"], serde_json::json!({}));

    fs::write(&input, "{\"id\":\"a\",\"tokens\":[7,8,9,10,11,12]}\n").unwrap();
    let scored = |adapter: &Path, output: &str| -> Vec<f64> {
        let output = path(output);
        let model = ["score", "--model", text(&model), "--adapter", text(adapter)];
        let files = ["--input", text(&input), "--output", text(&output)];
        check(&[&model[..], &files[..]].concat(), 0, &[]);
        let logprobs = json(&output)["logprobs"].take();
        logprobs.as_array().unwrap()[1..].iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let (theirs, ours) = (scored(&source, "theirs.jsonl"), scored(&portable, "ours.jsonl"));
    let close = theirs.iter().zip(&ours).all(|(left, right)| (left - right).abs() < 1e-4);
    assert!(close && theirs.len() == 5, "{theirs:?} {ours:?}");

    let (small, refused) = (path("small"), path("refused"));
    let limited = ["--max-rank", "2", "--output", text(&small)];
    check(&[&export[..], &limited[..]].concat(), 2, &["rank is 4", "--svd-rank"]);
    let dora = fixture("lora/dora");
    let export = ["lora", "export", "--portable", "--adapter", text(&dora)];
    let output = ["--output", text(&refused)];
    check(&[&export[..], &output[..]].concat(), 3, &["lora/dora", "DoRA", "merge it"]);
    assert!(!small.exists() && !refused.exists());
}

#[test]
fn what_pissa_left_of_its_base_needs_the_base_to_be_understood() {
    let folder = tempfile::tempdir().unwrap();
    let (source, output) = (fixture("lora/pissa"), folder.path().join("plain"));
    let export = ["lora", "export", "--portable", "--adapter", text(&source)];
    let export = [&export[..], &["--output", text(&output)]].concat();
    check(&export, 3, &["PiSSA"]);
    let model = fixture("parity/qwen2");
    check(&[&export[..], &["--model", text(&model)]].concat(), 0, &[]);
    let config = json(&output.join("adapter_config.json"));
    assert_eq!((&config["r"], &config["init_lora_weights"]), (&8.into(), &true.into()));
}

#[test]
fn adapters_are_combined_by_name_of_the_method() {
    let folder = tempfile::tempdir().unwrap();
    let parts = ["one", "two"].map(|name| fixture("lora/combined").join(name));
    let output = folder.path().join("both");
    let start = ["lora", "combine", "--adapter", text(&parts[0]), text(&parts[1])];
    let end = ["--weight", "0.75", "-1.5", "--output", text(&output)];
    check(&[&start[..], &end[..]].concat(), 0, &[]);
    assert_eq!(json(&output.join("adapter_config.json"))["r"], 8);
    let svd = ["--method", "svd", "--svd-rank", "3"];
    let approximated = folder.path().join("svd");
    let end = ["--output", text(&approximated)];
    check(&[&start[..], &svd[..], &end[..]].concat(), 0, &[]);
    assert_eq!(json(&approximated.join("adapter_config.json"))["r"], 3);
    check(&[&start[..], &["--method", "mean"], &end[..]].concat(), 2, &["mean", "dare_linear"]);
    check(&[&start[..], &["--weight", "1"], &end[..]].concat(), 2, &["2 adapters and 1 weights"]);
}

#[test]
fn an_adapter_is_trained_on_a_domain_with_records_of_an_earlier_task() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (family, file) in [("medical", "new.jsonl"), ("arith", "old.jsonl")] {
        let start = ["data", "generate", "--family", family, "--count", "30", "--seed", "1"];
        check(&[&start[..], &["--output", text(&path(file))]].concat(), 0, &[]);
    }
    let student = fixture("student");
    let (new, old, adapter) = (path("new.jsonl"), path("old.jsonl"), path("adapter"));
    let start = ["lora", "train", "--model", text(&student), "--data", text(&new)];
    let mut arguments = [&start[..], &["--replay", text(&old)]].concat();
    for setting in [
        "train.steps=4",
        "train.warmup_steps=1",
        "train.micro_batch_tokens=512",
        "replay.share=0.5",
        "rank=4",
        "lora_plus_ratio=4.0",
        "target_modules=\".*(proj|embed_tokens|lm_head)\"",
    ] {
        arguments.extend(["--set", setting]);
    }
    arguments.extend(["--output", text(&adapter)]);
    check(&arguments, 0, &["parameters are trained"]);
    let manifest = json(&adapter.join("manifest.json"));
    assert!(manifest["inputs"]["replay 1"].is_string(), "{manifest}");
    assert_eq!(manifest["metrics"]["steps"], 4);
    let mixed = [&arguments[..], &["--set", "train.mix.task_share=0.5"]].concat();
    check(&mixed, 2, &["--replay and train.mix"]);
}
