//! What the page shows, in words: the template only places it.

use std::collections::{BTreeSet, HashSet};

use serde::Serialize;

use super::ablation::AblationView;
use super::cost::CostView;
use super::curves::CurvesView;
use super::format;
use super::{Comparison, DomainAdapter, Model, Report, domains, table};
use crate::evaluation::Evaluation;
use crate::sample::{Sample, Step};
use crate::scores::Scores;
use crate::statistics::{PairedDifference, Proportion};

/// Replies shown of each model.
const RIGHT_SHOWN: usize = 2;
const WRONG_SHOWN: usize = 3;

#[derive(Debug, Serialize)]
pub(super) struct View {
    title: String,
    problems: String,
    generation: String,
    models: Vec<ModelView>,
    /// Families and levels of the heat tables.
    levels: Vec<u8>,
    comparisons: Vec<ComparisonView>,
    domains: Option<DomainsView>,
    ablation: Option<AblationView>,
    curves: Option<CurvesView>,
    cost: Option<CostView>,
    /// Names of inputs, over all models.
    inputs: Vec<String>,
    has_provenance: bool,
}

/// The table of adapters.
#[derive(Debug, Serialize)]
struct DomainsView {
    headings: [&'static str; 6],
    rows: Vec<Vec<String>>,
}

#[derive(Debug, Serialize)]
struct ModelView {
    name: String,
    accuracy: Rate,
    cot_completion: Rate,
    divergence: Option<String>,
    truncation: Rate,
    unanswered: Rate,
    reply_tokens: String,
    parameters: String,
    size: String,
    speed: String,
    memory: String,
    heat: Vec<HeatRow>,
    right: Vec<SampleView>,
    wrong: Vec<SampleView>,
    provenance: Option<ProvenanceView>,
}

/// A proportion as text, and as per cent for the chart.
#[derive(Debug, Serialize)]
struct Rate {
    percent: String,
    interval: String,
    n: u64,
    width: f64,
    low: f64,
    high: f64,
}

/// A family's cells: one for each level, then all levels together.
#[derive(Debug, Serialize)]
struct HeatRow {
    family: String,
    cells: Vec<Option<HeatCell>>,
}

/// A proportion where room is short, with its share of the full colour.
#[derive(Debug, Serialize)]
struct HeatCell {
    percent: String,
    interval: String,
    n: u64,
    share: f64,
}

#[derive(Debug, Serialize)]
struct ComparisonView {
    first: String,
    second: String,
    accuracy: DifferenceView,
    cot_completion: DifferenceView,
    ratio: String,
    only_one: String,
    n: u64,
    p_value: String,
}

#[derive(Debug, Serialize)]
struct DifferenceView {
    points: String,
    interval: String,
}

#[derive(Debug, Serialize)]
struct SampleView {
    id: String,
    group: String,
    question: String,
    expected: String,
    answer: String,
    remark: String,
    steps: Vec<StepView>,
    /// The reply as it is, where there are no steps to show.
    raw: Option<String>,
}

#[derive(Debug, Serialize)]
struct StepView {
    text: String,
    /// `ok`, `wrong` or `unchecked`.
    verdict: &'static str,
    mark: &'static str,
}

#[derive(Debug, Serialize)]
struct ProvenanceView {
    seed: u64,
    device: String,
    commit: String,
    version: String,
    /// Shortened hashes, in the order of [`View::inputs`].
    inputs: Vec<String>,
    nondeterministic: String,
}

impl View {
    pub(super) fn new(report: &Report) -> Self {
        let evaluations = || report.models.iter().map(|model| &model.evaluation);
        let levels: BTreeSet<u8> = evaluations()
            .flat_map(|evaluation| evaluation.groups.iter().filter_map(|group| group.level))
            .collect();
        let levels: Vec<u8> = levels.into_iter().collect();
        let inputs: BTreeSet<String> = report
            .models
            .iter()
            .filter_map(|model| model.provenance.as_ref())
            .flat_map(|provenance| provenance.inputs.keys().cloned())
            .collect();
        let inputs: Vec<String> = inputs.into_iter().collect();
        let models =
            report.models.iter().map(|model| ModelView::new(model, &levels, &inputs)).collect();
        Self {
            title: report.title.clone(),
            problems: table::problems(report),
            generation: generation(evaluations()),
            models,
            levels,
            comparisons: report.comparisons.iter().map(ComparisonView::new).collect(),
            domains: (!report.domains.is_empty()).then(|| DomainsView {
                headings: domains::HEADINGS,
                rows: report.domains.iter().map(DomainAdapter::row).collect(),
            }),
            ablation: report.ablation.as_ref().map(AblationView::new),
            curves: CurvesView::new(&report.trainings),
            cost: CostView::new(&evaluations().collect::<Vec<_>>()),
            inputs,
            has_provenance: report.models.iter().any(|model| model.provenance.is_some()),
        }
    }
}

/// How replies were generated, if all models agree on it.
fn generation<'a>(mut evaluations: impl Iterator<Item = &'a Evaluation>) -> String {
    let words = |evaluation: &Evaluation| {
        let config = &evaluation.config;
        let choice = if config.temperature == 0.0 {
            "greedy decoding".to_owned()
        } else {
            format!(
                "sampling at temperature {}, top-p {}, seed {}",
                config.temperature, config.top_p, config.seed
            )
        };
        format!("{choice}, at most {} new tokens", config.max_new_tokens)
    };
    let first = evaluations.next().map(words).unwrap_or_default();
    if evaluations.all(|evaluation| words(evaluation) == first) {
        first
    } else {
        "settings of generation differ between the models: see each evaluation.json".to_owned()
    }
}

