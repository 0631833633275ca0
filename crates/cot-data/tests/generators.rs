//! The generators of the core and domain families at every level: what they make is verified,
//! their answers are those of the second solver, and no planted error passes. The other
//! families have tests of their own in `families.rs`.

use std::collections::HashSet;

use limbeck_cot_data::{
    AnswerVerdict, CotRecord, Family, Shard, StepVerdict, answers_equal, check_chain, check_reply,
    generate, generate_many, signature, solve,
};

/// The families that these tests hold.
const FAMILIES: [Family; 6] = [
    Family::Arith,
    Family::Logic,
    Family::Spatial,
    Family::Medical,
    Family::Legal,
    Family::Finance,
];

/// Records of a family; fewer of the domain families, whose records are longer and have
/// tests of their own.
fn records(family: Family, count: u64) -> Vec<CotRecord> {
    let count = if Family::CORE.contains(&family) { count } else { count / 5 };
    generate_many(family, None, count, 11, Shard::WHOLE).expect("generated records are verified")
}

#[test]
fn every_record_is_verified_and_solved_alike_by_the_second_solver() {
    for family in FAMILIES {
        for record in records(family, 2_000) {
            let check = check_chain(&record.question, &record.thought_process, &record.answer);
            assert!(check.all_ok(), "{check:?} {record:?}");
            let solved = solve(&record.question).expect("a unique answer");
            assert!(answers_equal(&solved, &record.answer), "{solved} {record:?}");
            let reply = check_reply(&record, &record.reasoning(), &record.answer);
            assert!(reply.answer_correct && reply.consistent, "{record:?}");
            assert_eq!(record.domain, family.domain());
            assert_eq!(record.checks.steps.len(), record.thought_process.len());
        }
    }
}

#[test]
fn values_stay_in_their_ranges() {
    for record in records(Family::Arith, 2_000) {
        let cap = if record.difficulty <= 2 { 199 } else { 999 };
        for step in &record.thought_process {
            for chain in step.split(", ").filter(|part| part.contains('=')) {
                let value: i64 = chain.rsplit('=').next().unwrap().parse().unwrap();
                assert!((0..=cap).contains(&value), "{step}");
            }
        }
        // A line with bags has two operations.
        let operations = |step: &String| step.split(", ").filter(|part| part.contains('=')).count();
        let count: usize = record.thought_process.iter().map(operations).sum();
        assert_eq!(count, usize::from(record.difficulty) + 1, "{record:?}");
    }
    for record in records(Family::Spatial, 2_000) {
        for step in &record.thought_process {
            for number in step.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty())
            {
                assert!(number.parse::<i64>().unwrap() <= 20, "{step}");
            }
        }
    }
}

#[test]
fn every_item_of_a_question_has_a_line_that_restates_it() {
    let labelled = |line: &&str| line.starts_with('#');
    for family in FAMILIES {
        for record in records(family, 400) {
            let items: Vec<&str> = record.question.lines().filter(labelled).collect();
            let lines: Vec<&str> =
                record.thought_process.iter().map(String::as_str).filter(labelled).collect();
            assert!(!items.is_empty() && items.len() == lines.len(), "{record:?}");
            // The clues of a puzzle are worked through before its question, wherever that stands.
            let (asked, told): (Vec<&str>, Vec<&str>) =
                items.into_iter().partition(|item| item.starts_with("#Q "));
            // Sums and routes ask without a label.
            let has_label = !matches!(family, Family::Arith | Family::Spatial);
            assert_eq!(asked.len(), usize::from(has_label), "{record:?}");
            for ((item, line), label) in told.iter().zip(&lines).zip('A'..) {
                assert!(item.starts_with(&format!("#{label} ")), "{record:?}");
                assert!(line.starts_with(&format!("{item}: ")), "{record:?}");
            }
            for (item, line) in asked.iter().zip(lines.last()) {
                assert!(line.starts_with(&item.replace('?', ": ")), "{record:?}");
            }
            let unlabelled = record.thought_process.len() - lines.len();
            assert!(family == Family::Logic || unlabelled == 0, "{record:?}");
        }
    }
}

