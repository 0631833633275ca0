//! Levels on real questions, where there are any.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use limbeck_cot_data::CotRecord;
use limbeck_cot_data::stratify::{DEFAULT_CUTS, Structure, guess_bloom, level_of, quartile_cuts};
use serde_json::Value;

fn shared(file: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(file);
    let text = fs::read_to_string(&path).ok();
    if text.is_none() {
        println!("skipped: {} is not there", path.display());
    }
    text
}

fn gsm8k(text: &str) -> Vec<CotRecord> {
    let records = text.lines().map(|line| {
        let item: Value = serde_json::from_str(line).unwrap();
        let (chain, _) = item["answer"].as_str().unwrap().rsplit_once("#### ").unwrap();
        CotRecord {
            question: item["question"].as_str().unwrap().to_owned(),
            thought_process: chain.trim().lines().map(str::to_owned).collect(),
            ..CotRecord::default()
        }
    });
    records.collect()
}

fn share(questions: &[(String, usize)], level: &str) -> f64 {
    let mut counts = BTreeMap::<&str, usize>::new();
    for (question, num_steps) in questions {
        *counts.entry(guess_bloom(question, *num_steps).level.name()).or_default() += 1;
    }
    println!("{level}: {counts:?}");
    counts.get(level).copied().unwrap_or(0) as f64 / questions.len() as f64
}

/// Questions that nobody labelled, of tasks whose level is not in doubt.
#[test]
fn real_questions_get_the_level_of_their_task() {
    let Some(text) = shared("gsm8k/test.jsonl") else { return };
    let problems: Vec<(String, usize)> = gsm8k(&text)
        .into_iter()
        .map(|record| (record.question, record.thought_process.len()))
        .collect();
    assert!(share(&problems, "apply") > 0.9);
    let Some(text) = shared("bbh/logical_deduction_three_objects.json") else { return };
    let task: Value = serde_json::from_str(&text).unwrap();
    let puzzles = task["examples"].as_array().unwrap().iter();
    let puzzles: Vec<(String, usize)> =
        puzzles.map(|item| (item["input"].as_str().unwrap().to_owned(), 5)).collect();
    assert!(share(&puzzles, "analyze") > 0.9);
}

#[test]
fn the_default_cut_points_are_about_the_quartiles_of_gsm8k() {
    let Some(text) = shared("gsm8k/train.jsonl") else { return };
    let scores: Vec<f64> =
        gsm8k(&text).iter().map(|record| Structure::of(record).score()).collect();
    let cuts = quartile_cuts(&scores);
    let mut sizes = [0_usize; 4];
    for score in &scores {
        sizes[usize::from(level_of(*score, &DEFAULT_CUTS)) - 1] += 1;
    }
    println!("quartiles {cuts:?}, sizes at the defaults {sizes:?}");
    assert!(sizes.iter().all(|size| *size as f64 > 0.18 * scores.len() as f64), "{sizes:?}");
}
