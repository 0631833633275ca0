//! Replies counted: overall and by family and level, each number with its interval.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sample::Sample;
use crate::statistics::{Estimate, Proportion};

/// What a set of replies adds up to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// Replies.
    pub n: u64,
    /// Replies whose answer is right.
    pub accuracy: Proportion,
    /// Replies whose chain is whole ([`Sample::complete`]), among those that are text.
    pub cot_completion: Proportion,
    /// Replies cut at the token limit.
    pub truncation: Proportion,
    /// Replies that give no answer at all: no chain closed, or nothing after it. They
    /// count as wrong; this tells them from wrong answers.
    pub unanswered: Proportion,
    /// Mean tokens of a reply.
    pub mean_reply_tokens: f64,
}

impl Scores {
    /// Counts replies. Where problems were answered several times, the intervals are those of
    /// clusters ([`Proportion::of_clusters`]).
    pub fn of<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Self {
        let samples: Vec<&Sample> = samples.into_iter().collect();
        let proportion = |holds: fn(&Sample) -> bool| share(samples.iter().copied(), holds);
        let tokens: usize = samples.iter().map(|sample| sample.reply_tokens).sum();
        Self {
            n: samples.len() as u64,
            accuracy: proportion(|sample| sample.correct),
            cot_completion: share(
                samples.iter().copied().filter(|sample| sample.rated.is_none()),
                |sample| sample.complete,
            ),
            truncation: proportion(Sample::truncated),
            unanswered: proportion(|sample| sample.answer.is_empty()),
            mean_reply_tokens: tokens as f64 / samples.len().max(1) as f64,
        }
    }
}

/// The share of replies of which something holds.
fn share<'a>(samples: impl Iterator<Item = &'a Sample>, holds: fn(&Sample) -> bool) -> Proportion {
    let mut problems: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
    for sample in samples {
        let counts = problems.entry((&sample.task, &sample.id)).or_default();
        *counts = (counts.0 + u64::from(holds(sample)), counts.1 + 1);
    }
    Proportion::of_clusters(&problems.into_values().collect::<Vec<_>>())
}

/// The scores of one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskScores {
    /// The task.
    pub task: String,
    /// What all tasks have.
    pub scores: Scores,
    /// What the task's own scorers and filters measure, by name, as lm-eval writes them where it
    /// has them: `exact_match,strict-match`, `acc,none`, `acc_norm,none`, `pass@4,none`,
    /// `maj@4,none`, `recall,none`, `false_positive_rate,none`, `precision,none`, `auroc,none`.
    pub metrics: BTreeMap<String, Estimate>,
    /// Replies that failed, by reason; they count as wrong.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures: BTreeMap<String, u64>,
    /// Rows of the task's files that are no problem, such as those without an answer: they count
    /// nowhere.
    #[serde(default)]
    pub skipped: u64,
}

/// The scores of one family at one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The records' domain.
    pub family: String,
    /// The records' difficulty; `None` for all levels of the family together.
    pub level: Option<u8>,
    /// Their scores.
    pub scores: Scores,
}

impl Group {
    /// Scores by family, then by family and level, each sorted.
    pub fn all(samples: &[Sample]) -> Vec<Self> {
        let mut members: BTreeMap<(Option<u8>, &str), Vec<&Sample>> = BTreeMap::new();
        for sample in samples {
            for level in [None, Some(sample.level)] {
                members.entry((level, &sample.family)).or_default().push(sample);
            }
        }
        let mut groups: Vec<Self> = members
            .into_iter()
            .map(|((level, family), samples)| Self {
                family: family.to_owned(),
                level,
                scores: Scores::of(samples),
            })
            .collect();
        groups.sort_by(|left, right| {
            (left.level.is_some(), &left.family, left.level).cmp(&(
                right.level.is_some(),
                &right.family,
                right.level,
            ))
        });
        groups
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use limbeck_infer::FinishReason;

    use super::*;
    use crate::scorer::Verdict;

    pub(crate) fn sample(id: &str, family: &str, level: u8, correct: bool) -> Sample {
        Sample {
            task: "t".to_owned(),
            id: id.to_owned(),
            repeat: 0,
            bloom: String::new(),
            verdict: if correct { Verdict::Correct } else { Verdict::Wrong },
            filters: std::collections::BTreeMap::new(),
            rated: None,
            breakpoint: None,
            failure: None,
            family: family.to_owned(),
            level,
            question: "2 + 3?".to_owned(),
            expected: "5".to_owned(),
            reply: "5".to_owned(),
            reasoning: None,
            answer: "5".to_owned(),
            closed: true,
            finish_reason: FinishReason::Stop,
            steps: Vec::new(),
            consistent: true,
            correct,
            complete: correct,
            prompt_tokens: 4,
            reply_tokens: 10,
        }
    }

    #[test]
    fn every_rate_counts_its_own_property() {
        let mut samples =
            ["a", "b", "c", "d", "e", "f", "g", "h"].map(|id| sample(id, "x", 1, true));
        samples[0].correct = false;
        samples[1].complete = false;
        samples[2].complete = false;
        for sample in &mut samples[3..6] {
            sample.finish_reason = FinishReason::Length;
        }
        for sample in &mut samples[..4] {
            sample.answer.clear();
            sample.reply_tokens = 30;
        }
        let scores = Scores::of(&samples);
        assert_eq!(scores.n, 8);
        assert_eq!(scores.accuracy, Proportion::new(7, 8));
        assert_eq!(scores.cot_completion, Proportion::new(6, 8));
        assert_eq!(scores.truncation, Proportion::new(3, 8));
        assert_eq!(scores.unanswered, Proportion::new(4, 8));
        assert!((scores.mean_reply_tokens - 20.0).abs() < 1e-12);
        // The same replies to half as many problems tell less.
        for (sample, id) in samples.iter_mut().zip(["a", "a", "b", "b", "c", "c", "d", "d"]) {
            sample.id = id.to_owned();
        }
        let twice = Scores::of(&samples).truncation;
        assert_eq!((twice.successes, twice.n), (3, 8));
        assert!(twice.low < scores.truncation.low && twice.high > scores.truncation.high);
    }

    #[test]
    fn groups_cover_families_and_their_levels() {
        let samples = [
            sample("a", "spatial", 1, true),
            sample("b", "arithmetic", 2, false),
            sample("c", "arithmetic", 1, true),
            sample("d", "arithmetic", 2, true),
        ];
        let groups: Vec<_> = Group::all(&samples)
            .into_iter()
            .map(|group| {
                let accuracy = group.scores.accuracy;
                (group.family, group.level, accuracy.successes, accuracy.n)
            })
            .collect();
        let expected = [
            ("arithmetic", None, 2, 3),
            ("spatial", None, 1, 1),
            ("arithmetic", Some(1), 1, 1),
            ("arithmetic", Some(2), 1, 2),
            ("spatial", Some(1), 1, 1),
        ];
        assert_eq!(groups, expected.map(|(family, level, k, n)| (family.to_owned(), level, k, n)));
    }
}
