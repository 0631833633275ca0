//! `limbeck data` as a user runs it: from a public file to what a trainer takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../cot-data/tests/samples").join(name)
}

/// Runs in a folder and asserts the exit code and what stderr must say.
#[track_caller]
fn check(folder: &Path, arguments: &[&str], exit: i32, said: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_limbeck"))
        .current_dir(folder)
        .arg("data")
        .args(arguments)
        .output()
        .expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{arguments:?}: {stderr}");
    for part in said {
        assert!(stderr.contains(part), "{arguments:?} should say {part}: {stderr}");
    }
    output
}

/// The command's report.
#[track_caller]
fn report(folder: &Path, arguments: &[&str]) -> Value {
    let output = check(folder, &[arguments, &["--json"]].concat(), 0, &[]);
    serde_json::from_slice(&output.stdout).expect("stdout is JSON")
}

#[test]
fn a_public_file_becomes_a_clean_data_set_and_conversations() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let source = sample("gsm8k.jsonl");
    let num_rows = fs::read_to_string(&source).unwrap().lines().count();
    fs::write(
        folder.join("raw.jsonl"),
        fs::read_to_string(&source).unwrap() + "{\"question\": \"cut off",
    )
    .unwrap();

    let import = ["import", "--format", "gsm8k", "raw.jsonl", "--output", "train.parquet"];
    let imported = report(folder, &[&import[..], &["--card", "--verify"]].concat());
    assert_eq!(imported["total"]["num_objects"], num_rows + 1, "{imported}");
    let rejects = fs::read_to_string(folder.join("rejects.jsonl")).unwrap();
    let reject: Value = serde_json::from_str(rejects.lines().last().unwrap()).unwrap();
    assert_eq!(reject["line"], num_rows + 1, "{reject}");
    let card = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(card.starts_with("---\n") && card.contains("train.parquet"), "{card}");
    assert!(card.contains("| 100.0% (3 of 3) |"), "every step has a sum that holds: {card}");
    let strict = [&import[..], &["--strict"]].concat();
    check(folder, &strict, 3, &["raw.jsonl:3", "missing_answer", "hint"]);

    let num_records = imported["total"]["num_records"].as_u64().unwrap();
    let clean = ["clean", "--input", "train.parquet", "--output", "clean.jsonl"];
    let cleaned = report(folder, &clean);
    assert_eq!(cleaned["num_read"], num_records, "{cleaned}");
    let contaminated = [&clean[..], &["--benchmark", source.to_str().unwrap()]].concat();
    let cleaned = report(folder, &contaminated);
    assert_eq!(cleaned["num_kept"], 0, "every question is the benchmark's: {cleaned}");
    let removed = fs::read_to_string(folder.join("removed.jsonl")).unwrap();
    assert!(removed.lines().all(|line| line.contains("\"contaminated\"")), "{removed}");

    let stratify = ["stratify", "--input", "train.parquet", "--curriculum", "strict"];
    let stratified = report(folder, &[&stratify[..], &["--output", "levels.jsonl.zst"]].concat());
    assert_eq!(stratified["num_records"], num_records, "{stratified}");
    let export = ["export", "--format", "messages", "--input", "levels.jsonl.zst"];
    let exported = report(folder, &[&export[..], &["--output", "messages.jsonl"]].concat());
    assert_eq!(exported["num_written"], num_records, "{exported}");
    let first = fs::read_to_string(folder.join("messages.jsonl")).unwrap();
    let first: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    let reply = first["messages"][1]["content"].as_str().unwrap();
    assert!(reply.starts_with("<think>\n") && reply.contains("\n</think>\n\n"), "{reply}");
}

/// The lines of all shards of a command, sorted.
#[track_caller]
fn sharded(folder: &Path, arguments: &[&str], count: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for index in 0..count {
        let (shard, file) = (format!("{index}/{count}"), format!("of-{index}-{count}.jsonl"));
        report(folder, &[arguments, &["--shard", &shard, "--output", &file]].concat());
        let text = fs::read_to_string(folder.join(file)).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort_unstable();
    lines
}

#[test]
fn shards_of_every_command_are_together_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let generate = ["generate", "--family", "all", "--count", "5"];
    report(folder, &[&generate[..], &["--output", "all.jsonl"]].concat());
    let gsm8k = fs::read_to_string(sample("gsm8k.jsonl")).unwrap();
    let damaged = format!("{gsm8k}no json\n{}", gsm8k.replace('\n', " \n"));
    fs::write(folder.join("raw.jsonl"), damaged).unwrap();
    let only_filters = [
        "--set",
        "exact_duplicates=false",
        "--set",
        "near_duplicates=false",
        "--set",
        "max_steps=4",
    ];
    let input = ["--input", "all.jsonl"];
    let commands: [Vec<&str>; 8] = [
        generate.to_vec(),
        vec!["import", "--format", "gsm8k", "raw.jsonl"],
        [&["clean"], &input[..], &only_filters].concat(),
        [&["stratify"], &input[..], &["--sample", "60", "--curriculum", "mixed"]].concat(),
        [&["stratify"], &input[..]].concat(),
        [&["negatives"], &input[..]].concat(),
        [&["variants"], &input[..]].concat(),
        [&["export", "--format", "messages"], &input[..]].concat(),
    ];
    for command in &commands {
        let whole = sharded(folder, command, 1);
        assert!(whole.len() > 1, "{command:?} gives something to share");
        for count in [2, 7] {
            assert_eq!(sharded(folder, command, count), whole, "{command:?} in {count}");
        }
    }
    let clean = ["clean", "--input", "all.jsonl", "--shard", "0/2", "--output", "part.jsonl"];
    check(folder, &clean, 2, &["repeats", "near_duplicates=false"]);
    let unknown = ["variants", "--input", "all.jsonl", "--shard", "2/2", "--output", "v.jsonl"];
    check(folder, &unknown, 2, &["2/2"]);
}

