//! Grammar: planted mistakes are found, right sentences and our own templates pass.

#![cfg(feature = "grammar")]

use limbeck_cot_data::clean::{GrammarKind, Reason};
use limbeck_cot_data::{
    CleanConfig, CotRecord, Family, Language, Recipe, Removed, Shard, Source, clean, generate_many,
};

/// A sentence with a mistake, and without it.
const PAIRS: [(&str, &str); 8] = [
    ("This is an test of the new machine.", "This is a test of the new machine."),
    ("Tom has a apple and two pears in his bag.", "Tom has an apple and two pears in his bag."),
    ("There are two pears in the the bowl.", "There are two pears in the bowl."),
    ("He have two of the apples in all.", "He has two of the apples in all."),
    ("He buyed four more pencils at noon.", "He bought four more pencils at noon."),
    ("Their going to the market now.", "They're going to the market now."),
    ("He sold more then five of them.", "He sold more than five of them."),
    ("She didn't bought any apples at the shop.", "She didn't buy any apples at the shop."),
];

fn imported(id: &str, question: &str, steps: &[&str]) -> CotRecord {
    CotRecord {
        id: id.to_owned(),
        question: question.to_owned(),
        thought_process: steps.iter().map(|&step| step.to_owned()).collect(),
        answer: "5".to_owned(),
        source: Source { name: "hand".to_owned(), ..Source::default() },
        ..CotRecord::default()
    }
}

fn config() -> CleanConfig {
    CleanConfig {
        grammar: true,
        near_duplicates: false,
        exact_duplicates: false,
        ..CleanConfig::default()
    }
}

fn removed(records: &[CotRecord], config: &CleanConfig) -> Vec<Removed> {
    let mut removed = Vec::new();
    let keep = |one| {
        removed.push(one);
        Ok(())
    };
    let report = clean(records, config, |_| Ok(()), keep).unwrap();
    assert_eq!(report.removed_for(Reason::Grammar), removed.len() as u64);
    removed
}

#[test]
fn planted_mistakes_are_found_and_right_sentences_pass() {
    let wrong: Vec<CotRecord> = (PAIRS.iter().enumerate())
        .map(|(index, (wrong, _))| imported(&index.to_string(), wrong, &["2+3=5"]))
        .collect();
    let right: Vec<CotRecord> = (PAIRS.iter().enumerate())
        .map(|(index, (_, right))| imported(&index.to_string(), right, &["2+3=5"]))
        .collect();
    let found = removed(&wrong, &config());
    for one in &found {
        println!("{} {}", one.id, one.detail);
    }
    assert_eq!(removed(&right, &config()), []);
    assert_eq!(found.len(), PAIRS.len(), "{found:?}");
}

#[test]
fn the_chain_is_read_but_not_its_formulas() {
    let records = [
        imported("chain", "How many apples are there in all?", &["He have two of the apples."]),
        imported(
            "formula",
            "How many apples are there in all?",
            &["an test of x = 2+3 is a apples"],
        ),
        imported("chinese", "小安有5个苹果，给了小波2个。小安现在有多少个？", &["5-2=3"]),
    ];
    let found = removed(&records, &config());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].id.as_str(), found[0].reason), ("chain", Reason::Grammar));
    let none = CleanConfig { grammar_kinds: vec![GrammarKind::Formatting], ..config() };
    assert_eq!(removed(&records, &none), []);
}

/// The questions of every family, which are checked by sample otherwise.
#[test]
fn our_templates_have_no_mistakes() {
    for family in Family::ALL {
        if !family.languages().contains(&Language::En) {
            continue;
        }
        let recipe = Recipe { family, language: Language::En };
        let records = generate_many(recipe, None, 60, 5, Shard::WHOLE).unwrap();
        let all = CleanConfig { grammar_sample: 1.0, exact_duplicates: false, ..config() };
        let found = removed(&records, &all);
        for one in &found {
            let record = records.iter().find(|record| record.id == one.id).unwrap();
            println!("{}: {}\n{}\n", one.id, one.detail, record.question);
        }
        assert!(found.is_empty(), "{}: {} of 60", family.name(), found.len());
    }
}

/// People wrote these; what is found in them is mostly right, and shows how much is removed.
#[test]
fn few_questions_of_gsm8k_are_removed() {
    let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/gsm8k/train.jsonl");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("skipped: {} is absent", path.display());
        return;
    };
    let questions: Vec<CotRecord> = text
        .lines()
        .take(1_000)
        .enumerate()
        .map(|(index, line)| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            imported(&index.to_string(), row["question"].as_str().unwrap(), &["2+3=5"])
        })
        .collect();
    let started = std::time::Instant::now();
    let found = removed(&questions, &config());
    let seconds = started.elapsed().as_secs_f64();
    for one in found.iter().take(40) {
        println!("{} {}", one.id, one.detail);
    }
    println!("{} of 1000 removed, {:.0} records/s", found.len(), 1_000.0 / seconds);
    assert!((10..150).contains(&found.len()), "{}", found.len());
}
