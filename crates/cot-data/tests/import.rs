//! Import of a small sample in each format, and export back.

use std::path::PathBuf;

use limbeck_cot_data::{
    CotRecord, ErrorKind, ExportFormat, ExportOptions, Format, ImportOptions, ImportReport, Label,
    RejectLog, export, import, read_records,
};
use serde_json::{Map, Value, json};

fn sample(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)
}

fn imported_from(
    format: Format,
    paths: &[PathBuf],
    options: &ImportOptions,
) -> (Vec<CotRecord>, ImportReport) {
    let mut records: Vec<CotRecord> = Vec::new();
    let mut sink = |record| {
        records.push(record);
        Ok(())
    };
    let mut log = RejectLog::counting();
    let mut last = None;
    let mut progress = |now: &_| last = Some(*now);
    let report = import(format, paths, options, &mut sink, &mut log, &mut progress).unwrap();
    assert_eq!(last, Some(report.total));
    assert_eq!(report.total.num_records, records.len() as u64);
    for record in &records {
        // Whatever comes in must be a record for every other stage.
        let map = record.to_map();
        assert_eq!(&CotRecord::from_map(map).unwrap(), record);
    }
    (records, report)
}

/// The sample's records and the counts of what was left out, as JSON.
fn imported(format: Format, name: &str, options: &ImportOptions) -> (Vec<CotRecord>, Value) {
    let (records, report) = imported_from(format, &[sample(name)], options);
    (records, serde_json::to_value(report.rejects).unwrap())
}

fn plain(format: Format, name: &str) -> (Vec<CotRecord>, Value) {
    imported(format, name, &ImportOptions::default())
}

fn lenient() -> ImportOptions {
    ImportOptions { allow_missing_chain: true, keep_wrong: true, ..ImportOptions::default() }
}

fn ids(records: &[CotRecord]) -> Vec<&str> {
    records.iter().map(|record| record.id.as_str()).collect()
}

#[test]
fn gsm8k() {
    let (records, rejects) = plain(Format::Gsm8k, "gsm8k.jsonl");
    assert_eq!(rejects, json!({"missing_answer": 1, "missing_chain": 1}));
    assert_eq!(ids(&records), ["gsm8k-000000", "gsm8k-000001"]);
    let first = &records[0];
    assert_eq!(
        first.thought_process,
        ["He bakes 6*8 = 48 rolls.", "He has 48-30 = 18 rolls left."]
    );
    assert_eq!((first.answer.as_str(), first.domain.as_str()), ("18", "math"));
    assert_eq!(
        (first.source.name.as_str(), first.source.license.as_str()),
        ("openai/gsm8k", "MIT")
    );
    assert_eq!(first.source.extra["format"], "gsm8k");
    assert!(first.extra["gsm8k_answer"].as_str().unwrap().contains("<<6*8=48>>"));
    assert_eq!(records[1].answer, "1,200");
    let options = ImportOptions { keep_annotations: true, ..lenient() };
    let (records, _) = imported(Format::Gsm8k, "gsm8k.jsonl", &options);
    assert_eq!(records[0].thought_process[0], "He bakes 6*8 = <<6*8=48>>48 rolls.");
    assert!(!records[0].extra.contains_key("gsm8k_answer"), "it can be made again");
    assert_eq!((records[2].answer.as_str(), records[2].thought_process.len()), ("12", 0));
    assert_eq!(records[2].extra["answer_only"], true);
}

#[test]
fn openr1() {
    let (records, rejects) = plain(Format::OpenR1, "openr1.jsonl");
    let wanted = json!({"wrong_answer": 1, "incomplete_chain": 1, "duplicate_id": 1});
    assert_eq!(rejects, wanted);
    assert_eq!(ids(&records), ["openr1-000000-0", "openr1-000000-3", "openr1-000001-0"]);
    assert_eq!(records[0].thought_process, ["x = 5-2", "x = 3"]);
    assert_eq!(records[0].checks.answer, "correctness_math_verify");
    assert_eq!(records[0].extra["reply"], "So $\\boxed{3}$.");
    assert_eq!(records[0].source.teacher.as_deref(), Some("deepseek-ai/DeepSeek-R1"));
    let unused = &records[0].extra["imported"];
    assert_eq!(unused["generation"], 0);
    assert_eq!(unused["problem_type"], "Algebra");
    assert!(unused.get("messages").is_none(), "they repeat what the record says");
    assert_eq!(records[1].checks.answer, "correctness_llama");
    assert_eq!(records[2].answer, "Since 2 = 2*1, it is even.");
    assert_eq!(records[2].checks.answer, "");
    let (records, rejects) = imported(Format::OpenR1, "openr1.jsonl", &lenient());
    assert_eq!(rejects, json!({"incomplete_chain": 1, "duplicate_id": 1}));
    assert_eq!(
        records[1].label,
        Label::Wrong { first_wrong_step: 1, error: "wrong_answer".to_owned() }
    );
}

