//! Learning task after task, as a user runs it.

mod check;
mod paths;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use check::check;
use paths::{fixture, text};

const TASKS: &str = r#"
    seeds = [3]
    [base]
    families = ["arith"]
    levels = [1]
    num_train = 12
    num_test = 2
    [[task]]
    name = "puzzles"
    families = ["logic"]
    levels = [1]
    num_train = 12
    num_test = 3
    [[task]]
    name = "own"
    data = "DATA"
    num_test = 2
    [[method]]
    name = "plain"
    [[method]]
    name = "held"
    replay = { share = 0.5, records = 4 }
    ewc = { fisher = "exact", lambda = 10.0, records = 4 }
    [[method]]
    name = "apart"
    ewc = { fisher = "separable", gamma = 0.5, records = 4 }
    orthogonal = { lambda = 0.1 }
    [lora]
    rank = 2
    train = { steps = 2, warmup_steps = 1, micro_batch_tokens = 1024, max_length = 1200 }
    [evaluate]
    max_new_tokens = 3
"#;

/// A model that knows nothing, a data folder and the file of tasks.
struct Place {
    folder: tempfile::TempDir,
    model: PathBuf,
    tasks: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        for (name, seed) in [("train", "1"), ("test", "2")] {
            let file = data.join(format!("{name}.jsonl"));
            let arguments = ["data", "generate", "--family", "spatial", "--count", "8", "--seed"];
            check(&[&arguments[..], &[seed, "--output", text(&file)]].concat(), 0, &[]);
        }
        let model = folder.path().join("model");
        let tokenizer = fixture("parity/qwen2");
        let start = ["sft", "--tokenizer", text(&tokenizer), "--data", text(&data)];
        let mut arguments = [&start[..], &["--output", text(&model)]].concat();
        for setting in [
            "model.hidden_size=32",
            "model.num_hidden_layers=1",
            "model.intermediate_size=48",
            "train.max_length=1200",
            "train.steps=2",
            "train.warmup_steps=1",
        ] {
            arguments.extend(["--set", setting]);
        }
        check(&arguments, 0, &[]);
        let tasks = folder.path().join("tasks.toml");
        fs::write(&tasks, TASKS.replace("DATA", text(&data))).unwrap();
        Self { folder, model, tasks }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments(&self, output: &str) -> Vec<String> {
        let output = self.path(output);
        let start = ["lora", "train", "--model", text(&self.model), "--sequence"];
        let rest = [text(&self.tasks), "--output", text(&output)];
        start.iter().chain(&rest).map(|&part| part.to_owned()).collect()
    }

    #[track_caller]
    fn run(&self, output: &str, more: &[&str], exit: i32, said: &[&str]) -> String {
        let arguments = self.arguments(output);
        let arguments: Vec<&str> =
            arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let output = check(&arguments, exit, said);
        String::from_utf8(output.stdout).unwrap()
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_sequence_has_its_tables_and_a_killed_one_ends_the_same() {
    let place = Place::new();
    let table = place.run("whole", &[], 0, &[]);
    assert!(table.starts_with("base (n = 2) → puzzles (n = 3) → own (n = 2); seed 3"), "{table}");
    for method in ["plain", "held", "apart"] {
        assert!(table.contains(&format!("\n{method}:\n")), "{table}");
    }
    let whole = place.path("whole");
    let result: Value = serde_json::from_str(&read(&whole.join("sequence.json"))).unwrap();
    for method in result["methods"].as_array().unwrap() {
        let rows = method["matrices"][0]["rows"].as_array().unwrap();
        assert_eq!(rows.len(), 3, "{method}");
        assert_eq!(rows[0], result["methods"][0]["matrices"][0]["rows"][0], "shared");
    }
    assert!(read(&whole.join("sequence.md")).contains("| plain |"));
    assert!(read(&whole.join("sequence.svg")).contains("after own"));
    let held = whole.join("cells/held/seed-3");
    assert!(!held.join("after-1").exists() && !held.join("after-2").exists());
    let metrics = read(&held.join("task-1/metrics.jsonl"));
    assert!(metrics.contains("\"ewc\"") && metrics.contains("share_earlier-0"), "{metrics}");
    let metrics = read(&whole.join("cells/apart/seed-3/task-2/metrics.jsonl"));
    assert!(metrics.contains("\"orthogonal\""), "{metrics}");

    // Killed once the method that has most to remember has finished a task.
    let mut child = Command::new(env!("CARGO_BIN_EXE_limbeck"))
        .args(["--threads", "1"])
        .args(place.arguments("killed"))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let state = place.path(".killed.partial/cells/apart/seed-3/state.json");
    let started = Instant::now();
    while !state.exists() && child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(300), "no state was written");
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    child.wait().unwrap();
    let manifest = place.run("killed", &["--json"], 0, &[]);
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["stage"], "lora-sequence");
    assert!(manifest["metrics"]["plain.gain"].is_number(), "{manifest}");
    let killed = place.path("killed");
    for file in ["sequence.json", "sequence.md", "baseline.json"] {
        assert_eq!(read(&whole.join(file)), read(&killed.join(file)), "{file}");
    }
}

#[test]
fn what_cannot_be_learned_is_told_before_any_work() {
    let place = Place::new();
    for (setting, key) in [
        ("method=[]", "method"),
        ("task=[]", "task"),
        ("sedes=[1]", "sedes"),
        ("lora.train.steps=0", "lora.train.steps"),
        ("base.families=[\"magic\"]", "magic"),
    ] {
        place.run("out", &["--set", setting], 2, &[key]);
    }
    place.run("out", &["--data", "data"], 2, &["--data", "--sequence"]);
    let model = text(&place.model);
    let output = place.path("out");
    check(&["lora", "train", "--model", model, "--output", text(&output)], 2, &["--data"]);
    // Faults of what the file names.
    place.run("out", &["--set", "lora.target_modules=[\"c_attn\"]"], 3, &["c_attn", "hint"]);
    let head = "lora.target_modules=[\"q_proj\", \"lm_head\"]";
    place.run("out", &["--set", head], 3, &["lm_head", "hint"]);
    fs::remove_file(place.path("data/test.jsonl")).unwrap();
    place.run("out", &[], 3, &["test.jsonl"]);
    assert!(!output.exists());
}
