//! How hard a record is: a prior from its structure, or what a model's tries say.
//!
//! The prior counts what makes chains go wrong: steps, operations, digits, and numbers of
//! the question that no step uses. Its cut points are either fixed or quartiles of the data
//! at hand; both are relative, so levels of two data sets compare only with fixed ones.

use crate::check::{Equivalence, answers_equal, equivalence};
use crate::clean::token::{TokenKind, for_each_token};
use crate::import::chain::split_reply;
use crate::negatives::answer_of_reply;
use crate::record::CotRecord;

/// The highest level.
pub const NUM_LEVELS: u8 = 4;

/// Scores from which a record is of level 2, 3 and 4: the quartiles of GSM8K's training set,
/// rounded.
pub const DEFAULT_CUTS: [f64; 3] = [4.3, 4.9, 5.6];

/// The structure that difficulty is read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Structure {
    /// Steps that are not empty.
    pub num_steps: usize,
    /// Operators `+ - * / ^` in the chain.
    pub num_operations: usize,
    /// Digits of the longest number of question and chain.
    pub num_digits: usize,
    /// Numbers of the question that the chain does not name.
    pub num_distractors: usize,
}

impl Structure {
    /// The structure of a record.
    pub fn of(record: &CotRecord) -> Self {
        let mut structure = Self::default();
        let mut asked: Vec<String> = Vec::new();
        let mut count_digits = |word: &str| {
            let digits = word.bytes().filter(u8::is_ascii_digit).count();
            structure.num_digits = structure.num_digits.max(digits);
        };
        for_each_token(&record.question, |word, kind| {
            if kind == TokenKind::Number {
                count_digits(word);
                asked.push(word.to_owned());
            }
        });
        let mut num_operations = 0;
        for step in &record.thought_process {
            for_each_token(step, |word, kind| match kind {
                TokenKind::Number => {
                    count_digits(word);
                    asked.retain(|number| number != word);
                }
                TokenKind::Operator if matches!(word, "+" | "-" | "*" | "/" | "^") => {
                    num_operations += 1;
                }
                TokenKind::Operator | TokenKind::Word => {}
            });
        }
        structure.num_operations = num_operations;
        // Without a chain nothing is known of what is used.
        structure.num_distractors = if record.thought_process.is_empty() { 0 } else { asked.len() };
        let steps = record.thought_process.iter();
        structure.num_steps = steps.filter(|step| !step.trim().is_empty()).count();
        structure
    }

    /// The prior: higher is harder. Logarithms, since the tenth step adds less than the
    /// second.
    pub fn score(&self) -> f64 {
        let log = |count: usize| (count as f64).ln_1p();
        1.5 * log(self.num_steps)
            + log(self.num_operations)
            + 0.5 * log(self.num_digits)
            + 0.5 * log(self.num_distractors)
    }
}

/// The level, from 1, of a score.
pub fn level_of(score: f64, cuts: &[f64; 3]) -> u8 {
    1 + cuts.iter().filter(|cut| score >= **cut).count() as u8
}

/// The quartiles of scores, as cut points; zeros where there are none. Equal scores get
/// one level, so levels need not be of one size.
pub fn quartile_cuts(scores: &[f64]) -> [f64; 3] {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| sorted.get(sorted.len() * quarter / 4).copied().unwrap_or(0.0))
}

/// Whether a model's whole reply gives a record's answer; one that was cut off or gives none
/// does not.
pub fn passes(record: &CotRecord, text: &str) -> bool {
    let Ok(reply) = split_reply(text) else { return false };
    answer_of_reply(&reply.rest).is_some_and(|answer| {
        answers_equal(answer, &record.answer)
            || equivalence(answer, &record.answer) == Equivalence::Equal
    })
}

/// The level, from 1, of a problem that a model solved in so many of its tries. The rate is
/// drawn to a half by two tries more, one of them a success, so that a single try says
/// little; a rate of 0.75 or more is level 1, below 0.25 level 4.
pub fn level_of_pass_rate(num_passed: u64, num_tries: u64) -> u8 {
    let rate = (num_passed.min(num_tries) + 1) as f64 / (num_tries + 2) as f64;
    1 + [0.75, 0.5, 0.25].into_iter().filter(|least| rate < *least).count() as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Family, Shard, generate_many};

    #[test]
    fn structure_is_counted_by_hand() {
        let record = CotRecord {
            question: "Ann, 45, has 3 boxes of 120 pens. How many pens?".to_owned(),
            thought_process: vec!["3 * 120 = 360".to_owned(), String::new()],
            ..CotRecord::default()
        };
        let expect =
            Structure { num_steps: 1, num_operations: 1, num_digits: 3, num_distractors: 1 };
        assert_eq!(Structure::of(&record), expect);
        let without = CotRecord { thought_process: Vec::new(), ..record };
        assert_eq!(Structure::of(&without).num_distractors, 0);
    }

    #[test]
    fn the_prior_rises_with_the_level_that_generators_construct() {
        for family in Family::ALL {
            let mean = |level: u8| {
                let records = generate_many(family, Some(level), 60, 2, Shard::WHOLE).unwrap();
                records.iter().map(|record| Structure::of(record).score()).sum::<f64>() / 60.0
            };
            let means = [1, 2, 3, 4].map(mean);
            assert!(means.is_sorted(), "{family:?}: {means:?}");
        }
    }

    #[test]
    fn a_reply_passes_by_its_answer() {
        let record = CotRecord { answer: "1/2".to_owned(), ..CotRecord::default() };
        for (text, expect) in [
            ("<think>\n1-1/2=1/2\n</think>\n\n0.5", true),
            ("<think>\n1-1/2=1/2\n</think>\n\nSo it is\n\\boxed{\\frac{1}{2}}", true),
            ("<think>\n1/2\n</think>\n\n2", false),
            ("<think>\n1-1/2=1/2", false),
            ("", false),
        ] {
            assert_eq!(passes(&record, text), expect, "{text}");
        }
    }

    #[test]
    fn levels_follow_cut_points_and_quartiles() {
        assert_eq!(
            [0.0, 1.0, 2.5, 9.0].map(|score| level_of(score, &[1.0, 2.0, 3.0])),
            [1, 2, 3, 4]
        );
        let scores: Vec<f64> = (0..100).map(f64::from).collect();
        let cuts = quartile_cuts(&scores);
        assert_eq!(format!("{cuts:?}"), "[25.0, 50.0, 75.0]");
        let third = scores.iter().filter(|score| level_of(**score, &cuts) == 3).count();
        assert_eq!(third, 25);
        assert_eq!(format!("{:?}", quartile_cuts(&[])), "[0.0, 0.0, 0.0]");
    }

    #[test]
    fn a_pass_rate_needs_tries_to_say_much() {
        for (num_passed, num_tries, expect) in
            [(0, 0, 2), (1, 1, 2), (0, 1, 3), (8, 8, 1), (0, 8, 4), (4, 8, 2), (3, 8, 3), (9, 8, 1)]
        {
            let found = level_of_pass_rate(num_passed, num_tries);
            assert_eq!(found, expect, "{num_passed} of {num_tries}");
        }
    }
}
