//! Adapters that lines of the input choose.

mod check;
mod paths;

use std::fs;
use std::path::Path;

use check::check;
use paths::{fixture, text};
use serde_json::{Value, json};

fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn logprobs(line: &Value) -> Vec<f64> {
    line["logprobs"].as_array().unwrap()[1..].iter().map(|value| value.as_f64().unwrap()).collect()
}

#[track_caller]
fn assert_near(found: &Value, expected: &Value, what: &str) {
    for (found, expected) in logprobs(found).iter().zip(logprobs(expected)) {
        assert!((found - expected).abs() < 1e-4, "{what}: {found} {expected}");
    }
}

#[test]
fn each_line_is_scored_with_its_adapters_as_if_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    let (first, second) = (fixture("lora/all_linear"), fixture("lora/rslora_patterns"));
    let named = [format!("first={}", text(&first)), format!("second={}", text(&second))];
    let score = |lines_of: &[Value], adapters: &[&str]| {
        let written: Vec<String> = lines_of.iter().map(Value::to_string).collect();
        fs::write(&input, written.join("\n")).unwrap();
        let model = fixture("parity/qwen2");
        let mut arguments = vec!["score", "--model", text(&model), "--input", text(&input)];
        arguments.extend(["--output", text(&output)]);
        arguments.extend(adapters.iter().flat_map(|adapter| ["--adapter", *adapter]));
        check(&arguments, 0, &[]);
        lines(&output)
    };
    let tokens = json!([5, 60, 7, 18, 200, 33]);
    let plain = json!({ "id": "plain", "tokens": tokens });
    let line =
        |id: &str, adapters: Value| json!({ "id": id, "tokens": tokens, "adapters": adapters });
    let mixed = [
        line("first", json!(["first"])),
        plain.clone(),
        line("gated", json!({ "second": 0.5, "first": 1 })),
        line("second", json!({ "second": 1.0 })),
        line("off", json!({ "second": 0.0 })),
    ];
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    let together = score(&mixed, &named);
    // One line alone; an adapter for all; no adapter.
    for (line, found) in mixed.iter().zip(&together) {
        let alone = score(std::slice::from_ref(line), &named);
        assert_near(found, &alone[0], &line["id"].to_string());
    }
    for (place, adapters) in [(0, &[text(&first)][..]), (3, &[text(&second)]), (1, &[]), (4, &[])] {
        let alone = score(std::slice::from_ref(&plain), adapters);
        assert_near(&together[place], &alone[0], &place.to_string());
    }
    let differ = |a: usize, b: usize| {
        let pairs = logprobs(&together[a]).into_iter().zip(logprobs(&together[b]));
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    for (a, b) in [(0, 1), (1, 3), (2, 0), (2, 3)] {
        assert!(differ(a, b) > 1e-3, "{a} {b}");
    }
    // On top of one for all: the second everywhere, the first where it is named.
    let both = score(&mixed[..2], &[named[0], text(&second)]);
    let gated = score(&[line("both", json!(["first", "second"]))], &named);
    assert_near(&both[0], &gated[0], "first on second");
    assert_near(&both[1], &together[3], "second alone");
}

#[test]
fn generate_takes_adapters_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    let model = fixture("parity/qwen2");
    let named = format!("a={}", text(&fixture("lora/all_linear")));
    let lines_of = [
        json!({ "id": "0", "prompt": "12" }),
        json!({ "id": "1", "prompt": "12", "adapters": { "a": 3.0 } }),
        json!({ "id": "2", "prompt": "1 2 3", "adapters": ["a"] }),
    ];
    fs::write(&input, lines_of.map(|line| line.to_string()).join("\n")).unwrap();
    let arguments = ["generate", "--model", text(&model), "--input", text(&input), "--output"];
    let more = [text(&output), "--max-new-tokens", "12", "--adapter", &named];
    check(&[&arguments[..], &more].concat(), 0, &[]);
    let replies = lines(&output);
    assert_eq!(replies.len(), 3);
    assert_ne!(replies[0]["tokens"], replies[1]["tokens"]);
}

#[test]
fn adapters_that_are_not_there_are_named_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.jsonl"), folder.path().join("out.jsonl"));
    let model = fixture("parity/qwen2");
    let adapter = fixture("lora/all_linear");
    let named = format!("medical={}", text(&adapter));
    let run = |line: &Value, adapters: &[&str], exit: i32, said: &[&str]| {
        let plain = json!({ "id": "plain", "tokens": [5, 6] });
        fs::write(&input, format!("{plain}\n{line}\n")).unwrap();
        let mut arguments = vec!["score", "--model", text(&model), "--input", text(&input)];
        arguments.extend(["--output", text(&output)]);
        arguments.extend(adapters.iter().flat_map(|adapter| ["--adapter", *adapter]));
        check(&arguments, exit, said);
    };
    let with = |adapters: Value| json!({ "id": "a", "tokens": [5, 6], "adapters": adapters });
    run(&with(json!(["tax"])), &[&named], 3, &["line 2", "\"tax\"", "among \"medical\""]);
    run(&with(json!({ "tax": 1 })), &[], 3, &["line 2", "--adapter NAME=DIR", "\"tax\""]);
    run(&with(json!(["medical", "medical"])), &[&named], 3, &["line 2", "medical twice"]);
    run(&with(json!("medical")), &[&named], 3, &["line 2", "a list of adapters' names"]);
    run(&with(json!(["medical"])), &[&named, &named], 2, &["two adapters are named medical"]);
    run(&with(json!(["medical"])), &["medical=no/such"], 3, &["adapter medical", "no/such"]);
}
