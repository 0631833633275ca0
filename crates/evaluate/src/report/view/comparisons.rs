//! Models against models, what each stage gained and forgot, and how replies fit a domain.

use serde::Serialize;

use super::super::chart::{Forest, Interval, Table, Words};
use super::super::{Comparison, DomainAdapter, Report, conclusion, domains, format};
use crate::fit::DomainFit;

#[derive(Debug, Serialize)]
pub(crate) struct ComparisonsView {
    chart: Option<Forest>,
    rows: Vec<ComparisonView>,
    count: usize,
}

#[derive(Debug, Serialize)]
struct ComparisonView {
    first: String,
    second: String,
    sign: &'static str,
    style: &'static str,
    conclusion: String,
    accuracy: DifferenceView,
    cot_completion: DifferenceView,
    ratio: String,
    only_one: String,
    n: u64,
    p_value: String,
    detectable: String,
}

#[derive(Debug, Serialize)]
struct DifferenceView {
    points: String,
    interval: String,
}

impl ComparisonsView {
    /// `None` without comparisons.
    pub(crate) fn new(comparisons: &[Comparison]) -> Option<Self> {
        let rows = comparisons.iter().map(interval).collect();
        let words = Words::new(
            "paired",
            "Difference of accuracy",
            "Percentage points of the first model over the second, with the 95% interval by \
             paired bootstrap over problems. ▲ better, ▼ worse, = and grey: no difference shown.",
        );
        (!comparisons.is_empty()).then(|| Self {
            chart: Forest::new(words, rows),
            rows: comparisons.iter().map(ComparisonView::new).collect(),
            count: comparisons.len(),
        })
    }
}

/// A comparison as a row of a chart.
pub(super) fn interval(comparison: &Comparison) -> Interval {
    let accuracy = &comparison.accuracy;
    Interval {
        name: format!("{} vs {}", comparison.first, comparison.second),
        detail: format!(
            "{} {}",
            conclusion::sign(comparison.conclusion),
            format::change(accuracy.difference, accuracy.low, accuracy.high),
        ),
        value: 100.0 * accuracy.difference,
        low: 100.0 * accuracy.low,
        high: 100.0 * accuracy.high,
        style: conclusion::style(comparison.conclusion),
    }
}

impl ComparisonView {
    fn new(comparison: &Comparison) -> Self {
        let difference = |difference: &crate::PairedDifference| DifferenceView {
            points: format::points(difference.difference),
            interval: format::points_interval(difference.low, difference.high),
        };
        Self {
            first: comparison.first.clone(),
            second: comparison.second.clone(),
            sign: conclusion::sign(comparison.conclusion),
            style: conclusion::style(comparison.conclusion),
            conclusion: comparison.conclusion.to_string(),
            accuracy: difference(&comparison.accuracy),
            cot_completion: difference(&comparison.cot_completion),
            ratio: comparison.accuracy_ratio.map_or_else(|| "–".to_owned(), format::percent),
            only_one: format!(
                "{}, {}",
                comparison.accuracy.only_first, comparison.accuracy.only_second
            ),
            n: comparison.accuracy.n,
            // Kept on one line in a narrow column.
            p_value: format::p_value(comparison.adjusted_p_value).replace(' ', "\u{a0}"),
            detectable: comparison
                .detectable_difference
                .map_or_else(|| "–".to_owned(), |value| format!("{:.1}", 100.0 * value)),
        }
    }
}

/// What stages and adapters gained and lost.
#[derive(Debug, Serialize)]
pub(super) struct ForgettingView {
    stages: Option<Table>,
    adapters: Option<Table>,
    adapters_chart: Option<Forest>,
    adapters_metrics: Option<Table>,
    fit: Option<Table>,
}

impl ForgettingView {
    /// `None` where there is none of it.
    pub(super) fn new(report: &Report) -> Option<Self> {
        let view = Self {
            stages: stages(&report.comparisons),
            adapters: adapters(&report.domains),
            adapters_chart: adapters_chart(&report.domains),
            adapters_metrics: adapters_metrics(&report.domains),
            fit: fit(report),
        };
        (view.stages.is_some() || view.adapters.is_some() || view.fit.is_some()).then_some(view)
    }
}

fn stages(comparisons: &[Comparison]) -> Option<Table> {
    let mut table = Table::new(
        "Problems of a family that only the first of two models solves (gained), and only the \
         second (lost: forgotten, where the first was made from it). p: McNemar’s exact test, \
         corrected for the families of a pair (Holm).",
        &["Models", "family", "n", "gained", "lost", "change, points", "p"],
    );
    for pair in comparisons {
        table.rows.extend(pair.by_family.iter().map(|family| {
            let change = (family.gained as f64 - family.lost as f64) / family.n.max(1) as f64;
            vec![
                format!("{} vs {}", pair.first, pair.second),
                family.family.clone(),
                family.n.to_string(),
                family.gained.to_string(),
                family.lost.to_string(),
                format::points(change),
                format::p_value(family.p_value),
            ]
        }));
    }
    (!table.rows.is_empty()).then_some(table)
}

fn adapters(adapters: &[DomainAdapter]) -> Option<Table> {
    let mut table = Table::new(
        "Each adapter on the domain that it is for, and on what its base is for; differences \
         are paired by problem.",
        &domains::HEADINGS,
    );
    table.rows = adapters.iter().map(DomainAdapter::row).collect();
    (!table.rows.is_empty()).then_some(table)
}

fn adapters_metrics(adapters: &[DomainAdapter]) -> Option<Table> {
    let mut table = Table::new(
        "What the domains’ tasks measure beside accuracy, with the adapter. Recall: cases to be \
         found that are; false-positive rate: others taken for such; precision: those taken for \
         such that are.",
        &domains::METRIC_HEADINGS,
    );
    table.rows = adapters.iter().flat_map(DomainAdapter::metric_rows).collect();
    (!table.rows.is_empty()).then_some(table)
}

fn adapters_chart(adapters: &[DomainAdapter]) -> Option<Forest> {
    let rows = adapters
        .iter()
        .flat_map(|adapter| {
            let row = |comparison: &Comparison, what: &str| Interval {
                name: format!("{}: {what}", adapter.name),
                ..interval(comparison)
            };
            [row(&adapter.gain, "own domain"), row(&adapter.base_change, "base task")]
        })
        .collect();
    let words = Words::new(
        "adapters",
        "Adapters: own domain and base task",
        "Percentage points with the adapter over the base without it, 95% interval by paired \
         bootstrap. Below 0 on the base task: forgotten.",
    );
    Forest::new(words, rows)
}

fn fit(report: &Report) -> Option<Table> {
    let mut table = Table::new(
        "How replies fit the domain: 1 where a classifier cannot tell them from the records’ own \
         chains (AUROC 0.5), 0 where it always can. Perplexity ratio: the records’ chains under \
         the model, over the reference model.",
        &["Model", "fit", "AUROC of the classifier", "n", "perplexity ratio"],
    );
    let models = report.models.iter().map(|model| &model.evaluation);
    table.rows = models
        .filter_map(|evaluation| Some((evaluation, evaluation.fit.as_ref()?)))
        .map(|(evaluation, fit)| {
            let DomainFit { score, auroc, perplexity_ratio } = fit;
            vec![
                evaluation.model.clone(),
                format!("{score:.3}"),
                format::estimate("auroc", auroc),
                auroc.n.to_string(),
                perplexity_ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.3}")),
            ]
        })
        .collect();
    (!table.rows.is_empty()).then_some(table)
}
