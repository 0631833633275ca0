//! Data sets: no problem in two splits, balance, exhaustion, files.

use std::collections::{BTreeMap, HashSet};

use limbeck_cot_data::{
    CotRecord, DataConfig, Family, Shard, Split, build_splits, generate_many, read_jsonl,
    signature, split_of,
};

fn small() -> DataConfig {
    DataConfig {
        num_train: 600,
        num_validation: 60,
        num_test: 120,
        num_calibration: 24,
        seed: 9,
        ..DataConfig::default()
    }
}

fn by_cell(records: &[CotRecord]) -> BTreeMap<(String, u8), usize> {
    let mut counts = BTreeMap::new();
    for record in records {
        *counts.entry((record.domain.clone(), record.difficulty)).or_default() += 1;
    }
    counts
}

#[test]
fn no_problem_is_twice_in_a_data_set() {
    let splits = build_splits(&small()).unwrap();
    let mut seen = HashSet::new();
    let mut ids = HashSet::new();
    for split in Split::ALL {
        for record in splits.of(split) {
            let signature = signature(record);
            assert_eq!(split_of(&signature, &splits.config.fractions), split);
            assert!(seen.insert(signature), "{record:?}");
            assert!(ids.insert(record.id.clone()), "{record:?}");
        }
    }
    assert_eq!(seen.len(), 804);
    assert!(splits.report.notes.is_empty(), "{:?}", splits.report.notes);
}

#[test]
fn another_seed_keeps_every_problem_in_its_split() {
    let test: HashSet<String> =
        build_splits(&small()).unwrap().test.iter().map(signature).collect();
    let other = build_splits(&DataConfig { seed: 10, num_train: 6_000, ..small() }).unwrap();
    assert!(other.train.iter().all(|record| !test.contains(&signature(record))));
}

#[test]
fn cells_are_balanced_in_the_whole_and_in_any_first_part() {
    let splits = build_splits(&small()).unwrap();
    assert!(by_cell(&splits.train).values().all(|count| *count == 50));
    assert!(by_cell(&splits.test).values().all(|count| *count == 10));
    let first = by_cell(&splits.train[..120]);
    assert!(first.len() == 12 && first.values().all(|count| *count == 10), "{first:?}");
}

#[test]
fn weights_shift_the_families() {
    let config = DataConfig { weights: [(Family::Logic, 2.0)].into(), ..small() };
    let splits = build_splits(&config).unwrap();
    let logic = splits.train.iter().filter(|record| record.domain == "logic").count();
    assert_eq!((splits.train.len(), logic), (600, 300));
}

#[test]
fn the_same_configuration_gives_the_same_data_set() {
    assert_eq!(build_splits(&small()).unwrap(), build_splits(&small()).unwrap());
}