#[test]
fn messages() {
    let (records, rejects) = plain(Format::Messages, "messages.jsonl");
    let wanted = json!({
        "missing_answer": 1, "incomplete_chain": 1, "answer_contradicts_chain": 1, "bad_field": 1
    });
    assert_eq!(rejects, wanted);
    assert_eq!(records[0].question, "What is 2+3?");
    assert_eq!(records[0].thought_process, ["2+3 = 5", "That is it."]);
    assert_eq!(records[0].answer, "5");
    assert_eq!(records[0].extra["imported"], json!({"num_tokens": 12, "source": "made-up"}));
    assert_eq!(records[0].source.license, "NOASSERTION");
    let talk = &records[1];
    assert_eq!(talk.question, "User: Half of 9?\n\nAssistant: 4.5\n\nUser: Twice that?");
    assert_eq!((talk.extra["system"].as_str(), talk.answer.as_str()), (Some("Be brief."), "9"));
    assert_eq!(talk.extra["reply"], "That is $\\boxed{9}$.");
    assert_eq!(records[2].question, "Parts?");
    assert_eq!(records[2].thought_process, ["They are parts."]);
}

#[test]
fn openthoughts() {
    let (records, rejects) = plain(Format::OpenThoughts, "openthoughts.jsonl");
    assert_eq!(rejects, json!({"incomplete_chain": 1}));
    assert_eq!(records[0].thought_process, ["Okay.", "4 > 3."]);
    assert_eq!(records[0].answer, "4");
    assert_eq!(records[0].extra["reply"], "The larger is \\boxed{4}.");
    assert_eq!(records[0].extra["system"], "Think first.");
    assert_eq!(records[1].answer, "```python\nfor i in range(3):\n    print(i)\n```");
    assert!(!records[1].extra.contains_key("reply"));
}

#[test]
fn s1k() {
    let (records, rejects) = plain(Format::S1k, "s1k.jsonl");
    assert_eq!(rejects, json!({"wrong_answer": 1, "missing_chain": 1}));
    assert_eq!(ids(&records), ["s1k-000000", "s1k-000001-0"]);
    assert_eq!(records[0].answer, "12");
    assert_eq!(records[0].thought_process.len(), 2);
    assert_eq!(records[1].domain, "science");
    assert_eq!((records[1].answer.as_str(), records[1].checks.answer.as_str()), ("CO2", "graded"));
    assert_eq!(records[1].source.name, "simplescaling/s1K-1.1");
    let (records, _) = imported(Format::S1k, "s1k.jsonl", &lenient());
    assert_eq!((records[2].label.kind(), records[2].answer.as_str()), ("wrong", "Oxygen"));
}

#[test]
fn limo() {
    let (records, rejects) = plain(Format::Limo, "limo.jsonl");
    assert_eq!(rejects, json!({"answer_contradicts_chain": 1}));
    assert_eq!(records[0].thought_process.len(), 4);
    assert_eq!(records[0].answer, "56");
}

#[test]
fn sharegpt() {
    let (records, rejects) = plain(Format::ShareGpt, "sharegpt.jsonl");
    assert_eq!(rejects, json!({"missing_chain": 1}));
    assert_eq!((records[0].question.as_str(), records[0].answer.as_str()), ("Is 7 prime?", "Yes"));
    assert_eq!(records[0].extra["imported"], json!({"id": "c1"}));
    assert_eq!(records[1].question, "User: Hi\n\nAssistant: Hello!\n\nUser: Is 8 prime?");
    assert_eq!(records[1].thought_process, ["8 = 2*4"]);
    let later = json!([{"role": "user", "content": "Thanks"}]);
    assert_eq!(records[1].extra["imported"]["later_turns"], later);
    let (records, rejects) = imported(Format::ShareGpt, "sharegpt.jsonl", &lenient());
    assert_eq!((records.len(), rejects), (3, json!({})));
    assert_eq!(records[2].extra["answer_only"], true);
}

