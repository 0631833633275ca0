//! The card of a data set.

use limbeck_cot_data::{
    Card, CardCounts, Checks, CotRecord, DataConfig, Family, Label, Source, build_splits,
};

fn record(level: u8, license: &str) -> CotRecord {
    CotRecord {
        id: "a".to_owned(),
        question: "q".to_owned(),
        thought_process: vec!["one".to_owned(), "two".to_owned()],
        answer: "a".to_owned(),
        domain: "math|odd".to_owned(),
        difficulty: level,
        source: Source {
            name: "hand".to_owned(),
            license: license.to_owned(),
            generator: Some("arithmetic/story@5".to_owned()),
            seed: Some(9),
            ..Source::default()
        },
        checks: Checks {
            answer: "verified".to_owned(),
            steps: vec![true, level < 10],
            ..Checks::default()
        },
        ..CotRecord::default()
    }
}

#[test]
fn a_card_says_what_is_in_the_data() {
    let mut counts = CardCounts::default();
    counts.add("train", &record(2, "MIT OR Apache-2.0"));
    counts.add("train", &record(10, "NOASSERTION"));
    let mut wrong = record(0, "LicenseRef-mine");
    wrong.label = Label::Wrong { first_wrong_step: 0, error: "e".to_owned() };
    counts.add("test", &wrong);
    let mut card = Card::new("No: a \"name\"", counts);
    card.files = vec![("train".to_owned(), "train.parquet".to_owned())];
    card.rejects = [("not_json".to_owned(), 3)].into();
    card.command = Some("limbeck data import --format gsm8k a.jsonl".to_owned());
    let text = card.render();
    for part in [
        "---\nlicense:\n- other\n- mit\n- apache-2.0\n- unknown\n",
        "language:\n- en\ntask_categories:\n- text-generation\ntags:\n- chain-of-thought\n",
        "size_categories:\n- \"n<1K\"\npretty_name: \"No: a \\\"name\\\"\"\n",
        "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train.parquet\n---\n",
        "| train | 2 | 4 | 0 |\n",
        "| math\\|odd | 2 | 1 |",
        "| level | train | test |\n|---|---|---|\n| unknown | 0 | 1 |\n| 2 | 1 | 0 |\n| 10 | 1 | 0 |\n",
        "| arithmetic/story | 2 | 1 |",
        "| wrong | 0 | 1 |",
        "| train | 100.0% (2 of 2) | 50.0% (1 of 2) | 75.0% (3 of 4) |",
        "## Not imported\n\n| reason | count |\n|---|---|\n| not_json | 3 |\n",
        "## Seeds\n\n9\n",
        "limbeck data import --format gsm8k a.jsonl",
    ] {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
    assert!(!text.contains("Bloom") && !text.contains("Teacher"), "nothing is known of them");
    assert!(!text.contains("## Removed"));
}

#[test]
fn an_empty_data_set_has_a_card_too() {
    let text = Card::new("Nothing", CardCounts::default()).render();
    assert!(text.contains("pretty_name: Nothing") && text.ends_with("# Nothing\n"), "{text}");
}

#[test]
fn generated_data_has_the_card_of_its_splits() {
    let config = DataConfig {
        families: vec![Family::Spatial],
        num_train: 40,
        num_validation: 4,
        num_test: 8,
        num_calibration: 0,
        seed: 9,
        ..DataConfig::default()
    };
    let splits = build_splits(&config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    splits.write(folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("README.md")).unwrap();
    assert_eq!(text, splits.card());
    for part in ["seed 9", "| spatial | 4 | 10 | 1 | 2 | 0 |", "Split rule", "path: train.jsonl"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.contains("| train | 100.0% (40 of 40) | 100.0% (40 of 40) |"), "{text}");
    assert!(!text.contains("calibration.jsonl"));
}
