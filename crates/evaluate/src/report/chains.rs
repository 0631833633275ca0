//! What became of the answers, and how the chains before them hold up: the figures behind the
//! page's charts.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::chain::{ErrorKind, Evidence};
use crate::sample::{Sample, Step};
use crate::scorer::Verdict;
use crate::statistics::Proportion;

/// Steps that have a count of their own; later ones share the last.
pub const STEPS: usize = 12;
/// Parts that a chain is divided into for the relative place of its first wrong step.
pub const PARTS: usize = 10;

/// How a model's chains hold up.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChainQuality {
    /// Answers by what became of them.
    pub verdicts: BTreeMap<Verdict, u64>,
    /// Chains that were closed, among all replies that are text.
    pub closed: Proportion,
    /// Steps that hold among those that can be checked. The steps of a chain depend on each
    /// other: the interval, which counts them as independent, is too narrow.
    pub step_validity: Proportion,
    /// Steps that have a form that can be checked, among all.
    pub checked_steps: Proportion,
    /// Replies whose last step concludes what they answer, among those with a chain and an
    /// answer.
    pub consistency: Proportion,
    /// Right answers whose chain has a wrong step, among the right answers.
    pub right_by_wrong_steps: Proportion,
    /// Chains with a first wrong step.
    pub breakpoints: u64,
    /// Those by the step, from the first; the last count is of [`STEPS`] and later.
    pub by_step: Vec<u64>,
    /// Those by the tenth of the chain that the step lies in.
    pub by_position: Vec<u64>,
    /// By what is wrong.
    pub kinds: BTreeMap<ErrorKind, u64>,
    /// By what tells.
    pub evidence: BTreeMap<Evidence, u64>,
    /// By domain.
    pub by_domain: Vec<ErrorGroup>,
    /// By difficulty.
    pub by_level: Vec<ErrorGroup>,
    /// By level of Bloom's taxonomy, where it is known.
    pub by_bloom: Vec<ErrorGroup>,
}

/// First wrong steps among the replies of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ErrorGroup {
    /// What the replies have in common.
    pub name: String,
    /// Their number.
    pub replies: u64,
    /// How many of them are right.
    pub accuracy: Proportion,
    /// First wrong steps by what is wrong.
    pub kinds: BTreeMap<ErrorKind, u64>,
}

impl ChainQuality {
    /// Counts replies.
    pub fn of(samples: &[Sample]) -> Self {
        let steps = || samples.iter().flat_map(|sample| &sample.steps);
        let mut quality = Self {
            verdicts: Verdict::ALL.into_iter().map(|verdict| (verdict, 0)).collect(),
            closed: Proportion::of(
                samples.iter().filter(|sample| sample.rated.is_none()).map(|sample| sample.closed),
            ),
            step_validity: Proportion::of(
                steps().filter(|step| **step != Step::Unchecked).map(|step| *step == Step::Ok),
            ),
            checked_steps: Proportion::of(steps().map(|step| *step != Step::Unchecked)),
            consistency: Proportion::of(
                samples
                    .iter()
                    .filter(|sample| !sample.steps.is_empty() && !sample.answer.trim().is_empty())
                    .map(|sample| sample.consistent),
            ),
            right_by_wrong_steps: Proportion::of(
                samples.iter().filter(|sample| sample.correct).map(|sample| {
                    sample.breakpoint.is_some() || sample.steps.contains(&Step::Wrong)
                }),
            ),
            breakpoints: 0,
            by_step: vec![0; STEPS],
            by_position: vec![0; PARTS],
            kinds: BTreeMap::new(),
            evidence: BTreeMap::new(),
            by_domain: grouped(samples, |sample| Some((0, sample.family.clone()))),
            by_level: grouped(samples, |sample| {
                Some((usize::from(sample.level), format!("level {}", sample.level)))
            }),
            by_bloom: grouped(samples, |sample| {
                (!sample.bloom.is_empty())
                    .then(|| (bloom_rank(&sample.bloom), sample.bloom.clone()))
            }),
        };
        for sample in samples {
            *quality.verdicts.entry(sample.verdict).or_default() += 1;
            let Some(found) = &sample.breakpoint else { continue };
            quality.breakpoints += 1;
            quality.by_step[found.step.min(STEPS - 1)] += 1;
            // A breakpoint behind the last step is the answer's: it belongs to the last part.
            let part = PARTS * found.step / sample.steps.len().max(1);
            quality.by_position[part.min(PARTS - 1)] += 1;
            *quality.kinds.entry(found.kind).or_default() += 1;
            *quality.evidence.entry(found.evidence).or_default() += 1;
        }
        quality
    }
}