#[test]
fn alpaca() {
    let (records, rejects) = imported(Format::Alpaca, "alpaca.json", &lenient());
    assert_eq!(rejects, json!({"bad_field": 1}));
    assert_eq!(records[0].question, "Sort the words.\n\npear apple");
    assert_eq!(records[0].thought_process, ["apple comes before pear"]);
    assert_eq!(records[1].extra["system"], "Answer in a word.");
    assert!(records[1].thought_process.is_empty());
    assert!(records[2].question.starts_with("User: Name a colour.\n\nAssistant: Blue"));
    let (records, rejects) = plain(Format::Alpaca, "alpaca.json");
    assert_eq!((records.len(), rejects), (2, json!({"missing_chain": 1, "bad_field": 1})));
}

#[test]
fn pubmedqa() {
    let (records, rejects) = imported(Format::PubMedQa, "pubmedqa.json", &lenient());
    assert_eq!(rejects, json!({"bad_field": 1}));
    assert_eq!(
        records[0].question,
        "BACKGROUND: Sleep is often short.\n\nMETHODS: Forty adults drank tea for a week.\n\n\
         Does tea help sleep?"
    );
    assert_eq!((records[0].answer.as_str(), records[0].domain.as_str()), ("no", "medical"));
    assert_eq!(records[0].extra["imported"]["pmid"], "90000001");
    assert_eq!(records[0].extra["imported"]["LONG_ANSWER"], "Tea did not lengthen sleep.");
    // The same file twice gives each question once.
    let twice = [sample("pubmedqa.json"), sample("pubmedqa.json")];
    let (records, report) = imported_from(Format::PubMedQa, &twice, &lenient());
    assert_eq!((records.len(), report.rejects["duplicate_id"]), (2, 2));
}

#[test]
fn prm800k() {
    let (records, rejects) = plain(Format::Prm800k, "prm800k.jsonl");
    let wanted = json!({
        "bad_problem": 1, "incomplete_chain": 1, "answer_contradicts_chain": 1, "bad_field": 1
    });
    assert_eq!(rejects, wanted);
    let corrected = &records[0];
    assert_eq!(corrected.thought_process, ["2+3 = 5", "5*4 = 20"]);
    assert_eq!(
        corrected.label,
        Label::Corrected {
            wrong_thought_process: vec!["2+3 = 6".to_owned()],
            first_wrong_step: 0,
            correction: "2+3 = 5".to_owned(),
        }
    );
    assert_eq!(
        (corrected.answer.as_str(), corrected.checks.steps.as_slice()),
        ("20", &[true, true][..])
    );
    let wrong = &records[1];
    assert_eq!(wrong.thought_process, ["We take 4 from 9.", "9-4 = 6"]);
    assert_eq!(wrong.label, Label::Wrong { first_wrong_step: 1, error: "rated_wrong".to_owned() });
    assert_eq!((wrong.answer.as_str(), wrong.checks.steps.as_slice()), ("5", &[true, false][..]));
    assert_eq!(records[2].label, Label::Correct);
    assert_eq!(records[2].checks.steps, [false, true]);
    assert_eq!(records[3].thought_process, ["2*2 = 4"]);
    assert_eq!(records[3].label.kind(), "corrected");
    assert_eq!(records[3].extra["imported"]["label"]["finish_reason"], "solution");
}

#[test]
fn finqa() {
    let (records, rejects) = plain(Format::FinQa, "finqa.json");
    assert_eq!(rejects, json!({"duplicate_id": 1}));
    assert_eq!(
        records[0].question,
        "sales grew last year .\n\n2020 | 2019\nsales | 120 | 100\n\nfigures are in millions .\n\n\
         by how much did sales grow?"
    );
    assert_eq!(records[0].thought_process, ["subtract(120, 100)", "divide(#0, 100)"]);
    assert_eq!(records[0].answer, "0.2");
    assert_eq!(records[0].extra["imported"]["qa"]["answer"], "20%");
    assert_eq!(records[1].thought_process, ["greater(9, 5)"]);
    assert_eq!(records[1].answer, "yes");
}

