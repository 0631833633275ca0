//! `limbeck capture` as a user runs it: killed, continued, split, damaged, verified.

mod check;
mod paths;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use limbeck_core::Tokenizer;
use limbeck_distill::capture::{CapturedRecord, CapturedTeacher, Expected};
use limbeck_train::{Completion, Example, TokenWeights};
use serde_json::Value;

use check::check;
use paths::{fixture, text};

fn records(folder: &Path, count: usize, name: &str) -> PathBuf {
    let path = folder.join(name);
    let count = count.to_string();
    let arguments = ["data", "generate", "--family", "arith", "--count", &count, "--output"];
    check(&[&arguments[..], &[text(&path)]].concat(), 0, &[]);
    path
}

/// Captures with the fixture's teacher; the report of the program.
#[track_caller]
fn capture(data: &Path, output: &Path, more: &[&str]) -> Value {
    let teacher = fixture("teacher");
    let arguments = ["capture", "--json", "--teacher", text(&teacher), "--data", text(data)];
    let settings = ["--output", text(output), "--micro-batch-tokens", "1024"];
    let settings = [&settings[..], &["--max-length", "1024"]].concat();
    let output = check(&[&arguments[..], &settings, more].concat(), 0, &[]);
    serde_json::from_slice(&output.stdout).expect("stdout is JSON")
}

/// What a capture holds for the records of a file, in their order.
fn content(store: &Path, data: &Path) -> Vec<CapturedRecord> {
    let teacher = fixture("teacher");
    let tokenizer = Tokenizer::load(&teacher).unwrap();
    let expected = Expected::of(&tokenizer, 640).unwrap();
    let store = CapturedTeacher::open(&[store.to_owned()], &expected).unwrap();
    let read = |record: &limbeck_cot_data::CotRecord| {
        let reasoning = record.reasoning();
        let completion = Completion::Chain { reasoning: &reasoning, answer: &record.answer };
        let prompt = [limbeck_core::Message::user(record.question.as_str())];
        let weights = TokenWeights { answer: 2.0, template: 0.0, ..TokenWeights::default() };
        let example =
            Example::render(&tokenizer, &record.id, &prompt, completion, 1024, &weights).unwrap();
        store.batch_rows(&[&example], tch::Device::Cpu).expect("other weights need no more rows");
        store.get(&record.id, &example.tokens).unwrap().expect("a captured record")
    };
    limbeck_cot_data::read_jsonl(data).unwrap().iter().map(read).collect()
}