#[test]
fn a_record_is_the_one_of_its_index() {
    let splits = build_splits(&small()).unwrap();
    let whole = generate_many(Family::Logic, None, 4_000, 9, Shard::WHOLE).unwrap();
    let mut compared = 0;
    for record in splits.train.iter().filter(|record| record.domain == "logic") {
        let index: usize = record.id.trim_start_matches("logic-").parse().unwrap();
        if let Some(other) = whole.get(index) {
            assert_eq!(record, other);
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn a_level_with_too_few_problems_ends_with_a_note() {
    let config = DataConfig {
        families: vec![Family::Logic],
        levels: vec![1],
        num_train: 30_000,
        num_validation: 10,
        num_test: 0,
        num_calibration: 0,
        ..DataConfig::default()
    };
    let splits = build_splits(&config).unwrap();
    // 24 * 23 * 22 orders of three names, two places asked for; 85% are for training.
    assert!((20_000..21_300).contains(&splits.train.len()), "{}", splits.train.len());
    assert_eq!((splits.validation.len(), splits.test.len()), (10, 0));
    assert_eq!(splits.report.notes.len(), 1);
    assert!(splits.report.notes[0].contains("30000"), "{:?}", splits.report.notes);
}

#[test]
fn an_impossible_configuration_is_refused_before_any_work() {
    let error = build_splits(&DataConfig { levels: vec![9], ..small() }).unwrap_err();
    assert!(error.to_string().contains("data.levels"), "{error}");
}

#[test]
fn files_hold_what_was_built() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("deep/data");
    let splits = build_splits(&DataConfig { num_calibration: 0, ..small() }).unwrap();
    splits.write(&target).unwrap();
    for split in [Split::Train, Split::Validation, Split::Test] {
        let read = read_jsonl(&target.join(format!("{}.jsonl", split.name()))).unwrap();
        assert_eq!(read, splits.of(split));
    }
    let mut names: Vec<String> = std::fs::read_dir(&target)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let files = ["README.md", "prepared.json", "test.jsonl", "train.jsonl", "validation.jsonl"];
    assert_eq!(names, files);
    let card = std::fs::read_to_string(target.join("README.md")).unwrap();
    for part in ["seed 9", "| logic | 4 | 50 | 5 | 10 | 0 |", "Split rule", "path: train.jsonl"] {
        assert!(card.contains(part), "{part}\n{card}");
    }
    assert!(!card.contains("calibration.jsonl"), "{card}");
}

#[test]
fn sources_join_the_training_split_which_is_cleaned_and_gives_wrong_chains() {
    let folder = tempfile::tempdir().unwrap();
    let plain = build_splits(&small()).unwrap();
    // One text of its own twice, one with a stray space, and one of the test split.
    let own = |id: &str, question: &str| CotRecord {
        id: id.to_owned(),
        question: question.to_owned(),
        thought_process: vec!["3*4=12".to_owned()],
        answer: "12".to_owned(),
        domain: "general".to_owned(),
        source: limbeck_cot_data::Source {
            name: "own".to_owned(),
            ..limbeck_cot_data::Source::default()
        },
        ..CotRecord::default()
    };
    let sources = [
        own("a", "How many eggs are in 3 boxes of 4?"),
        own("b", "How many eggs are in 3 boxes of 4?"),
        own("c", "How many legs do 3  cats have?"),
        plain.test[0].clone(),
    ];
    let path = folder.path().join("own.jsonl");
    limbeck_cot_data::write_records(&path, &sources).unwrap();
    let config = DataConfig {
        sources: vec![path],
        clean: Some(limbeck_cot_data::CleanConfig {
            near_duplicates: false,
            ..limbeck_cot_data::CleanConfig::default()
        }),
        num_negatives: 30,
        ..small()
    };
    let splits = build_splits(&config).unwrap();
    assert_eq!(splits.test, plain.test, "nothing else changes");
    assert_eq!(splits.train.len(), plain.train.len() + 2);
    let report = &splits.prepared;
    assert_eq!((report.num_from_sources, report.num_held_out), (4, 1));
    let cleaned = report.clean.as_ref().unwrap();
    assert_eq!(cleaned.num_read - cleaned.num_kept, 1);
    let joined = splits.train.iter().find(|record| record.id == "c").unwrap();
    assert_eq!(joined.question, "How many legs do 3 cats have?");
    assert!(!joined.bloom.is_empty() && joined.difficulty > 0, "{joined:?}");
    assert_eq!(report.difficulty.values().sum::<u64>(), splits.train.len() as u64);

    assert_eq!(splits.negatives.len(), 30);
    let corrected =
        |record: &&CotRecord| matches!(record.label, limbeck_cot_data::Label::Corrected { .. });
    assert_eq!(splits.negatives.iter().filter(corrected).count(), 15);
    assert!(report.negatives.len() > 5, "{:?}", report.negatives);
    splits.write(&folder.path().join("data")).unwrap();
    let card = std::fs::read_to_string(folder.path().join("data/README.md")).unwrap();
    assert!(card.contains("## Preparation") && card.contains("1 as ExactDuplicate"), "{card}");
    let negatives = read_jsonl(&folder.path().join("data/negatives.jsonl")).unwrap();
    assert_eq!(negatives, splits.negatives);
}