#[test]
fn levels_get_longer() {
    for family in FAMILIES {
        let records = records(family, 2_000);
        let mean = |level: u8| {
            let lengths: Vec<usize> = records
                .iter()
                .filter(|record| record.difficulty == level)
                .map(|record| record.question.len() + record.reasoning().len())
                .collect();
            lengths.iter().sum::<usize>() / lengths.len()
        };
        assert!(mean(1) < mean(2) && mean(2) < mean(3) && mean(3) < mean(4), "{family:?}");
    }
}

#[test]
fn shards_merge_line_for_line_into_the_whole() {
    for family in FAMILIES {
        let whole = generate_many(family, None, 200, 5, Shard::WHOLE).unwrap();
        for count in [1, 2, 7] {
            let shards: Vec<Vec<CotRecord>> = (0..count)
                .map(|index| generate_many(family, None, 200, 5, Shard { index, count }).unwrap())
                .collect();
            let merged: Vec<&CotRecord> = (0..200_usize)
                .map(|line| &shards[line % count as usize][line / count as usize])
                .collect();
            assert!(merged.iter().zip(&whole).all(|(a, b)| *a == b), "{family:?} {count}");
            assert_eq!(shards.iter().map(Vec::len).sum::<usize>(), whole.len());
        }
    }
}

#[test]
fn a_shard_is_below_the_number_of_shards() {
    assert_eq!("2/7".parse::<Shard>().unwrap(), Shard { index: 2, count: 7 });
    for text in ["7/7", "1", "-1/2", "0/0", "a/b", ""] {
        let error = text.parse::<Shard>().unwrap_err();
        assert!(error.to_string().contains("i/n"), "{error}");
    }
}

#[test]
fn seeds_do_not_overlap() {
    for family in FAMILIES {
        let first: HashSet<String> =
            (0..300).map(|index| generate(family, 4, 1, index).unwrap().question).collect();
        let again = (0..300)
            .filter(|&index| first.contains(&generate(family, 4, 2, index).unwrap().question));
        // Of some thousands of turns, one comes twice now and then.
        assert!(first.len() >= 297, "{family:?}: {}", first.len());
        assert!(again.count() <= 3, "{family:?}");
    }
}

#[test]
fn a_signature_belongs_to_one_problem() {
    for family in FAMILIES {
        let mut seen = std::collections::HashMap::new();
        for record in records(family, 20_000) {
            let solved = (record.answer.clone(), record.thought_process.len());
            let known = seen.entry(signature(&record)).or_insert_with(|| solved.clone());
            // A chain of the same puzzle in another order of clues may go up another way,
            // but never to another answer.
            assert_eq!(*known, solved, "{record:?}");
        }
    }
}

#[test]
fn an_unknown_level_or_family_is_an_error() {
    for level in [0, 5] {
        let error = generate(Family::Logic, level, 0, 0).unwrap_err();
        assert!(error.to_string().contains("1..=4"), "{error}");
    }
    let error = "magic".parse::<Family>().unwrap_err();
    assert!(error.to_string().contains("arith, logic, spatial"), "{error}");
}

const WORDS: [[&str; 4]; 5] = [
    ["north", "east", "south", "west"],
    ["left", "right", "around", "left"],
    ["Ann", "Bob", "Eve", "Dan"],
    ["Kim", "Leo", "Mia", "Tom"],
    ["Sam", "Zoe", "Ben", "Amy"],
];

