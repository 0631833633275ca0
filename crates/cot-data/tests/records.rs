//! Record files: round trips, and lines that are no records.

use std::fs;

use limbeck_cot_data::{
    CotRecord, ErrorKind, Family, Label, Shard, generate_many, read_jsonl, write_jsonl,
};
use serde_json::{Value, json};

fn good() -> Value {
    json!({
        "id": "a-1", "question": "What is 1+1?", "thought_process": ["1+1=2"], "answer": "2",
        "domain": "arithmetic", "difficulty": 1, "bloom": "apply",
        "label": {"kind": "correct"},
        "source": {"name": "hand", "license": "MIT", "teacher": "t", "generator": "g", "seed": 42},
        "checks": {"answer": "verified", "steps": [true]}
    })
}

fn read_lines(lines: &[String]) -> limbeck_cot_data::Result<Vec<CotRecord>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.jsonl");
    fs::write(&path, lines.join("\n")).unwrap();
    read_jsonl(&path)
}

#[test]
fn a_record_survives_the_round_trip_byte_for_byte() {
    let mut line = good();
    let map = line.as_object_mut().unwrap();
    map.insert("zeta".to_owned(), json!({"b": 1, "a": [1.5, null]}));
    map.insert("alpha".to_owned(), json!("kept"));
    map["source"]["url"] = json!("x");
    map["checks"]["tool"] = json!({"n": 2});
    let text = line.to_string();
    let record: CotRecord = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&record).unwrap(), text);
    assert_eq!(record.extra.keys().collect::<Vec<_>>(), ["zeta", "alpha"]);
}

#[test]
fn every_label_survives_the_round_trip() {
    for label in [
        json!({"kind": "correct"}),
        json!({"kind": "wrong", "first_wrong_step": 0, "error": "off_by_one"}),
        json!({
            "kind": "corrected", "wrong_thought_process": ["1+1=3"], "first_wrong_step": 0,
            "correction": "1+1 is 2"
        }),
    ] {
        let mut line = good();
        line["label"] = label.clone();
        let record: CotRecord = serde_json::from_value(line.clone()).unwrap();
        assert_eq!(record.label.kind(), label["kind"]);
        assert_eq!(serde_json::to_value(&record).unwrap(), line);
    }
    assert_eq!(Label::default(), Label::Correct);
}

#[test]
fn generated_files_read_back_equal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.jsonl");
    let records = generate_many(Family::Spatial, None, 50, 1, Shard::WHOLE).unwrap();
    write_jsonl(&path, &records).unwrap();
    assert_eq!(read_jsonl(&path).unwrap(), records);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
}

/// A good line with one field replaced, or taken out where the value is null.
fn changed(pointer: &str, value: Value) -> String {
    let mut line = good();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let object = line.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        object.shift_remove(name);
    } else {
        object.insert(name.to_owned(), value);
    }
    line.to_string()
}

#[test]
fn a_bad_line_is_named_with_what_was_expected_and_found() {
    for (pointer, value, parts) in [
        ("/id", Value::Null, ["`id`", "no such field"]),
        ("/question", json!("  "), ["`question`", "not empty"]),
        ("/answer", json!(""), ["`answer`", "not empty"]),
        ("/answer", json!(4), ["`answer`", "number 4"]),
        ("/thought_process", json!("1+1=2"), ["`thought_process`", "list of strings"]),
        ("/thought_process", json!(["a", 1]), ["`thought_process`", "list of strings"]),
        ("/difficulty", json!(-1), ["`difficulty`", "number -1"]),
        ("/difficulty", json!(999), ["`difficulty`", "999"]),
        ("/label", Value::Null, ["`label`", "no such field"]),
        ("/label", json!("correct"), ["`label`", "an object"]),
        ("/label/kind", json!("maybe"), ["`label.kind`", "`maybe`"]),
        ("/label/first_wrong_step", json!(0), ["`label.first_wrong_step`", "correct"]),
        ("/label", json!({"kind": "wrong", "error": "e"}), ["first_wrong_step", "no such field"]),
        (
            "/label",
            json!({"kind": "wrong", "error": "e", "first_wrong_step": 1}),
            ["label.first_wrong_step", "below the chain's 1"],
        ),
        ("/source", Value::Null, ["`source`", "no such field"]),
        ("/source/seed", json!("x"), ["`source.seed`", "string \"x\""]),
        ("/checks/steps", json!([true, true]), ["`checks.steps`", "each step"]),
        ("/checks", json!(3), ["`checks`", "an object"]),
    ] {
        let error = read_lines(&[good().to_string(), changed(pointer, value)]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("data.jsonl:2"), "{text}");
        for part in parts {
            assert!(text.contains(part), "{text} lacks {part}");
        }
        assert_eq!(error.kind(), ErrorKind::BadInput);
        assert!(error.hint().is_some());
    }
}

#[test]
fn a_line_that_is_cut_off_is_bad_input() {
    let whole = good().to_string();
    for line in [&whole[..whole.len() / 2], "[1, 2]", "\"text\"", "{}x"] {
        let error = read_lines(&[String::new(), line.to_owned()]).unwrap_err();
        assert!(error.to_string().contains("data.jsonl:2"), "{error}");
        assert_eq!(error.kind(), ErrorKind::BadInput);
    }
}

#[test]
fn bytes_that_are_no_text_are_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.jsonl");
    fs::write(&path, [good().to_string().as_bytes(), b"\n\xff\xfe\n"].concat()).unwrap();
    let error = read_jsonl(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadInput);
    assert!(error.to_string().contains("data.jsonl:2"), "{error}");
}

#[test]
fn optional_fields_may_be_absent() {
    let mut line = good();
    let map = line.as_object_mut().unwrap();
    map.shift_remove("bloom");
    map.shift_remove("checks");
    map["source"] = json!({"name": "hand", "license": "MIT"});
    let record = &read_lines(&[line.to_string()]).unwrap()[0];
    assert!(record.bloom.is_empty() && record.checks.steps.is_empty());
    assert_eq!(record.completion(), "<think>\n1+1=2\n</think>\n\n2");
}

#[test]
fn missing_files_and_folders_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent/data.jsonl");
    let error = read_jsonl(&absent).unwrap_err();
    assert!(error.to_string().contains("absent/data.jsonl"), "{error}");
    assert!(error.hint().is_some());
    assert!(write_jsonl(&absent, &[]).is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