fn grouped(
    samples: &[Sample],
    key: impl Fn(&Sample) -> Option<(usize, String)>,
) -> Vec<ErrorGroup> {
    let mut members: BTreeMap<(usize, String), Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        if let Some(key) = key(sample) {
            members.entry(key).or_default().push(sample);
        }
    }
    members
        .into_iter()
        .map(|((_, name), members)| {
            let mut kinds = BTreeMap::new();
            for found in members.iter().filter_map(|sample| sample.breakpoint.as_ref()) {
                *kinds.entry(found.kind).or_default() += 1;
            }
            ErrorGroup {
                name,
                replies: members.len() as u64,
                accuracy: Proportion::of(members.iter().map(|sample| sample.correct)),
                kinds,
            }
        })
        .collect()
}

/// The place of a level in Bloom's revised taxonomy (Anderson and Krathwohl 2001); what is no
/// level of it comes last.
fn bloom_rank(name: &str) -> usize {
    const LEVELS: [&str; 6] = ["remember", "understand", "apply", "analyze", "evaluate", "create"];
    let name = name.to_lowercase().replace("analyse", "analyze");
    LEVELS.iter().position(|level| name.starts_with(level)).unwrap_or(LEVELS.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Breakpoint;
    use crate::scores::tests::sample;

    fn broken(id: &str, level: u8, step: usize, kind: ErrorKind) -> Sample {
        let mut sample = sample(id, "arithmetic", level, false);
        sample.steps = vec![Step::Ok, Step::Wrong, Step::Unchecked, Step::Ok];
        sample.breakpoint =
            Some(Breakpoint { step, kind, confidence: 1.0, evidence: Evidence::Check });
        sample
    }

    #[test]
    fn first_wrong_steps_are_counted_by_place_and_kind() {
        let mut samples = vec![
            broken("a", 1, 1, ErrorKind::Arithmetic),
            broken("b", 2, 3, ErrorKind::Copy),
            broken("c", 2, 40, ErrorKind::Conclusion),
            sample("d", "spatial", 1, true),
        ];
        samples[0].bloom = "Analyse".to_owned();
        samples[3].bloom = "apply".to_owned();
        let quality = ChainQuality::of(&samples);
        assert_eq!(quality.breakpoints, 3);
        assert_eq!((quality.by_step[1], quality.by_step[3], quality.by_step[11]), (1, 1, 1));
        // Steps 1 and 3 of 4 begin at a quarter and at three quarters; 40 is beyond the end.
        assert_eq!((quality.by_position[2], quality.by_position[7]), (1, 1));
        assert_eq!(quality.by_position[9], 1);
        assert_eq!(quality.step_validity, Proportion::new(6, 9));
        assert_eq!(quality.checked_steps, Proportion::new(9, 12));
        assert_eq!(quality.verdicts[&Verdict::Wrong], 3);
        assert_eq!(quality.verdicts[&Verdict::Truncated], 0);
        let levels: Vec<(&str, u64, usize)> = quality
            .by_level
            .iter()
            .map(|group| (group.name.as_str(), group.replies, group.kinds.len()))
            .collect();
        assert_eq!(levels, [("level 1", 2, 1), ("level 2", 2, 2)]);
        let blooms: Vec<&str> = quality.by_bloom.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(blooms, ["apply", "Analyse"]);
    }

    #[test]
    fn consistency_is_of_replies_with_a_chain_and_an_answer() {
        let mut samples =
            vec![broken("a", 1, 1, ErrorKind::Copy), broken("b", 1, 1, ErrorKind::Copy)];
        samples[0].consistent = false;
        samples[1].answer.clear();
        samples.push(sample("c", "spatial", 1, true));
        let quality = ChainQuality::of(&samples);
        assert_eq!(quality.consistency, Proportion::new(0, 1));
        assert_eq!(quality.right_by_wrong_steps, Proportion::new(0, 1));
    }
}
