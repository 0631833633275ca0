//! The domain families, and every family in Chinese: what is made is verified, is the same
//! problem as in English, and no planted error passes. Errors in the families beside core
//! and domains are planted in `families.rs`.

use std::collections::HashMap;

use limbeck_cot_data::generate::LANGUAGE_FIELD;
use limbeck_cot_data::{
    AnswerVerdict, CotRecord, Family, Language, Recipe, Shard, StepVerdict, answers_equal,
    check_chain, check_reply, generate_many, signature, solve,
};

const DOMAINS: [Family; 3] = [Family::Medical, Family::Legal, Family::Finance];

fn records(family: Family, language: Language, count: u64) -> Vec<CotRecord> {
    generate_many(Recipe { family, language }, None, count, 11, Shard::WHOLE)
        .expect("generated records are verified")
}

/// All families that are told in Chinese.
fn chinese() -> impl Iterator<Item = Family> {
    Family::ALL.into_iter().filter(|family| family.languages().contains(&Language::Zh))
}

#[test]
fn the_same_index_is_the_same_problem_in_chinese() {
    for family in chinese() {
        let english = records(family, Language::En, 800);
        for (record, other) in records(family, Language::Zh, 800).iter().zip(&english) {
            assert_eq!(signature(record), signature(other));
            assert_eq!(record.thought_process.len(), other.thought_process.len());
            assert_eq!(record.source.extra[LANGUAGE_FIELD], "zh");
            assert!(!other.source.extra.contains_key(LANGUAGE_FIELD));
            let solved = solve(&record.question).expect("a unique answer");
            assert!(answers_equal(&solved, &record.answer), "{solved} {record:?}");
            let reply = check_reply(record, &record.reasoning(), &format!("{}。", record.answer));
            assert!(reply.answer_correct && reply.consistent, "{record:?}");
        }
    }
}

#[test]
fn chinese_texts_have_no_english_sentences() {
    for family in chinese() {
        for record in records(family, Language::Zh, 400) {
            let text = format!("{}\n{}", record.question, record.reasoning());
            assert!(!text.contains(['?', ';']) && !text.contains(", "), "{text}");
            for word in ["yes", "no ", "points", "euros", "The ", "What", "Mon", "day"] {
                assert!(!text.contains(word), "{word}: {text}");
            }
        }
    }
}

#[test]
fn one_signature_never_has_two_problems() {
    for family in DOMAINS {
        let mut seen: HashMap<String, (String, Vec<String>)> = HashMap::new();
        for record in records(family, Language::En, 8_000) {
            // The order of items and of facts may differ, what they say may not.
            let mut items: Vec<String> = (record.question.lines())
                .filter(|line| line.starts_with('#'))
                .map(|line| line[3..].to_owned())
                .collect();
            items.sort();
            let told = (record.answer.clone(), items);
            let known = seen.entry(signature(&record)).or_insert_with(|| told.clone());
            assert_eq!(*known, told, "{record:?}");
        }
    }
}

#[test]
fn medical_records_cite_their_definition_and_are_no_advice() {
    for language in Language::ALL {
        for record in records(Family::Medical, language, 400) {
            let extra = &record.source.extra;
            assert!(
                extra["notice"].as_str().is_some_and(|text| text.contains("not medical advice"))
            );
            let generator = record.source.generator.clone().unwrap();
            let citation = extra["citation"].as_str().unwrap();
            assert!(citation.contains("20") || !generator.contains("news2"), "{citation}");
            if generator.contains("qsofa") {
                assert_eq!(citation, "Seymour et al. 2016, JAMA 315:762");
            }
        }
    }
}

/// Pairs of words of which a planted error takes one for the other.
const PAIRS: [(&str, &str); 21] = [
    ("yes", "no"),
    ("是", "否"),
    ("low", "high"),
    ("低", "高"),
    ("阳性", "阴性"),
    ("positive", "negative"),
    ("likely", "unlikely"),
    ("大", "小"),
    ("assets", "liabilities"),
    ("资产", "负债"),
    ("debt", "equity"),
    ("Mon", "Tue"),
    ("周一", "周二"),
    ("得到", "失去"),
    ("得到", "有"),
    ("失去", "有"),
    ("北", "东"),
    ("左转", "右转"),
    ("+", "-"),
    (">", "<"),
    ("not fraud", "fraud"),
];

/// All texts that differ from a line in one digit or word.
fn planted_errors(line: &str) -> Vec<String> {
    let mut planted = Vec::new();
    for (at, character) in line.char_indices() {
        if let Some(digit) = character.to_digit(10) {
            let other = char::from_digit((digit + 1) % 10, 10).unwrap();
            planted.push(format!("{}{other}{}", &line[..at], &line[at + 1..]));
        }
    }
    for (first, second) in PAIRS {
        for (from, to) in [(first, second), (second, first)] {
            for (at, _) in line.match_indices(from) {
                planted.push(format!("{}{to}{}", &line[..at], &line[at + from.len()..]));
            }
        }
    }
    planted
}

#[test]
fn no_planted_error_passes() {
    let cells = (Family::CORE.into_iter().chain(DOMAINS))
        .map(|family| (family, Language::Zh))
        .chain(DOMAINS.map(|family| (family, Language::En)));
    for (family, language) in cells {
        let mut num_wrong = 0;
        for record in records(family, language, 120) {
            for (index, step) in record.thought_process.iter().enumerate() {
                for planted in planted_errors(step) {
                    let mut steps = record.thought_process.clone();
                    steps[index].clone_from(&planted);
                    let check = check_chain(&record.question, &steps, &record.answer);
                    assert_ne!(check.steps[index], StepVerdict::Ok, "{planted} {record:?}");
                    num_wrong += usize::from(check.first_wrong_step() == Some(index));
                }
            }
            for answer in planted_errors(&record.answer) {
                let check = check_chain(&record.question, &record.thought_process, &answer);
                assert_eq!(check.answer, AnswerVerdict::Wrong, "{answer} {record:?}");
            }
        }
        assert!(num_wrong > 1_000, "{family:?} {language:?}: {num_wrong}");
    }
}

#[test]
fn lines_of_a_domain_cannot_be_left_out() {
    for family in DOMAINS {
        for language in Language::ALL {
            for record in records(family, language, 200) {
                for index in 0..record.thought_process.len() {
                    let mut steps = record.thought_process.clone();
                    steps.remove(index);
                    let check = check_chain(&record.question, &steps, &record.answer);
                    assert!(!check.all_ok(), "{index} {record:?}");
                }
            }
        }
    }
}
