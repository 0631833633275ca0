//! Replies to read: the worst of each model beside those of the reference, and some right
//! ones.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::super::format;
use crate::evaluation::Evaluation;
use crate::sample::{Sample, Step};
use crate::scorer::Verdict;

/// What the page holds of replies, so that it stays readable and below 5 MB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Replies that are not right, of each model.
    pub(crate) wrong: usize,
    /// Right ones, of each model.
    pub(crate) right: usize,
    /// Bytes of all texts together.
    pub(crate) bytes: usize,
    /// Characters of a text; what is beyond is cut and said.
    pub(crate) text: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { wrong: 40, right: 3, bytes: 2_500_000, text: 6_000 }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct SamplesView {
    pub(crate) title: &'static str,
    pub(crate) samples: Vec<SampleView>,
    /// The model whose chains stand beside the others'.
    pub(crate) reference: String,
    pub(crate) models: Vec<String>,
    pub(crate) domains: Vec<String>,
    pub(crate) verdicts: Vec<&'static str>,
    pub(crate) kinds: Vec<&'static str>,
    /// Replies that are not right and not shown.
    pub(crate) left_out: u64,
    pub(crate) note: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct SampleView {
    pub(crate) model: String,
    pub(crate) id: String,
    pub(crate) domain: String,
    pub(crate) group: String,
    pub(crate) verdict: &'static str,
    pub(crate) mark: &'static str,
    /// Empty without a first wrong step.
    pub(crate) kind: &'static str,
    pub(crate) question: String,
    pub(crate) expected: String,
    pub(crate) chains: Vec<ChainView>,
}

/// A reply's chain, step by step.
#[derive(Debug, Serialize)]
pub(crate) struct ChainView {
    pub(crate) model: String,
    pub(crate) answer: String,
    pub(crate) verdict: &'static str,
    pub(crate) remark: String,
    pub(crate) steps: Vec<StepView>,
    /// The reply as it is, where there are no steps to show.
    pub(crate) raw: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct StepView {
    text: String,
    /// `ok`, `wrong` or `unchecked`.
    verdict: &'static str,
    mark: &'static str,
    /// Where the chain goes wrong: what, how sure, and what tells.
    breakpoint: Option<String>,
}

impl SamplesView {
    pub(crate) fn new(evaluations: &[&Evaluation], limits: Limits) -> Self {
        let reference = evaluations
            .iter()
            .find(|evaluation| evaluation.model == "teacher")
            .or(evaluations.first())
            .copied();
        let known: HashMap<(&str, &str), &Sample> = reference
            .iter()
            .flat_map(|evaluation| &evaluation.samples)
            .filter(|sample| sample.repeat == 0)
            .map(|sample| ((sample.task.as_str(), sample.id.as_str()), sample))
            .collect();
        let reference = reference.map(|evaluation| evaluation.model.clone()).unwrap_or_default();
        let mut views = Vec::new();
        let (mut bytes, mut left_out) = (0, 0);
        for evaluation in evaluations {
            let beside = |sample: &Sample| {
                let own = evaluation.model == reference;
                known.get(&(sample.task.as_str(), sample.id.as_str())).copied().filter(|_| !own)
            };
            let mut wrong: Vec<&Sample> =
                evaluation.samples.iter().filter(|sample| !sample.correct).collect();
            wrong.sort_by_key(|sample| badness(sample, beside(sample)));
            let right = evaluation.samples.iter().filter(|sample| sample.correct);
            let right = by_turns(right.collect()).into_iter().take(limits.right);
            let count = wrong.len();
            let wrong = by_turns(wrong).into_iter().take(limits.wrong);
            let mut shown = 0;
            for sample in wrong.chain(right) {
                let beside_length = beside(sample).map_or(0, |beside| weight(beside, limits));
                let length = weight(sample, limits) + beside_length;
                if bytes + length > limits.bytes {
                    continue;
                }
                bytes += length;
                shown += usize::from(!sample.correct);
                views.push(SampleView::new(
                    &evaluation.model,
                    sample,
                    &reference,
                    beside(sample),
                    limits,
                ));
            }
            left_out += (count - shown) as u64;
        }
        let models = evaluations.iter().map(|evaluation| evaluation.model.clone()).collect();
        let note = format!(
            "Of each model up to {} replies that are not right, those first that {reference} gets \
             right and that are easy, from all families in turn; then {} right ones.",
            limits.wrong, limits.right
        );
        Self::of(views, models, reference, left_out, note)
    }

    /// Collects what there is to filter by.
    pub(crate) fn of(
        samples: Vec<SampleView>,
        models: Vec<String>,
        reference: String,
        left_out: u64,
        note: String,
    ) -> Self {
        let domains: BTreeSet<&str> = samples.iter().map(|sample| sample.domain.as_str()).collect();
        let kinds: BTreeSet<&'static str> =
            samples.iter().map(|sample| sample.kind).filter(|kind| !kind.is_empty()).collect();
        Self {
            title: "Samples",
            domains: domains.into_iter().map(str::to_owned).collect(),
            verdicts: Verdict::ALL.map(Verdict::name).to_vec(),
            kinds: kinds.into_iter().collect(),
            samples,
            reference,
            models,
            left_out,
            note,
        }
    }
}

/// What comes first: easy problems that the reference solves, with a sure first wrong step.
fn badness(sample: &Sample, beside: Option<&Sample>) -> (bool, u8, u32) {
    let solved = beside.is_some_and(|reference| reference.correct);
    let confidence = sample.breakpoint.as_ref().map_or(0.0, |found| found.confidence);
    (!solved, sample.level, 1000 - (1000.0 * confidence.clamp(0.0, 1.0)) as u32)
}

/// The samples with the families in turn, in their order within each.
fn by_turns(samples: Vec<&Sample>) -> Vec<&Sample> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut turns: Vec<(usize, &Sample)> = samples
        .into_iter()
        .map(|sample| {
            let turn = seen.entry(sample.family.as_str()).or_default();
            *turn += 1;
            (*turn, sample)
        })
        .collect();
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, sample)| sample).collect()
}

