//! Wrong chains: each is found at the step that its label names, and its correction holds.

use std::collections::BTreeMap;

use limbeck_cot_data::{
    CotRecord, Family, Label, Mistake, Shard, StepVerdict, answers_equal, check_chain,
    corrected_record, generate_many, wrong_record,
};

fn records(family: Family, count: u64) -> Vec<CotRecord> {
    generate_many(family, None, count, 23, Shard::WHOLE).unwrap()
}

#[test]
fn every_mistake_in_our_own_chains_is_found_at_the_labelled_step() {
    let mut counts: BTreeMap<(Family, Mistake), usize> = BTreeMap::new();
    for family in Family::CORE {
        for record in records(family, 400) {
            for mistake in Mistake::ALL {
                let Some(wrong) = wrong_record(&record, mistake, 3) else { continue };
                *counts.entry((family, mistake)).or_default() += 1;
                let Label::Wrong { first_wrong_step, error } = &wrong.label else {
                    panic!("{wrong:?}")
                };
                assert_eq!(error, mistake.name());
                let check = check_chain(&wrong.question, &wrong.thought_process, &wrong.answer);
                assert_eq!(check.first_error(), Some(*first_wrong_step), "{check:?} {wrong:?}");
                assert!(!check.all_ok());
                let open = check.steps.contains(&StepVerdict::Unchecked);
                assert!(!open, "a wrong line has the form of a right one: {wrong:?}");
                let same = answers_equal(&wrong.answer, &record.answer);
                let rearranged =
                    [Mistake::DroppedStep, Mistake::DuplicatedStep, Mistake::ReorderedSteps];
                assert!(!same || rearranged.contains(&mistake), "{wrong:?}");
                let first = &wrong.thought_process[..*first_wrong_step];
                assert_eq!(first, &record.thought_process[..*first_wrong_step], "{wrong:?}");
            }
        }
    }
    for ((family, mistake), count) in &counts {
        println!("{} {mistake}: {count}", family.name());
        assert!(*count >= 50, "{family:?} {mistake} {count}");
    }
    let used = |mistake| counts.keys().any(|(_, used)| *used == mistake);
    assert!(Mistake::ALL.into_iter().all(used));
    println!("{} in all", counts.values().sum::<usize>());
}

#[test]
fn a_line_of_a_story_says_what_its_sum_does_right_or_wrong() {
    let mut num_lines = 0;
    for record in records(Family::Arith, 400) {
        for mistake in Mistake::ALL {
            let Some(wrong) = wrong_record(&record, mistake, 3) else { continue };
            for line in &wrong.thought_process {
                let (_, work) = line.split_once(": ").unwrap();
                if !work.contains(|letter: char| letter.is_ascii_uppercase()) {
                    continue;
                }
                let (said, main) = work.rsplit_once(", ").unwrap_or(("", work));
                let sum = main.rsplit(' ').next().unwrap();
                let first = sum.split('=').next().unwrap();
                let sign = first.trim_start_matches('-').chars().find(|next| "+-*".contains(*next));
                let told = match sign.unwrap() {
                    '*' => main.contains(" has "),
                    sign => said.rsplit_once(' ').unwrap().1.starts_with(sign),
                };
                assert!(told, "{mistake}: {line}");
                num_lines += 1;
            }
        }
    }
    assert!(num_lines > 1_000, "{num_lines}");
}

#[test]
fn a_corrected_record_keeps_its_right_chain() {
    for family in Family::CORE {
        for record in records(family, 60) {
            for mistake in Mistake::ALL {
                let Some(made) = corrected_record(&record, mistake, 3) else { continue };
                let check = check_chain(&made.question, &made.thought_process, &made.answer);
                assert!(check.all_ok(), "{made:?}");
                let Label::Corrected { wrong_thought_process, first_wrong_step, correction } =
                    &made.label
                else {
                    panic!("{made:?}")
                };
                let wrong = wrong_record(&record, mistake, 3).unwrap();
                assert_eq!(*wrong_thought_process, wrong.thought_process);
                assert!(correction.contains(&format!("step {}", first_wrong_step + 1)));
                // It survives being written and read.
                let line = serde_json::to_string(&made).unwrap();
                assert_eq!(serde_json::from_str::<CotRecord>(&line).unwrap(), made);
                assert_eq!(wrong_record(&made, mistake, 3), None, "no mistake in a mistake");
            }
        }
    }
}

#[test]
fn a_mistake_depends_on_its_seed_alone() {
    let record = &records(Family::Arith, 4)[3];
    let made = |seed| wrong_record(record, Mistake::OffByOne, seed).unwrap();
    assert_eq!(made(1), made(1));
    assert!((2..20).any(|seed| made(seed).label != made(1).label));
    assert_eq!("off_by_one".parse::<Mistake>().unwrap(), Mistake::OffByOne);
    assert!("off".parse::<Mistake>().unwrap_err().to_string().contains("off_by_one"));
}