/// All texts that differ from a line in its label, one digit, one sign or one word.
fn planted_errors(line: &str) -> Vec<String> {
    let mut planted = Vec::new();
    for (at, character) in line.char_indices() {
        let other = match character {
            '0'..='9' => char::from(b'0' + (character as u8 - b'0' + 1) % 10),
            '+' => '-',
            '-' if !line[at..].starts_with("->") => '+',
            'A'..='H' if at == 0 && line[1..].starts_with(':') => (character as u8 + 1) as char,
            'x' if line[at..].starts_with("x=") => 'y',
            'y' if line[at..].starts_with("y=") => 'x',
            _ => continue,
        };
        planted.push(format!("{}{other}{}", &line[..at], &line[at + 1..]));
    }
    for word in WORDS.iter().flatten() {
        for (at, _) in line.match_indices(word) {
            for other in WORDS.iter().flatten().filter(|other| *other != word) {
                planted.push(format!("{}{other}{}", &line[..at], &line[at + word.len()..]));
            }
        }
    }
    planted
}

#[test]
fn no_planted_error_passes() {
    let mut num_planted = 0;
    for family in FAMILIES {
        for record in records(family, 120) {
            for (index, step) in record.thought_process.iter().enumerate() {
                for planted in planted_errors(step) {
                    let mut steps = record.thought_process.clone();
                    steps[index].clone_from(&planted);
                    let check = check_chain(&record.question, &steps, &record.answer);
                    assert_ne!(check.steps[index], StepVerdict::Ok, "{planted} {record:?}");
                    assert!(!check.all_ok());
                    num_planted += 1;
                }
            }
            for answer in planted_errors(&record.answer) {
                let check = check_chain(&record.question, &record.thought_process, &answer);
                assert_eq!(check.answer, AnswerVerdict::Wrong, "{answer} {record:?}");
                assert!(!check.consistent);
                let reply = check_reply(&record, &record.reasoning(), &answer);
                assert!(!reply.answer_correct && !reply.consistent);
            }
        }
    }
    assert!(num_planted > 10_000, "{num_planted}");
}

#[test]
fn dropped_and_swapped_lines_do_not_pass() {
    for family in FAMILIES {
        for record in records(family, 400) {
            let steps = &record.thought_process;
            let mut early = steps.clone();
            early.pop();
            // A last turn or sum may leave the answer as it was before it.
            if !answers_equal(&record.answer, last_state(&early)) {
                let check = check_chain(&record.question, &early, &record.answer);
                assert!(!check.all_ok(), "stopped early: {record:?}");
            }
            let mut changed = steps.clone();
            match family {
                // The line that numbers the order.
                Family::Logic => changed.retain(|line| !line.starts_with('1')),
                Family::Arith | Family::Spatial if steps.len() > 1 => changed.swap(0, 1),
                Family::Arith | Family::Spatial => continue,
                // Every domain family asks with a label, so that its chains have two lines.
                _ => changed.swap(0, 1),
            }
            let check = check_chain(&record.question, &changed, &record.answer);
            assert!(check.first_wrong_step().is_some(), "{changed:?} {record:?}");
        }
    }
}

/// The part of the last line that could be an answer.
fn last_state(steps: &[String]) -> &str {
    let last = steps.last().map_or("", String::as_str);
    last.rsplit([' ', '=']).next().unwrap_or("")
}

#[test]
fn a_reply_is_read_line_by_line() {
    let record = generate(Family::Arith, 1, 3, 0).unwrap();
    let reasoning = format!("Let me see.\n\n  {}  \n", record.thought_process.join("\n"));
    let reply = check_reply(&record, &reasoning, &format!(" {}. ", record.answer));
    assert_eq!(reply.steps[0], StepVerdict::Unchecked);
    assert!(reply.steps[1..].iter().all(|verdict| *verdict == StepVerdict::Ok));
    assert!(reply.answer_correct && reply.consistent);
    let contains = format!("{} or so", record.answer);
    assert!(!check_reply(&record, &reasoning, &contains).answer_correct);
    let empty = check_reply(&record, "", "");
    assert!(empty.steps.is_empty() && !empty.answer_correct && !empty.consistent);
}