#[test]
fn records() {
    let (records, rejects) = plain(Format::Records, "records.jsonl");
    assert_eq!(rejects, json!({"duplicate_id": 1, "bad_field": 1}));
    assert_eq!(ids(&records), ["r-1", "r-2"]);
    assert_eq!(records[0].extra["zeta"], json!({"b": 1, "a": [1.5, null]}));
    assert_eq!(records[1].label.kind(), "wrong");
}

#[test]
fn options_name_the_source() {
    let options = ImportOptions {
        name: Some("mine".to_owned()),
        source_name: Some("me/mine".to_owned()),
        license: Some("CC0-1.0".to_owned()),
        teacher: Some("me".to_owned()),
        domain: Some("kitchen".to_owned()),
        ..ImportOptions::default()
    };
    let (records, _) = imported(Format::Gsm8k, "gsm8k.jsonl", &options);
    assert_eq!((records[1].id.as_str(), records[1].domain.as_str()), ("mine-000001", "kitchen"));
    let source = &records[1].source;
    assert_eq!((source.name.as_str(), source.license.as_str()), ("me/mine", "CC0-1.0"));
    assert_eq!(source.teacher.as_deref(), Some("me"));
}

#[test]
fn the_reject_file_says_where_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rejects.jsonl");
    let mut log = RejectLog::to_file(&path).unwrap();
    let inputs = [sample("gsm8k.jsonl"), sample("pubmedqa.json")];
    let report = import(
        Format::Gsm8k,
        &inputs,
        &ImportOptions::default(),
        &mut |_| Ok(()),
        &mut log,
        &mut |_| {},
    )
    .unwrap();
    assert_eq!(log.finish().unwrap(), report.rejects);
    let lines: Vec<Value> = std::fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 5);
    assert_eq!((&lines[0]["line"], &lines[0]["reason"]), (&json!(3), &json!("missing_answer")));
    assert!(lines[0]["detail"].as_str().unwrap().contains("####"));
    assert!(lines[0]["excerpt"].as_str().unwrap().starts_with("{\"question\":\"No end?\""));
    assert!(lines[0]["file"].as_str().unwrap().ends_with("gsm8k.jsonl"));
    assert_eq!((&lines[2]["entry"], &lines[2]["key"]), (&json!(1), &json!("90000001")));
    assert!(lines[2]["detail"].as_str().unwrap().contains("`question`"));
}

#[test]
fn strict_import_stops_at_the_first_fault() {
    let mut log = RejectLog::strict();
    let mut count = 0;
    let mut sink = |_| {
        count += 1;
        Ok(())
    };
    let error = import(
        Format::Gsm8k,
        &[sample("gsm8k.jsonl")],
        &ImportOptions::default(),
        &mut sink,
        &mut log,
        &mut |_| {},
    )
    .unwrap_err();
    assert!(error.to_string().contains("gsm8k.jsonl:3: expected `####`"), "{error}");
    assert_eq!((error.kind(), count), (ErrorKind::BadInput, 2));
    assert!(error.hint().is_some());
}

#[test]
fn names_lead_to_formats() {
    for format in Format::ALL {
        assert_eq!(format.name().parse::<Format>().unwrap(), format);
    }
    for format in ExportFormat::ALL {
        assert_eq!(format.name().parse::<ExportFormat>().unwrap(), format);
        assert!(format.name().parse::<Format>().is_ok(), "what goes out can come in");
    }
    let error = "gsm9k".parse::<Format>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("openthoughts"), "{error}");
}

/// Writes records in a format and imports them again.
fn there_and_back(
    to: ExportFormat,
    from: Format,
    name: &str,
    records: &[CotRecord],
) -> Vec<CotRecord> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let options = ExportOptions { include_wrong: true };
    let items = records.iter().cloned().map(Ok);
    let report = export(to, items, &path, &options).unwrap();
    assert_eq!((report.num_written, report.num_wrong), (records.len() as u64, 0));
    let (records, report) = imported_from(from, &[path], &lenient());
    assert_eq!(report.rejects, [].into());
    records
}

