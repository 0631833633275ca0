//! Looking for errors in chains, as a user does it.

mod check;
mod paths;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use check::check;
use paths::{fixture, text};

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stdout(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Right records of a family and their planted mistakes, in one file.
fn labelled(folder: &Path, family: &str, count: &str) -> std::path::PathBuf {
    let (right, wrong) = (folder.join("right.jsonl"), folder.join("wrong.jsonl"));
    let generate = ["data", "generate", "--family", family, "--count", count, "--seed", "5"];
    check(&[&generate[..], &["--output", text(&right)]].concat(), 0, &[]);
    check(&["data", "negatives", "--input", text(&right), "--output", text(&wrong)], 0, &[]);
    let both = folder.join("both.jsonl");
    let texts = [fs::read_to_string(&right).unwrap(), fs::read_to_string(&wrong).unwrap()];
    fs::write(&both, texts.concat()).unwrap();
    both
}

#[test]
fn labelled_records_give_an_f1() {
    let folder = tempfile::tempdir().unwrap();
    let input = labelled(folder.path(), "spatial", "30");
    let output = folder.path().join("chains.jsonl");
    let arguments = ["analyze", "--input", text(&input), "--output", text(&output)];
    let shown = stdout(&check(&arguments, 0, &[]));
    for part in ["first wrong step found", "F1", "at the label", "spatial"] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    let found = lines(&output);
    assert_eq!(found.len(), 60);
    for chain in &found {
        let step = chain["breakpoint"]["step"].as_i64().unwrap_or(-1);
        assert_eq!(Some(step), chain["label"].as_i64(), "{chain}");
        assert_eq!(chain["complete"], true);
    }
    let summary = stdout(&check(&[&arguments[..], &["--json"]].concat(), 0, &[]));
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!((summary["chains"].as_u64(), summary["bad_lines"].as_u64()), (Some(60), Some(0)));
    assert!(summary["f1"]["f1"].as_f64().unwrap() > 0.95, "{summary}");
}

#[test]
fn bad_lines_are_named_and_the_rest_is_analysed() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("mixed.jsonl"), folder.path().join("chains.jsonl"));
    let good = json!({
        "question": "2 and 3, doubled?",
        "small": {"is_correct": false, "solution": "2+3=6\n6*2=12\nA: 12"},
        "large": {"is_correct": true, "solution": "2+3=5\n5*2=10\nA: 10"},
    });
    fs::write(&input, format!("{good}\n{{\"question\": 5\n\n{{\"text\": \"a\"}}\n{good}\n"))
        .unwrap();
    let arguments = ["analyze", "--input", text(&input), "--output", text(&output)];
    let said = ["mixed.jsonl:2", "mixed.jsonl:4", "question"];
    let shown = stdout(&check(&arguments, 0, &said));
    assert!(shown.contains("2 lines could not be read"), "{shown}");
    assert!(shown.contains("wrong chains flagged"), "{shown}");
    let ids: Vec<Value> = lines(&output).iter().map(|line| line["id"].clone()).collect();
    assert_eq!(ids, ["1/small", "1/large", "5/small", "5/large"]);

    fs::write(&input, "{\"text\": \"a\"}\nno\n").unwrap();
    fs::remove_file(&output).unwrap();
    check(&arguments, 3, &["mixed.jsonl", "2 lines that are none"]);
    assert!(!output.exists());
    fs::write(&input, "").unwrap();
    check(&arguments, 3, &["an empty file"]);
    check(&["analyze", "--input", "none.jsonl", "--output", text(&output)], 3, &["none.jsonl"]);
    check(&[&arguments[..], &["--rollouts", "4"]].concat(), 2, &["--model"]);
}

/// The end of a chain is rated with its last step, so that one that stops too early shows.
#[test]
fn a_model_rates_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let right = folder.path().join("right.jsonl");
    let generate = ["data", "generate", "--family", "arith", "--level", "2", "--count", "2"];
    check(&[&generate[..], &["--output", text(&right)]].concat(), 0, &[]);
    let record = lines(&right).remove(0);
    let question = record["question"].as_str().unwrap().to_owned();
    let steps: Vec<String> = serde_json::from_value(record["thought_process"].clone()).unwrap();
    let mut wrong = steps.clone();
    wrong.truncate(1);
    let input = folder.path().join("chains.jsonl");
    let lines_in = [
        json!({"id": "right", "question": question, "steps": steps, "answer": record["answer"]}),
        json!({"id": "early", "question": question, "steps": wrong, "answer": record["answer"],
            "expected": record["answer"]}),
    ];
    fs::write(&input, format!("{}\n{}\n", lines_in[0], lines_in[1])).unwrap();
    let output = folder.path().join("found.jsonl");
    let model = fixture("student");
    let arguments = [
        "analyze",
        "--input",
        text(&input),
        "--output",
        text(&output),
        "--model",
        text(&model),
        "--rollouts",
        "1",
        "--temperature",
        "0",
    ];
    check(&arguments, 0, &["rate"]);
    let found = lines(&output);
    let drops = |line: &Value| -> Vec<f64> {
        let steps = line["steps"].as_array().unwrap();
        steps.iter().map(|step| step["likelihood_drop"].as_f64().unwrap()).collect()
    };
    assert!(drops(&found[0]).iter().all(|drop| *drop < 5.0), "{}", found[0]);
    assert!(drops(&found[1])[0] > 5.0, "it ends too early: {}", found[1]);
}