impl ModelView {
    fn new(model: &Model, levels: &[u8], inputs: &[String]) -> Self {
        let Evaluation { model: name, overall, cost, samples, divergence, .. } = &model.evaluation;
        let provenance = model.provenance.as_ref().map(|provenance| ProvenanceView {
            seed: provenance.seed,
            device: provenance.device.clone(),
            commit: provenance.commit.as_deref().map_or_else(|| "–".to_owned(), short),
            version: provenance.version.clone(),
            inputs: inputs
                .iter()
                .map(|name| {
                    provenance.inputs.get(name).map_or_else(|| "–".to_owned(), |hash| short(hash))
                })
                .collect(),
            nondeterministic: if provenance.nondeterministic.is_empty() {
                "nothing".to_owned()
            } else {
                provenance.nondeterministic.join(", ")
            },
        });
        Self {
            name: name.clone(),
            accuracy: Rate::new(&overall.accuracy),
            cot_completion: Rate::new(&overall.cot_completion),
            divergence: divergence.as_ref().map(format::divergence),
            truncation: Rate::new(&overall.truncation),
            unanswered: Rate::new(&overall.unanswered),
            reply_tokens: format::whole(overall.mean_reply_tokens),
            parameters: format::count(cost.parameters),
            size: format::bytes(cost.weight_bytes),
            speed: format::whole(cost.tokens_per_second),
            memory: cost.peak_memory_bytes.map_or_else(|| "–".to_owned(), format::bytes),
            heat: heat(&model.evaluation, levels),
            right: pick(samples, true, RIGHT_SHOWN),
            wrong: pick(samples, false, WRONG_SHOWN),
            provenance,
        }
    }
}

fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}

fn heat(evaluation: &Evaluation, levels: &[u8]) -> Vec<HeatRow> {
    let scores = |family: &str, level: Option<u8>| -> Option<&Scores> {
        let mut groups = evaluation.groups.iter();
        let found = groups.find(|group| group.family == family && group.level == level)?;
        Some(&found.scores)
    };
    let columns = || levels.iter().map(|&level| Some(level)).chain([None]);
    evaluation
        .groups
        .iter()
        .filter(|group| group.level.is_none())
        .map(|group| HeatRow {
            family: group.family.clone(),
            cells: columns()
                .map(|level| {
                    scores(&group.family, level).map(|scores| HeatCell::new(&scores.accuracy))
                })
                .collect(),
        })
        .collect()
}

impl Rate {
    fn new(proportion: &Proportion) -> Self {
        let percent = |value: f64| (1000.0 * value).round() / 10.0;
        Self {
            percent: format::percent(proportion.value),
            interval: format::interval(proportion),
            n: proportion.n,
            width: percent(proportion.value),
            low: percent(proportion.low),
            high: percent(proportion.high),
        }
    }
}

impl HeatCell {
    fn new(proportion: &Proportion) -> Self {
        Self {
            percent: format::whole_percent(proportion.value),
            interval: format::whole_interval(proportion),
            n: proportion.n,
            // Squared, as most cells of a useful model lie in the upper half.
            share: (100.0 * proportion.value.powi(2)).round() / 100.0,
        }
    }
}

impl ComparisonView {
    fn new(comparison: &Comparison) -> Self {
        Self {
            first: comparison.first.clone(),
            second: comparison.second.clone(),
            accuracy: DifferenceView::new(&comparison.accuracy),
            cot_completion: DifferenceView::new(&comparison.cot_completion),
            ratio: comparison.accuracy_ratio.map_or_else(|| "–".to_owned(), format::percent),
            only_one: format!(
                "{}, {}",
                comparison.accuracy.only_first, comparison.accuracy.only_second
            ),
            n: comparison.accuracy.n,
            // Kept on one line in a narrow column.
            p_value: format::p_value(comparison.adjusted_p_value).replace(' ', "\u{a0}"),
        }
    }
}

impl DifferenceView {
    fn new(difference: &PairedDifference) -> Self {
        Self {
            points: format::points(difference.difference),
            interval: format::points_interval(difference.low, difference.high),
        }
    }
}

/// Up to `count` replies that are right or wrong, of as many families as there are.
fn pick(samples: &[Sample], correct: bool, count: usize) -> Vec<SampleView> {
    let candidates: Vec<&Sample> =
        samples.iter().filter(|sample| sample.correct == correct).collect();
    let mut families = HashSet::new();
    let (firsts, others): (Vec<&Sample>, Vec<&Sample>) =
        candidates.into_iter().partition(|sample| families.insert(sample.family.as_str()));
    firsts.into_iter().chain(others).take(count).map(SampleView::new).collect()
}

impl SampleView {
    fn new(sample: &Sample) -> Self {
        let lines: Vec<&str> = sample
            .reasoning
            .as_deref()
            .unwrap_or_default()
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let steps: Vec<StepView> = lines
            .iter()
            .zip(&sample.steps)
            .map(|(line, step)| {
                let (verdict, mark) = match step {
                    Step::Ok => ("ok", "✓"),
                    Step::Wrong => ("wrong", "✗"),
                    Step::Unchecked => ("unchecked", "?"),
                };
                StepView { text: (*line).to_owned(), verdict, mark }
            })
            .collect();
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
        Self {
            id: sample.id.clone(),
            group: format!("{}, level {}", sample.family, sample.level),
            question: sample.question.clone(),
            expected: sample.expected.clone(),
            answer: sample.answer.clone(),
            remark: remarks.join("; "),
            raw: steps.is_empty().then(|| sample.reply.clone()),
            steps,
        }
    }
}