#[test]
fn what_is_there_is_not_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("all.jsonl"), "made before\n").unwrap();
    let generate =
        ["generate", "--family", "arith", "--count", "5", "--output", "all.jsonl", "--resume"];
    assert_eq!(report(folder, &generate)["resumed"], true);
    assert_eq!(fs::read_to_string(folder.join("all.jsonl")).unwrap(), "made before\n");
    fs::remove_file(folder.join("all.jsonl")).unwrap();
    assert_eq!(report(folder, &generate)["num_records"], 5);
}

#[test]
fn difficulty_is_how_often_a_model_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    report(folder, &["generate", "--family", "arith", "--count", "3", "--output", "r.jsonl"]);
    let text = fs::read_to_string(folder.join("r.jsonl")).unwrap();
    let records: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let reply = |record: &Value, answer: &str| {
        let text = format!("<think>\nso\n</think>\n\n{answer}");
        serde_json::json!({ "id": record["id"], "text": text }).to_string()
    };
    let right = records[0]["answer"].as_str().unwrap();
    let mut lines = vec![reply(&records[0], right); 4];
    lines.extend(vec![reply(&records[1], "no idea"); 4]);
    fs::write(folder.join("replies.jsonl"), lines.join("\n")).unwrap();
    let stratify =
        ["stratify", "--input", "r.jsonl", "--replies", "replies.jsonl", "--output", "s.jsonl"];
    assert_eq!(report(folder, &stratify)["num_with_replies"], 2);
    let text = fs::read_to_string(folder.join("s.jsonl")).unwrap();
    let levels: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["difficulty"].clone())
        .collect();
    assert_eq!(levels, [1.into(), 4.into(), records[2]["difficulty"].clone()]);
}

#[test]
fn every_record_gets_one_labelled_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let generate = ["generate", "--family", "all", "--count", "40", "--output", "right.jsonl"];
    let generated = report(folder, &generate)["num_records"].as_u64().unwrap();
    let negatives = ["negatives", "--input", "right.jsonl", "--output", "wrong.jsonl"];
    let made = report(folder, &[&negatives[..], &["--seed", "3"]].concat());
    assert_eq!(made["num_read"], generated, "{made}");
    let wrong = fs::read_to_string(folder.join("wrong.jsonl")).unwrap();
    for line in wrong.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["label"]["kind"], "wrong", "{record}");
    }
    assert_eq!(wrong.lines().count() as u64 + made["num_without"].as_u64().unwrap(), generated);
    assert!(made["num_written"].as_object().unwrap().len() > 5, "{made}");
    let corrected = [&negatives[..], &["--corrected", "--mistake", "off_by_one"]].concat();
    let made = report(folder, &corrected);
    assert!(made["num_written"]["off_by_one"].as_u64().unwrap() > 20, "{made}");
    let unknown = [&negatives[..], &["--mistake", "typo"]].concat();
    check(folder, &unknown, 2, &["typo", "off_by_one"]);
}