#[test]
fn what_a_format_holds_comes_back() {
    let pairs = [
        (ExportFormat::Messages, Format::Messages, "a.jsonl"),
        (ExportFormat::ShareGpt, Format::ShareGpt, "a.jsonl.zst"),
        (ExportFormat::Alpaca, Format::Alpaca, "a.json"),
        (ExportFormat::Gsm8k, Format::Gsm8k, "a.json"),
    ];
    let mut state = 7_u64;
    let mut below = |bound: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let words = ["7", "is", "\"so\"", "é", "{x}", "a\\b", "漢", "  wide", "<b>", "#", "="];
    let mut text = |least: u64| {
        let length = least + below(6);
        let picked: Vec<&str> =
            (0..length).map(|_| words[below(words.len() as u64) as usize]).collect();
        picked.join(" ")
    };
    let mut records = Vec::new();
    for number in 0..60 {
        let steps = (0..number % 5).map(|_| text(1)).collect();
        let record = CotRecord {
            question: format!("{}\n{}", text(1), text(1)),
            thought_process: steps,
            answer: text(1).trim().to_owned(),
            ..CotRecord::default()
        };
        records.push(record);
    }
    for (to, from, name) in pairs {
        let back = there_and_back(to, from, name, &records);
        for (record, back) in records.iter().zip(&back) {
            assert_eq!(back.question, record.question, "{name}");
            assert_eq!(back.thought_process, record.thought_process, "{name}");
            assert_eq!(back.answer, record.answer, "{name}");
        }
    }
}

#[test]
fn what_came_from_a_format_goes_back_as_it_was() {
    for (to, from, name) in [
        (ExportFormat::Messages, Format::Messages, "messages.jsonl"),
        (ExportFormat::ShareGpt, Format::ShareGpt, "sharegpt.jsonl"),
        (ExportFormat::Alpaca, Format::Alpaca, "alpaca.json"),
        (ExportFormat::Gsm8k, Format::Gsm8k, "gsm8k.jsonl"),
    ] {
        let (records, _) = imported(from, name, &lenient());
        let back = there_and_back(to, from, name, &records);
        let without_id = |records: &[CotRecord]| -> Vec<Map<String, Value>> {
            let mut maps: Vec<_> = records.iter().map(CotRecord::to_map).collect();
            for map in &mut maps {
                map.shift_remove("id");
            }
            maps
        };
        assert_eq!(without_id(&back), without_id(&records), "{name}");
    }
    // The two that lead from one conversation format to the other.
    let (records, _) = imported(Format::ShareGpt, "sharegpt.jsonl", &lenient());
    let back = there_and_back(ExportFormat::Messages, Format::Messages, "a.jsonl", &records);
    for (record, back) in records.iter().zip(&back) {
        assert_eq!(back.question, record.question);
        assert_eq!(back.extra.get("turns"), record.extra.get("turns"));
        assert_eq!(back.extra.get("system"), record.extra.get("system"));
    }
}

#[test]
fn wrong_chains_stay_out_of_formats_that_cannot_say_so() {
    let (records, _) = plain(Format::Prm800k, "prm800k.jsonl");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let options = ExportOptions::default();
    let items = || records.iter().cloned().map(Ok);
    let report = export(ExportFormat::Messages, items(), &path, &options).unwrap();
    assert_eq!((report.num_written, report.num_wrong), (3, 1));
    for name in ["a.jsonl", "b.jsonl.zst", "c.parquet"] {
        let path = folder.path().join(name);
        let report = export(ExportFormat::Records, items(), &path, &options).unwrap();
        assert_eq!((report.num_written, report.num_wrong), (4, 0));
        assert_eq!(read_records(&path).unwrap(), records);
    }
}

#[test]
fn foreign_rows_of_a_table_are_imported() {
    // Our own table serves as a foreign one: it has `question` and `answer`.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let (records, _) = plain(Format::Gsm8k, "gsm8k.jsonl");
    limbeck_cot_data::write_records(&path, &records).unwrap();
    let (back, report) = imported_from(Format::Gsm8k, std::slice::from_ref(&path), &lenient());
    assert_eq!((back.len(), report.rejects["missing_answer"]), (0, 2));
    let (back, _) = imported_from(Format::Records, &[path], &lenient());
    assert_eq!(back, records);
}
