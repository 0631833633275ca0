//! `limbeck evaluate` as a user runs it: task files of all kinds, replies from elsewhere, a run
//! that is killed, and what is wrong with each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

fn teacher() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/teacher")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_limbeck"));
    command.args(["--threads", "1"]).args(arguments);
    command
}

/// Runs and asserts the exit code and what stderr must say.
#[track_caller]
fn check(arguments: &[&str], exit: i32, said: &[&str]) -> Output {
    let output = command(arguments).output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}\n{stderr}");
    for text in said {
        assert!(stderr.contains(text), "expected {text:?} in:\n{stderr}");
    }
    assert!(!stderr.contains("panicked"), "{stderr}");
    output
}

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn records(path: &Path, count: &str) {
    let arguments = ["data", "generate", "--family", "arith", "--level", "2", "--count", count];
    check(&[&arguments[..], &["--seed", "5", "--output", text(path)]].concat(), 0, &[]);
}

#[test]
fn tasks_of_three_kinds_in_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    records(&at("own.jsonl"), "6");
    let rows: Vec<String> = lines(&at("own.jsonl"))
        .iter()
        .map(|row| json!({ "problem": row["question"], "answer": row["answer"] }).to_string())
        .collect();
    fs::write(at("rows.jsonl"), rows.join("\n") + "\n{\"problem\": \"No answer?\"}\n").unwrap();
    let toml = "data = \"rows.jsonl\"\nprompt = \"problem\"\ntarget = \"answer\"\n";
    fs::write(at("plain.toml"), toml).unwrap();
    let yaml = "task: choose\ndataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\n\
                test_split: test\noutput_type: multiple_choice\ndoc_to_text: problem\n\
                doc_to_target: 0\ndoc_to_choice: [\"1\", \"2\"]\nnum_fewshot: 0\n";
    fs::write(at("choose.yaml"), yaml).unwrap();
    let (own, plain, choose) = (at("own.jsonl"), at("plain.toml"), at("choose.yaml"));
    let output = at("evaluation");
    let model = teacher();
    let arguments = ["evaluate", "--model", text(&model), "--task"];
    let tasks = [text(&own), text(&plain), text(&choose), "--output", text(&output)];
    let set = ["--set", "attention=1", "--set", "loads.batches=[2]", "--set", "loads.requests=2"];
    let more = ["--set", "loads.new_tokens=4"];
    let said = ["plain: left out", "rows.jsonl:7: target: field `answer` is missing"];
    // The row without an answer is a problem of the third task, whose target is a number.
    check(&[&arguments[..], &tasks, &set, &more].concat(), 0, &said);
    let evaluation: Value =
        serde_json::from_str(&fs::read_to_string(output.join("evaluation.json")).unwrap()).unwrap();
    let tasks = evaluation["tasks"].as_array().unwrap();
    let counts: Vec<(&str, u64, u64)> = tasks
        .iter()
        .map(|task| {
            let name = task["task"].as_str().unwrap();
            let n = task["scores"]["n"].as_u64().unwrap();
            (name, n, task["skipped"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(counts, [("own", 6, 0), ("plain", 6, 1), ("choose", 7, 0)]);
    assert!(tasks[2]["metrics"]["acc,none"]["value"].is_number());
    assert_eq!(evaluation["cost"]["loads"][0]["batch"], 2);
    assert!(evaluation["cost"]["flops_per_token"].as_f64().unwrap() > 1e6);
    // Nine of ten of these the teacher solves; both tasks ask the same.
    let right = |task: usize| tasks[task]["scores"]["accuracy"]["successes"].as_u64().unwrap();
    assert!(right(0) >= 4 && right(1) == right(0), "{tasks:?}");
    let samples = lines(&output.join("samples.jsonl"));
    assert_eq!(samples.len(), 19);
    assert!(output.join("attention.json").is_file());
    assert!(output.join("samples_choose_limbeck.jsonl").is_file());
    assert!(!output.join("journal.jsonl").exists());
}

#[test]
fn a_killed_evaluation_asks_only_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let task = folder.path().join("task.jsonl");
    records(&task, "60");
    let model = teacher();
    let run = |output: &Path| {
        let arguments = ["evaluate", "--model", text(&model), "--task", text(&task), "--output"];
        let mut command = command(&[&arguments[..], &[text(output)]].concat());
        command.args(["--set", "max_batch=4"]).stderr(Stdio::piped()).stdout(Stdio::null());
        command
    };
    let (straight, broken) = (folder.path().join("straight"), folder.path().join("broken"));
    assert!(run(&straight).output().unwrap().status.success());

    let mut child = run(&broken).spawn().unwrap();
    let started = Instant::now();
    let journal = folder.path().join(".broken.partial/journal.jsonl");
    let answered =
        || fs::read(&journal).map_or(0, |text| text.split(|byte| *byte == b'\n').count());
    while answered() < 12 && child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(300), "nothing was answered");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!broken.exists(), "the evaluation ended before it could be killed");
    let again = run(&broken).output().unwrap();
    assert!(again.status.success());
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(said.contains("going on after"), "{said}");
    let samples = |folder: &Path| fs::read_to_string(folder.join("samples.jsonl")).unwrap();
    assert_eq!(samples(&straight), samples(&broken));
    assert!(!broken.join("journal.jsonl").exists());
}