#[test]
fn short_chains_and_variants_are_verified() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let generate = ["generate", "--family", "all", "--count", "8", "--output", "both.jsonl"];
    let long = report(folder, &generate)["num_records"].as_u64().unwrap();
    let both = [&generate[..], &["--chains", "both"]].concat();
    let both = report(folder, &both)["num_records"].as_u64().unwrap();
    assert!(both > long * 9 / 5 && both <= 2 * long, "{both} of {long}");
    let cells = report(folder, &["stats", "--input", "both.jsonl"]);
    for (key, cell) in cells.as_object().unwrap() {
        assert_eq!(cell["verified"], cell["records"], "{key}: {cell}");
    }

    let variants = ["variants", "--input", "both.jsonl", "--output", "variants.jsonl"];
    let made = report(folder, &variants);
    assert_eq!(made["num_read"], both);
    assert!(made["num_written"].as_object().unwrap().len() >= 6, "{made}");
    let lines = fs::read_to_string(folder.join("variants.jsonl")).unwrap();
    let kinds: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["variant"].clone())
        .collect();
    assert!(kinds.iter().any(|kind| kind["same_answer"] == false), "{kinds:?}");
    check(folder, &[&variants[..], &["--kind", "anagram"]].concat(), 2, &["anagram", "distractor"]);
    let asked =
        ["clean", "--input", "both.jsonl", "--output", "clean.jsonl", "--set", "grammar=true"];
    if !cfg!(feature = "grammar") {
        check(folder, &asked, 2, &["grammar", "built without"]);
    }
}

#[test]
fn a_models_own_wrong_chains_are_harvested() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let generate = ["generate", "--family", "arith", "--count", "3", "--output", "right.jsonl"];
    report(folder, &generate);
    let right = fs::read_to_string(folder.join("right.jsonl")).unwrap();
    let records: Vec<Value> =
        right.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let chain = |record: &Value| -> String {
        let steps: Vec<&str> = record["thought_process"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        steps.join("\n")
    };
    // One right reply, one with a wrong answer; the third record has none.
    let replies = [
        serde_json::json!({"id": records[0]["id"], "finish_reason": "stop",
            "text": format!("<think>\n{}\n</think>\n\n{}", chain(&records[0]),
                records[0]["answer"].as_str().unwrap())}),
        serde_json::json!({"id": records[1]["id"], "correct": false,
            "reply": format!("<think>\n{}\n</think>\n\n12345", chain(&records[1]))}),
    ];
    fs::write(folder.join("replies.jsonl"), format!("{}\n{}\n", replies[0], replies[1])).unwrap();
    let negatives = ["negatives", "--input", "right.jsonl", "--replies", "replies.jsonl"];
    let made = report(folder, &[&negatives[..], &["--output", "wrong.jsonl"]].concat());
    assert_eq!((&made["num_written"]["model"], &made["num_without"]), (&1.into(), &2.into()));
    let wrong = fs::read_to_string(folder.join("wrong.jsonl")).unwrap();
    let wrong: Value = serde_json::from_str(wrong.trim()).unwrap();
    assert_eq!(
        (&wrong["answer"], &wrong["right_answer"]),
        (&"12345".into(), &records[1]["answer"])
    );
    assert_eq!(wrong["label"]["error"], "model");
}

#[test]
fn augmentation_says_what_it_will_cost_and_whom_it_cannot_reach() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("q.jsonl"), "{\"question\": \"What is 3 * 4?\"}\n").unwrap();
    let augment = [
        "augment",
        "--input",
        "q.jsonl",
        "--model",
        "m",
        "--output",
        "chains.jsonl",
        "--set",
        "num_samples=3",
        "--set",
        "completion_price=2.0",
        "--set",
        "max_attempts=1",
    ];
    // Nothing listens on the discard port.
    let url = ["--url", "http://127.0.0.1:9/v1"];
    let plan = report(folder, &[&augment[..], &url, &["--plan"]].concat());
    assert_eq!((&plan["num_missing"], &plan["completion_tokens"]), (&3.into(), &2400.into()));
    assert!(plan["cost"].as_f64().unwrap() > 0.0, "{plan}");
    assert!(!folder.join("journal.jsonl").exists(), "a plan writes nothing");
    let ran = report(folder, &[&augment[..], &url].concat());
    assert_eq!(ran["account"]["num_failed"], 3, "{ran}");
    assert_eq!(fs::read_to_string(folder.join("chains.jsonl")).unwrap(), "");
    check(folder, &augment, 2, &["augment.url", "http://"]);
    let dead = [&augment[..], &url, &["--set", "num_samples=20"]].concat();
    check(folder, &dead, 1, &["http://127.0.0.1:9/v1 does not answer", "hint"]);
}

#[test]
fn wrong_usage_names_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let source = sample("gsm8k.jsonl");
    let source = source.to_str().unwrap();
    let import = ["import", "--format", "csv", source, "--output", "x.jsonl"];
    check(folder, &import, 2, &["csv", "gsm8k"]);
    let import = ["import", "--format", "gsm8k", source, "--output", "x.csv"];
    check(folder, &import, 2, &["x.csv", ".parquet"]);
    let generate = ["generate", "--family", "logic", "--count", "1", "--output", "x.jsonl"];
    check(folder, &[&generate[..], &["--lang", "xx"]].concat(), 2, &["xx", "en"]);
    let clean = ["clean", "--input", source, "--output", "x.jsonl", "--set", "max_stepz=3"];
    check(folder, &clean, 2, &["max_stepz"]);
    assert!(!folder.join("x.jsonl").exists());
}