/// About how many bytes a sample adds to the page.
fn weight(sample: &Sample, limits: Limits) -> usize {
    let (whole, shown) = (sample.reply.len().max(1), sample.reply.len().min(limits.text));
    let steps = 80 * sample.steps.len() * shown / whole;
    500 + sample.question.len().min(limits.text) + shown + steps
}

impl SampleView {
    pub(crate) fn new(
        model: &str,
        sample: &Sample,
        reference: &str,
        beside: Option<&Sample>,
        limits: Limits,
    ) -> Self {
        let mut chains = vec![ChainView::new(model, sample, limits)];
        chains.extend(beside.map(|beside| ChainView::new(reference, beside, limits)));
        let group = match sample.bloom.as_str() {
            "" => format!("{}, level {}", sample.family, sample.level),
            bloom => format!("{}, level {}, {bloom}", sample.family, sample.level),
        };
        Self {
            model: model.to_owned(),
            id: sample.id.clone(),
            domain: sample.family.clone(),
            group,
            verdict: sample.verdict.name(),
            mark: if sample.correct { "✓" } else { "✗" },
            kind: sample.breakpoint.as_ref().map_or("", |found| format::error_kind(found.kind)),
            question: cut(&sample.question, limits.text),
            expected: cut(&sample.expected, limits.text),
            chains,
        }
    }
}

impl ChainView {
    fn new(model: &str, sample: &Sample, limits: Limits) -> Self {
        // A reply without a block for its chain is the chain itself.
        let lines: Vec<&str> = sample
            .reasoning
            .as_deref()
            .unwrap_or(&sample.reply)
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let found = sample.breakpoint.as_ref();
        let words = found.map(|found| {
            let (kind, evidence) =
                (format::error_kind(found.kind), format::evidence(found.evidence));
            format!("{kind}, {:.0}% sure: {evidence}", 100.0 * found.confidence)
        });
        let mut length = 0;
        let mut steps: Vec<StepView> = Vec::new();
        for (index, (line, step)) in lines.iter().zip(&sample.steps).enumerate() {
            length += line.len();
            if length > limits.text {
                let left = sample.steps.len() - index;
                steps.push(StepView {
                    text: format!("… {left} more steps"),
                    verdict: "unchecked",
                    mark: "",
                    breakpoint: None,
                });
                break;
            }
            let (verdict, mark) = match step {
                Step::Ok => ("ok", "✓"),
                Step::Wrong => ("wrong", "✗"),
                Step::Unchecked => ("unchecked", "?"),
            };
            let here = found.is_some_and(|found| found.step == index);
            let breakpoint = words.clone().filter(|_| here);
            steps.push(StepView { text: (*line).to_owned(), verdict, mark, breakpoint });
        }
        let shown = steps.iter().any(|step| step.breakpoint.is_some());
        let mut remarks: Vec<String> = remarks(sample).into_iter().map(str::to_owned).collect();
        remarks.extend(sample.failure.clone());
        if let (Some(words), false) = (words, shown) {
            remarks.push(format!("goes wrong after the steps shown ({words})"));
        }
        // Of a reply that is all chain, the end is the answer.
        let answer = match sample.reasoning {
            None if !steps.is_empty() => sample.answer.trim().lines().last().unwrap_or_default(),
            _ => sample.answer.as_str(),
        };
        Self {
            model: model.to_owned(),
            answer: cut(answer, limits.text),
            verdict: sample.verdict.name(),
            remark: remarks.join("; "),
            raw: steps.is_empty().then(|| cut(&sample.reply, limits.text)),
            steps,
        }
    }
}

fn remarks(sample: &Sample) -> Vec<&'static str> {
    let mut remarks = Vec::new();
    if sample.truncated() {
        remarks.push("cut at the token limit");
    }
    if !sample.closed {
        remarks.push(if sample.reasoning.is_some() { "chain not closed" } else { "no chain" });
    }
    if sample.correct && !sample.complete && sample.closed {
        remarks.push("right answer, chain not sound");
    }
    if !sample.correct && sample.complete {
        remarks.push("sound chain, wrong answer");
    }
    remarks
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => {
            format!("{} … ({} more characters)", &text[..end], text[end..].chars().count())
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scores::tests::sample;

    #[test]
    fn easy_problems_that_the_reference_solves_come_first_and_families_take_turns() {
        let solved = sample("r", "x", 1, true);
        let (easy, hard) = (sample("a", "x", 1, false), sample("b", "x", 3, false));
        let mut order = [(&hard, Some(&solved)), (&easy, None), (&easy, Some(&solved))];
        order.sort_by_key(|(sample, beside)| badness(sample, *beside));
        assert!(order[0].0.id == "a" && order[0].1.is_some() && order[2].1.is_none());
        let samples =
            [("a", "x"), ("b", "x"), ("c", "y")].map(|(id, family)| sample(id, family, 1, true));
        let ids: Vec<&str> =
            by_turns(samples.iter().collect()).iter().map(|sample| sample.id.as_str()).collect();
        assert_eq!(ids, ["a", "c", "b"]);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("ééé", 2), "éé … (1 more characters)");
        assert_eq!(cut("éé", 2), "éé");
    }
}