#[test]
fn replies_from_elsewhere_need_no_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let rows = r#"{"question": "2 + 3?", "answer": "2 + 3 = 5\n#### 5"}
{"question": "A dozen and one?", "answer": "12 + 1 = 13\n#### 13"}"#;
    fs::write(at("rows.jsonl"), rows).unwrap();
    fs::write(at("sums.toml"), "preset = \"gsm8k\"\ndata = \"rows.jsonl\"\n").unwrap();
    let replies = [
        json!({ "id": "sums-0", "text": "2 + 3 = 5, so the answer is $5.00." }),
        json!({ "id": "sums-1", "text": "A dozen is 12.\nIt is 12.", "finish_reason": "stop" }),
    ];
    let replies: Vec<String> = replies.iter().map(ToString::to_string).collect();
    fs::write(at("theirs.jsonl"), replies.join("\n")).unwrap();
    let (theirs, sums, output) = (at("theirs.jsonl"), at("sums.toml"), at("judged"));
    let arguments = ["evaluate", "--replies", text(&theirs), "--task", text(&sums), "--output"];
    check(&[&arguments[..], &[text(&output)]].concat(), 0, &["accuracy 0.5"]);
    let samples = lines(&output.join("samples.jsonl"));
    assert_eq!(
        (&samples[0]["verdict"], &samples[1]["verdict"]),
        (&json!("correct"), &json!("wrong"))
    );

    // What the text leaves open, a model is asked of.
    let (model, asked) = (teacher(), at("asked"));
    let with_teacher = [
        &arguments[..5],
        &["--teacher", text(&model), "--set", "teacher.rollouts.samples=0"],
        &["--set", "teacher.least_drop=1e-9", "--output", text(&asked)],
    ];
    check(&with_teacher.concat(), 0, &["of 1 wrong chains", "accuracy 0.5"]);
    assert_eq!(lines(&asked.join("samples.jsonl"))[0]["verdict"], "correct");
    let manifest = fs::read(asked.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert!(manifest["inputs"].to_string().contains("\"teacher\""), "{}", manifest["inputs"]);

    fs::write(at("theirs.jsonl"), "{\"id\": \"sums-0\"}\n").unwrap();
    check(&[&arguments[..], &[text(&at("none"))]].concat(), 3, &["theirs.jsonl:1: expected id"]);
    let (model, none) = (teacher(), at("none"));
    let both = ["--model", text(&model), "--output", text(&none)];
    check(&[&arguments[..5], &both].concat(), 2, &["cannot be used with"]);
    assert!(!at("none").exists());
}

#[test]
fn tasks_that_cannot_be_asked_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("empty.jsonl"), "").unwrap();
    fs::write(at("bad.toml"), "preset = \"gsm8k\"\ndata = \"missing.jsonl\"\n").unwrap();
    fs::write(at("key.toml"), "preset = \"gsm8k\"\ndata = \"empty.jsonl\"\nshoots = 3\n").unwrap();
    let model = teacher();
    let run = |task: &str, exit: i32, said: &[&str]| {
        let (task, output) = (at(task), at("output"));
        let arguments = ["evaluate", "--model", text(&model), "--task", text(&task)];
        check(&[&arguments[..], &["--output", text(&output)]].concat(), exit, said);
        assert!(!output.exists());
    };
    run("empty.jsonl", 3, &["no record"]);
    run("bad.toml", 3, &["missing.jsonl"]);
    run("key.toml", 3, &["key.toml", "shoots"]);
    let (own, output) = (at("own.jsonl"), at("output"));
    records(&own, "2");
    let twice = ["evaluate", "--model", text(&model), "--task", text(&own), text(&own)];
    check(&[&twice[..], &["--output", text(&output)]].concat(), 2, &["two tasks are named own"]);
}
