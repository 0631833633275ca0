//! Training as a user runs it: the learning-rate finder, validation by accuracy, curves.

mod check;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use check::check;

const MODEL: [&str; 8] = [
    "--set",
    "model.hidden_size=32",
    "--set",
    "model.num_hidden_layers=1",
    "--set",
    "model.intermediate_size=48",
    "--set",
    "train.max_length=1200",
];

fn tokenizer() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parity/qwen2");
    path.to_str().unwrap().to_owned()
}

/// A data folder with training and validation records.
fn data(folder: &Path) -> PathBuf {
    let data = folder.join("data");
    fs::create_dir(&data).unwrap();
    for (name, count, seed) in [("train", "40", "1"), ("validation", "6", "2")] {
        let file = data.join(format!("{name}.jsonl"));
        let file = file.to_str().unwrap();
        let arguments = ["data", "generate", "--family", "logic", "--count", count];
        check(&[&arguments[..], &["--seed", seed, "--output", file]].concat(), 0, &[]);
    }
    data
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn lr_find_prints_rates_draws_them_and_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (data, tokenizer) = (data(folder.path()), tokenizer());
    let plot = folder.path().join("rates.svg");
    let start = ["lr-find", "--tokenizer", &tokenizer, "--data", data.to_str().unwrap()];
    let sweep = ["--steps", "12", "--set", "train.micro_batch_tokens=1024"];
    let arguments = [&start[..], &sweep[..], &MODEL[..]].concat();
    let drawn = [&arguments[..], &["--json", "--plot", plot.to_str().unwrap()]].concat();
    let output = check(&drawn, 0, &[]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let points = found["points"].as_array().unwrap();
    assert!(points.len() <= 12 && points[0]["learning_rate"] == 1e-6, "{found}");
    assert!(found.get("suggestion").is_some());
    let svg = fs::read_to_string(&plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("<polyline") && svg.ends_with("</svg>\n"));
    let table = check(&arguments, 0, &[]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("suggestion: learning_rate ="));
    let mut left = names(folder.path());
    left.sort();
    assert_eq!(left, ["data", "rates.svg"]);
    check(&[&arguments[..], &["--lowest", "0"]].concat(), 2, &["--lowest", "above 0", "hint"]);
}

#[test]
fn accuracy_decides_and_the_report_shows_the_curves() {
    let folder = tempfile::tempdir().unwrap();
    let (data, tokenizer) = (data(folder.path()), tokenizer());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (model, evaluation, report) = (path("model"), path("evaluation"), path("report"));
    let start = ["sft", "--tokenizer", &tokenizer, "--data", data.to_str().unwrap()];
    let settings = [
        "train.steps=6",
        "train.warmup_steps=1",
        "train.micro_batch_tokens=1024",
        "train.log_every=1",
        "train.validate_every=2",
        "train.validation_metric=accuracy",
        "train.accuracy_records=2",
        "train.keep_best=true",
        "train.ema_decay=0.9",
        "train.optimizer=adamw_8bit",
        "train.activation_checkpointing=true",
    ];
    let mut arguments: Vec<&str> = [&start[..], &MODEL[..]].concat();
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    let train = [&arguments[..], &["--output", &model]].concat();
    check(&train, 0, &["memory: needs about", "have"]);
    let metrics = fs::read_to_string(Path::new(&model).join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.matches("validation_accuracy").count(), 3, "{metrics}");
    let left = names(Path::new(&model));
    assert!(left.iter().all(|name| !name.starts_with("best-") && !name.starts_with("trainer-")));

    let task = data.join("validation.jsonl");
    let evaluate = ["evaluate", "--model", &model, "--task", task.to_str().unwrap()];
    let limits = ["--set", "limit=2", "--set", "max_new_tokens=4", "--output", &evaluation];
    check(&[&evaluate[..], &limits[..]].concat(), 0, &[]);
    let arguments = ["report", "--input", &evaluation, "--output", &report, "--training"];
    check(&[&arguments[..], &[&model]].concat(), 0, &[]);
    let page = fs::read_to_string(Path::new(&report).join("report.html")).unwrap();
    for text in ["Validation loss", "Training loss", "<polyline", "The same in numbers"] {
        assert!(page.contains(text), "{text}");
    }
    let other = path("other");
    let wrong = ["report", "--input", &evaluation, "--output", &other, "--training", &evaluation];
    check(&wrong, 3, &["metrics.jsonl", "hint", "--training"]);
}