#[test]
fn a_killed_capture_goes_on_to_the_same_bytes_and_takes_more_data() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = records(folder, 60, "data.jsonl");
    let (straight, broken) = (folder.join("straight"), folder.join("broken"));
    let report = capture(&data, &straight, &[]);
    assert_eq!(report["records"], 60);
    assert!(report["bytes_per_position"].as_f64().unwrap() <= 120.0, "{report}");
    let file = |folder: &Path| folder.join("0-of-1.capture");
    let whole = fs::read(file(&straight)).unwrap();

    let teacher = fixture("teacher");
    let mut child = Command::new(env!("CARGO_BIN_EXE_limbeck"))
        .args(["--threads", "1", "capture", "--teacher", text(&teacher), "--data", text(&data)])
        .args(["--output", text(&broken), "--micro-batch-tokens", "1024", "--max-length", "1024"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    let size = || fs::metadata(file(&broken)).map_or(0, |metadata| metadata.len());
    while size() < 2000 && child.try_wait().unwrap().is_none() {
        assert!(started.elapsed() < Duration::from_secs(300), "nothing was captured");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!((size() as usize) < whole.len(), "the capture ended before it could be killed");
    let verify = ["capture", "--teacher", text(&teacher), "--data", text(&data), "--verify"];
    let verify = [&verify[..], &["--output", text(&broken), "--max-length", "1024"]].concat();
    check(&verify, 3, &["0-of-1.capture", "unfinished", "hint", "again"]);
    let report = capture(&data, &broken, &[]);
    assert!(report["captured_records"].as_u64().unwrap() < 60, "{report}");
    assert!(fs::read(file(&broken)).unwrap() == whole, "another file than without the kill");
    check(&verify, 0, &["worst_difference"]);

    // The data grows: only what is new is asked for.
    let more = folder.join("more.jsonl");
    let all = fs::read_to_string(records(folder, 70, "all.jsonl")).unwrap();
    fs::write(&more, &all).unwrap();
    let report = capture(&more, &broken, &[]);
    let known = fs::read_to_string(&data).unwrap();
    let new = all.lines().filter(|line| !known.contains(line)).count();
    assert_eq!(report["captured_records"], new, "{report}");
    assert_eq!(content(&broken, &more).len(), 70);
}

#[test]
fn any_number_of_shards_holds_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = records(folder, 30, "data.jsonl");
    let mut contents = Vec::new();
    for count in [1, 2, 7] {
        let output = folder.join(count.to_string());
        for shard in 0..count {
            capture(&data, &output, &["--shard", &format!("{shard}/{count}")]);
        }
        contents.push(content(&output, &data));
    }
    assert!(contents[0].iter().all(|record| record.top_k == 50 && !record.positions.is_empty()));
    assert!(contents[1] == contents[0] && contents[2] == contents[0]);
    let teacher = fixture("teacher");
    let arguments = ["capture", "--teacher", text(&teacher), "--data", text(&data), "--output"];
    let two = folder.join("2");
    let other = [&arguments[..], &[text(&two), "--shard", "0/3"]].concat();
    check(&other, 2, &["of-2.capture is no shard of 3", "hint"]);
    check(&[&arguments[..], &[text(folder), "--shard", "3/3"]].concat(), 2, &["from 0 to n - 1"]);
}

#[test]
fn what_does_not_fit_is_bad_input_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let data = records(folder, 4, "data.jsonl");
    let output = folder.join("out");
    capture(&data, &output, &["--top-k", "7", "--temperature", "2"]);
    let teacher = fixture("teacher");
    let same = ["capture", "--data", text(&data), "--output", text(&output)];
    let same = [&same[..], &["--max-length", "1024", "--teacher"]].concat();
    let with = |more: &[&str], exit, said: &[&str]| {
        check(&[&same[..], more].concat(), exit, said);
    };
    with(&[text(&teacher), "--verify"], 0, &["\"asked_again\":4"]);
    with(&[text(&teacher)], 3, &["another top_k: expected 50, found 7", "hint"]);
    with(&[text(&teacher), "--top-k", "7"], 3, &["another temperature: expected 1, found 2"]);
    with(&[text(&teacher), "--top-k", "0"], 2, &["top_k must be 1 up to"]);
    with(&[text(&teacher), "--verify", "--top-k", "7"], 2, &["cannot be used with"]);
    let other = fixture("parity/qwen2");
    with(&[text(&other), "--verify"], 3, &["another vocabulary size", "hint"]);

    // The same teacher with another template, then with other weights.
    let changed = folder.join("changed");
    fs::create_dir(&changed).unwrap();
    for entry in fs::read_dir(&teacher).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, changed.join(path.file_name().unwrap())).unwrap();
    }
    let config = changed.join("tokenizer_config.json");
    let plain = fs::read_to_string(&config).unwrap();
    fs::write(&config, plain.replace("add_generation_prompt", " add_generation_prompt")).unwrap();
    with(&[text(&changed), "--verify"], 3, &["another chat template", "hint"]);
    fs::write(&config, &plain).unwrap();
    let weights = changed.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&weights, &bytes).unwrap();
    with(&[text(&changed), "--verify"], 3, &["another teacher"]);

    let file = output.join("0-of-1.capture");
    let whole = fs::read(&file).unwrap();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 16;
    fs::write(&file, &bytes).unwrap();
    with(&[text(&teacher), "--verify"], 3, &["0-of-1.capture is damaged at byte", "hint"]);
    fs::write(&file, &whole).unwrap();

    // The same ids with other questions.
    let lines = fs::read_to_string(&data).unwrap();
    fs::write(&data, lines.replace("\"question\":\"", "\"question\":\"Now: ")).unwrap();
    let settings = ["--top-k", "7", "--temperature", "2"];
    let resume = [&[text(&teacher)][..], &settings].concat();
    with(&resume, 3, &["captured with other tokens", "hint"]);
    fs::write(&data, format!("{lines}{lines}")).unwrap();
    with(&resume, 3, &["ids that differ"]);
    let more = records(folder, 6, "more.jsonl");
    fs::copy(&more, &data).unwrap();
    with(&[text(&teacher), "--verify"], 3, &["of 6 records are not in the capture", "hint"]);
    assert!(fs::read(&file).unwrap() == whole, "no failure changes the file");
}
