//! Training on mixtures: chains and tasks in batches of their own, reference losses of
//! another run, wrong and corrected chains.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn limbeck(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_limbeck"));
    command.args(arguments).env("NO_COLOR", "1").output().unwrap()
}

fn succeed(arguments: &[&str]) -> String {
    let output = limbeck(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder with training records.
fn data(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    fs::create_dir(&data).unwrap();
    let train = data.join("train.jsonl");
    succeed(&["data", "generate", "--family", "arith", "--count", "40", "--output", text(&train)]);
    data
}

const SETTINGS: [&str; 14] = [
    "--set",
    "train.steps=6",
    "--set",
    "train.warmup_steps=0",
    "--set",
    "train.micro_batch_tokens=1024",
    "--set",
    "train.max_length=2000",
    "--set",
    "model.hidden_size=32",
    "--set",
    "model.num_hidden_layers=1",
    "--set",
    "model.intermediate_size=48",
];

fn train(data: &Path, output: &Path, settings: &[&str]) -> Output {
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/qwen2");
    let mut arguments = vec!["sft", "--tokenizer", text(&tokenizer), "--data", text(data)];
    arguments.extend(["--output", text(output)]);
    arguments.extend(SETTINGS);
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    limbeck(&arguments)
}

fn trained(data: &Path, output: &Path, settings: &[&str]) -> (Value, String) {
    let run = train(data, output, settings);
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(run.status.success(), "{said}");
    let manifest = fs::read_to_string(output.join("manifest.json")).unwrap();
    (serde_json::from_str(&manifest).unwrap(), said)
}

#[test]
fn shares_adapt_to_the_reference_losses_of_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let (fixed, adapting) = (folder.path().join("fixed"), folder.path().join("adapting"));
    let (manifest, _) = trained(&data, &fixed, &["train.mix.task_share=0.25"]);
    let metrics = &manifest["metrics"];
    assert_eq!(metrics["share_task"], 0.25);
    let losses = [&metrics["loss_chain"], &metrics["loss_task"]];
    assert!(losses.iter().all(|loss| loss.as_f64().is_some_and(|loss| loss > 0.0)), "{metrics}");

    let reference = format!("train.mix.reference={}", text(&fixed));
    let settings = ["train.mix.dynamic=true", "train.mix.adapt_interval=2", &reference];
    let (manifest, _) = trained(&data, &adapting, &settings);
    let config = &manifest["config"]["train"]["mix"];
    assert_eq!(config["reference_losses"]["chain"], *losses[0], "{config}");
    assert_eq!(config["reference"], Value::Null);
    let share = |name: &str| manifest["metrics"][name].as_f64().unwrap();
    assert!((share("share_chain") + share("share_task") - 1.0).abs() < 1e-9);

    let failed = train(&data, &folder.path().join("none"), &["train.mix.dynamic=true"]);
    let said = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(2), "{said}");
    assert!(said.contains("train.mix.reference_losses"), "{said}");
    let missing = ["train.mix.dynamic=true", "train.mix.reference=nowhere"];
    let failed = train(&data, &folder.path().join("none"), &missing);
    let said = String::from_utf8(failed.stderr).unwrap();
    assert!(!failed.status.success() && said.contains("nowhere"), "{said}");
    assert!(!folder.path().join("none").exists());
}

#[test]
fn wrong_chains_are_counted_and_never_learned() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let setting = ["train.questions.corrected_chains=true"];
    for data in [&data, &data.join("train.jsonl")] {
        let failed = train(data, &folder.path().join("none"), &setting);
        let said = String::from_utf8(failed.stderr).unwrap();
        assert_eq!(failed.status.code(), Some(3), "{said}");
        assert!(said.contains("negatives.jsonl"), "{said}");
    }

    let negatives = |name: &str, more: &[&str]| {
        let (from, to) = (data.join("train.jsonl"), folder.path().join(name));
        let arguments = ["data", "negatives", "--input", text(&from), "--output", text(&to)];
        succeed(&[&arguments[..], more].concat());
        fs::read_to_string(to).unwrap()
    };
    let wrong = negatives("wrong.jsonl", &[]);
    let negatives = negatives("corrected.jsonl", &["--corrected"]) + &wrong;
    fs::write(data.join("negatives.jsonl"), &negatives).unwrap();
    let wrong = wrong.lines().count();
    assert!(wrong > 0);
    let (manifest, said) = trained(&data, &folder.path().join("out"), &setting);
    let all = 40 + negatives.lines().count();
    assert!(
        said.contains(&format!("wrong={wrong}")) && said.contains(&format!("of={all}")),
        "{said}"
    );
    assert!(manifest["inputs"]["negatives"].is_string(), "{manifest}");
}
