//! Import of real public files. They are not part of the project: where their folder is
//! absent the tests say so and pass.

use std::fs;
use std::path::PathBuf;

use limbeck_cot_data::{
    CotRecord, ExportFormat, Format, ImportOptions, ImportReport, RejectLog, import,
};
use serde_json::{Map, Value};

/// A file of the folder `shared/data` beside the repository.
fn public(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is absent", path.display());
    None
}

fn imported(
    format: Format,
    path: PathBuf,
    options: &ImportOptions,
) -> (Vec<CotRecord>, ImportReport) {
    let mut records = Vec::new();
    let mut sink = |record| {
        records.push(record);
        Ok(())
    };
    let mut log = RejectLog::counting();
    let report = import(format, &[path], options, &mut sink, &mut log, &mut |_| {}).unwrap();
    (records, report)
}

#[test]
fn every_row_of_gsm8k_comes_in_and_goes_out_as_it_was() {
    for (name, num_rows) in [("gsm8k/train.jsonl", 7_473), ("gsm8k/test.jsonl", 1_319)] {
        let Some(path) = public(name) else { return };
        let (records, report) = imported(Format::Gsm8k, path.clone(), &ImportOptions::default());
        assert_eq!(report.rejects, [].into());
        assert_eq!((records.len(), report.total.num_objects), (num_rows, num_rows as u64));
        assert_eq!(report.total.num_bytes, fs::metadata(&path).unwrap().len());
        let text = fs::read_to_string(path).unwrap();
        for (record, line) in records.iter().zip(text.lines()) {
            let row: Map<String, Value> = serde_json::from_str(line).unwrap();
            assert_eq!(ExportFormat::Gsm8k.object(record), row);
            assert!(!record.thought_process.is_empty());
            assert!(!record.reasoning().contains("<<"), "{record:?}");
        }
    }
}

#[test]
fn every_question_of_pubmedqa_comes_in() {
    let Some(path) = public("pubmedqa/ori_pqal.json") else { return };
    let (records, report) = imported(Format::PubMedQa, path, &ImportOptions::default());
    assert_eq!((records.len(), &report.rejects), (1_000, &[].into()));
    let count = |answer: &str| records.iter().filter(|record| record.answer == answer).count();
    assert_eq!((count("yes"), count("no"), count("maybe")), (552, 338, 110));
    assert!(records.iter().all(|record| record.extra["answer_only"] == true));
}
