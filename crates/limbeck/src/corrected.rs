//! The chain of a corrected record as it is trained on: wrong up to its first wrong step,
//! then what puts it right, then on to the answer.

use limbeck_cot_data::{CotRecord, Label};

/// The parts of a chain that goes wrong and is put right, lines joined by line breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CorrectedChain {
    /// The steps before the first wrong one.
    pub(crate) before: String,
    /// The first wrong step.
    pub(crate) wrong: String,
    /// The correction, and the right chain's steps from where the two part; those that the
    /// correction already ends with are not said again.
    pub(crate) after: String,
}

impl CorrectedChain {
    /// The chain of a corrected record; nothing for a record with another label.
    pub(crate) fn of(record: &CotRecord) -> Option<Self> {
        let Label::Corrected { wrong_thought_process, first_wrong_step, correction } =
            &record.label
        else {
            return None;
        };
        let wrong = wrong_thought_process.get(*first_wrong_step)?;
        let pairs = wrong_thought_process.iter().zip(&record.thought_process);
        let num_shared = pairs.take_while(|(wrong, right)| wrong == right).count();
        // A chain by another way has to be told from its start.
        let resumed = if num_shared < *first_wrong_step { 0 } else { num_shared };
        let rest = &record.thought_process[resumed..];
        let rest = &rest[num_told(correction, rest)..];
        let told = (!correction.is_empty()).then_some(correction);
        let after: Vec<&str> = told.into_iter().chain(rest).map(String::as_str).collect();
        Some(Self {
            before: wrong_thought_process[..*first_wrong_step].join("\n"),
            wrong: wrong.clone(),
            after: after.join("\n"),
        })
    }
}

/// How many of these steps, from the first on, a correction ends with.
fn num_told(correction: &str, steps: &[String]) -> usize {
    let ends_with = |text: &str| {
        let before = correction.strip_suffix(text);
        before.is_some_and(|it| it.is_empty() || it.ends_with(": ") || it.ends_with('\n'))
    };
    let lists = |count: usize| ["; ", "\n"].iter().any(|by| ends_with(&steps[..count].join(by)));
    let quoted = steps.first().is_some_and(|step| correction.ends_with(&format!("`{step}`")));
    (1..=steps.len()).rev().find(|&count| lists(count)).unwrap_or(usize::from(quoted))
}

#[cfg(test)]
mod tests {
    use limbeck_cot_data::{Family, Mistake, corrected_record, generate};

    use super::*;

    fn record(right: &[&str], wrong: &[&str], first: usize, correction: &str) -> CotRecord {
        let owned = |steps: &[&str]| steps.iter().map(|&step| step.to_owned()).collect();
        CotRecord {
            thought_process: owned(right),
            label: Label::Corrected {
                wrong_thought_process: owned(wrong),
                first_wrong_step: first,
                correction: correction.to_owned(),
            },
            ..CotRecord::default()
        }
    }

    fn parts(record: &CotRecord) -> [String; 3] {
        let CorrectedChain { before, wrong, after } = CorrectedChain::of(record).unwrap();
        [before, wrong, after]
    }

    #[test]
    fn it_goes_on_from_the_step_that_was_put_right() {
        let of = |correction| record(&["a", "b", "c", "d"], &["a", "x", "y"], 1, correction);
        let quoted = parts(&of("not `x` but `b`"));
        assert_eq!(quoted, ["a", "x", "not `x` but `b`\nc\nd"]);
        assert_eq!(parts(&of("that is wrong")), ["a", "x", "that is wrong\nb\nc\nd"]);
        assert_eq!(parts(&of("it goes on: b; c; d")), ["a", "x", "it goes on: b; c; d"]);
        assert_eq!(parts(&of("b\nc")), ["a", "x", "b\nc\nd"]);
        assert_eq!(parts(&of("")), ["a", "x", "b\nc\nd"]);
        assert_eq!(parts(&of("ab")), ["a", "x", "ab\nb\nc\nd"], "the end of a word is no step");
    }

    #[test]
    fn another_way_is_told_from_its_start_and_an_early_stop_goes_on() {
        let other = record(&["p", "q"], &["a", "x"], 1, "no");
        assert_eq!(parts(&other), ["a", "x", "no\np\nq"]);
        let stopped = record(&["a", "b", "c"], &["a", "b"], 1, "it goes on: c");
        assert_eq!(parts(&stopped), ["a", "b", "it goes on: c"]);
        let first = record(&["a", "b"], &["x", "b"], 0, "no");
        assert_eq!(parts(&first), ["", "x", "no\na\nb"]);
    }

    #[test]
    fn made_corrections_lead_to_the_right_end_and_say_nothing_twice() {
        let mut num_made = 0;
        for number in 0..40 {
            let right = generate(Family::Arith, 3, 5, number).unwrap();
            for mistake in Mistake::ALL {
                let Some(corrected) = corrected_record(&right, mistake, 1) else { continue };
                let CorrectedChain { before, after, .. } = CorrectedChain::of(&corrected).unwrap();
                let last = right.thought_process.last().unwrap();
                let end = after.trim_end_matches('`');
                let one_too_many = after.ends_with("the chain ends before it");
                assert!(end.ends_with(last.as_str()) || one_too_many, "{mistake}: {after}");
                assert!(right.reasoning().starts_with(&before), "{mistake}: {before}");
                num_made += 1;
            }
        }
        assert!(num_made > 100, "{num_made}");
    }

    #[test]
    fn other_labels_have_none() {
        assert_eq!(CorrectedChain::of(&CotRecord::default()), None);
    }
}
