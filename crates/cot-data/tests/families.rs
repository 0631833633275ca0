//! The generators of the families beside core and domains: what they make is verified, a
//! line restates its item of the question, levels get longer, a signature belongs to one
//! problem, and planted errors are found where they stand, in each language that a family
//! is told in. `generators.rs` holds the others to more.

use std::collections::{HashMap, HashSet};

use limbeck_cot_data::{
    AnswerVerdict, CotRecord, Family, Recipe, Shard, StepVerdict, answers_equal, check_chain,
    check_reply, generate, generate_many, signature, solve,
};

fn records(recipe: Recipe, count: u64) -> Vec<CotRecord> {
    generate_many(recipe, None, count, 11, Shard::WHOLE).expect("generated records are verified")
}

const DOMAINS: [Family; 3] = [Family::Medical, Family::Legal, Family::Finance];

/// The other families, each in all its languages.
fn others() -> impl Iterator<Item = Recipe> {
    Family::ALL
        .into_iter()
        .filter(|family| !Family::CORE.contains(family) && !DOMAINS.contains(family))
        .flat_map(|family| {
            family.languages().iter().map(move |&language| Recipe { family, language })
        })
}

#[test]
fn every_record_is_verified_and_solved_alike_by_the_second_solver() {
    for recipe in others() {
        let mut lengths = [0; 4];
        let mut signatures: HashMap<String, (String, u8)> = HashMap::new();
        for record in records(recipe, 1_000) {
            let solved = solve(&record.question).expect("a unique answer");
            assert!(answers_equal(&solved, &record.answer), "{solved} {record:?}");
            let reply = check_reply(&record, &record.reasoning(), &record.answer);
            assert!(reply.answer_correct && reply.consistent, "{record:?}");
            assert_eq!(record.domain, recipe.family.domain());
            assert_eq!(record.checks.steps.len(), record.thought_process.len());
            lengths[usize::from(record.difficulty) - 1] +=
                record.question.len() + record.reasoning().len();
            restates(&record);
            let answer = (record.answer.to_lowercase(), record.difficulty);
            let known = signatures.entry(signature(&record)).or_insert_with(|| answer.clone());
            assert_eq!(*known, answer, "{record:?}");
        }
        // Almost all problems are different ones.
        assert!(signatures.len() > 900, "{recipe:?} {}", signatures.len());
        assert!(lengths.is_sorted_by(|a, b| a < b), "{recipe:?} {lengths:?}");
    }
}

/// A labelled line bears label and words of an item of the question.
fn restates(record: &CotRecord) {
    let items: Vec<&str> = record.question.lines().filter(|line| line.starts_with('#')).collect();
    assert!(!items.is_empty(), "{record:?}");
    for line in record.thought_process.iter().filter(|line| line.starts_with('#')) {
        let restated = |item: &&str| {
            let rest = line.strip_prefix(item.trim_end_matches(['?', '？']));
            rest.is_some_and(|rest| rest.starts_with([':', '：']))
        };
        assert!(items.iter().any(restated), "{line} {record:?}");
    }
}

#[test]
fn shards_merge_and_seeds_do_not_overlap() {
    for recipe in others() {
        let whole = generate_many(recipe, None, 60, 5, Shard::WHOLE).unwrap();
        for index in 0..7 {
            let shard = generate_many(recipe, None, 60, 5, Shard { index, count: 7 }).unwrap();
            let mut expected = whole.iter().skip(index as usize).step_by(7);
            assert!(shard.iter().all(|record| Some(record) == expected.next()), "{recipe:?}");
        }
        let questions = |seed: u64| -> HashSet<String> {
            (0..100).map(|index| generate(recipe, 4, seed, index).unwrap().question).collect()
        };
        let (first, again) = (questions(1), questions(2));
        assert!(first.len() >= 99 && first.intersection(&again).count() <= 1, "{recipe:?}");
    }
}

/// Words that an error may put for one another.
const WORDS: [&[&str]; 22] = [
    &["knight", "knave"],
    &["fits", "contradiction"],
    &["cat", "dog", "fish", "bird"],
    &["Ann", "Bob", "Eve", "Dan", "Kim", "Leo"],
    &["true", "false"],
    &["yes", "no"],
    &["red", "blue", "green", "white", "black", "pink"],
    &["blims", "dorps", "zups", "wugs", "feps", "mibs"],
    &[" in ", " not in "],
    &["March", "May", "July", "August"],
    &["Monday", "Tuesday", "Friday", "Sunday"],
    &["骑士", "无赖"],
    &["相符", "矛盾"],
    &["猫", "狗", "鱼", "鸟"],
    &["小安", "小波", "小雯", "小丹", "小金", "小磊"],
    &["真", "假"],
    &["是", "否"],
    &["红色", "蓝色", "绿色", "白色", "黑色", "粉色"],
    &["布林", "多普", "祖普", "乌格", "费普", "米布"],
    &[" 属于 ", " 不属于 "],
    &["艾镇", "白镇", "柯镇", "戴镇", "林镇"],
    &["星期一", "星期二", "星期五", "星期日"],
];

/// How a line begins that guesses, or takes up another thing to follow.
const GUESSES: [&str; 5] = ["try ", "let ", "假设 ", "尝试 ", "设 "];

/// All texts that differ from a line in its label, one digit or one word.
fn planted_errors(line: &str) -> Vec<String> {
    let mut planted = Vec::new();
    for (at, character) in line.char_indices() {
        let other = match character {
            '0'..='9' => char::from(b'0' + (character as u8 - b'0' + 1) % 10),
            'A'..='P' if at == 1 && line.starts_with('#') => (character as u8 + 1) as char,
            _ => continue,
        };
        planted.push(format!("{}{other}{}", &line[..at], &line[at + 1..]));
    }
    for group in WORDS {
        for word in group {
            for (at, _) in line.match_indices(word) {
                for other in group.iter().filter(|other| *other != word) {
                    planted.push(format!("{}{other}{}", &line[..at], &line[at + word.len()..]));
                }
            }
        }
    }
    planted
}

/// The open towns of a line of a Chinese shortest way, and how far the one is that it takes.
fn taken(line: &str) -> Option<(&str, &str)> {
    let (open, town) = line.strip_prefix("待选 ")?.split_once("：选取 ")?;
    let far = open.split('，').find_map(|each| each.strip_prefix(town)?.strip_prefix(' '))?;
    Some((open, far))
}

#[test]
fn planted_errors_are_found_where_they_stand() {
    for recipe in others() {
        let (mut num_planted, mut num_wrong) = (0, 0);
        for record in records(recipe, 20) {
            for (index, step) in record.thought_process.iter().enumerate() {
                for planted in planted_errors(step) {
                    let mut steps = record.thought_process.clone();
                    steps[index].clone_from(&planted);
                    let check = check_chain(&record.question, &steps, &record.answer);
                    // Another guess, another thing to follow, or another of two towns that are
                    // equally near is no error.
                    if GUESSES.iter().any(|guess| planted.starts_with(guess))
                        || taken(&planted).is_some_and(|town| taken(step) == Some(town))
                    {
                        continue;
                    }
                    assert_ne!(check.steps[index], StepVerdict::Ok, "{planted} {record:?}");
                    assert!(check.steps[..index].iter().all(|verdict| *verdict == StepVerdict::Ok));
                    num_planted += 1;
                    num_wrong += usize::from(check.first_wrong_step() == Some(index));
                }
            }
            for answer in planted_errors(&record.answer) {
                let check = check_chain(&record.question, &record.thought_process, &answer);
                assert_eq!(check.answer, AnswerVerdict::Wrong, "{answer} {record:?}");
                assert!(!check.consistent, "{answer} {record:?}");
            }
        }
        // The rest, such as a name that nobody bears, leaves a line without a known form.
        assert!(num_planted > 500, "{recipe:?} {num_planted}");
        assert!(num_wrong * 3 > num_planted * 2, "{recipe:?} {num_wrong} of {num_planted}");
    }
}

#[test]
fn a_chain_without_its_last_line_or_with_a_false_answer_does_not_pass() {
    for recipe in others() {
        for record in records(recipe, 200) {
            let mut early = record.thought_process.clone();
            early.pop();
            let check = check_chain(&record.question, &early, &record.answer);
            assert!(!check.all_ok(), "stopped early: {record:?}");
            let check = check_chain(&record.question, &record.thought_process, "another");
            assert!(check.answer == AnswerVerdict::Wrong && !check.consistent, "{record:?}");
        }
    }
}
