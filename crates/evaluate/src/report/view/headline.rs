//! The first lines of the page: what is better, worse, or not to be told apart.

use serde::Serialize;

use super::super::conclusion::{self, Conclusion};
use super::super::{Comparison, Report, format};

#[derive(Debug, Serialize)]
pub(crate) struct Headline {
    lines: Vec<Line>,
}

/// Comparisons of one conclusion.
#[derive(Debug, Serialize)]
struct Line {
    sign: &'static str,
    style: &'static str,
    label: &'static str,
    text: String,
}

impl Headline {
    pub(super) fn new(report: &Report) -> Self {
        let comparisons: Vec<&Comparison> = report.comparisons.iter().collect();
        let mut lines = conclusions(&comparisons, pair);
        lines.extend(smallest(report).map(|text| Line {
            sign: "→",
            style: "plain",
            label: "Smallest",
            text,
        }));
        Self { lines }
    }

    /// What became of models from one run to another.
    pub(crate) fn of_changes(comparisons: &[&Comparison]) -> Self {
        let change =
            |comparison: &Comparison| format!("{} ({})", comparison.first, points(comparison));
        Self { lines: conclusions(comparisons, change) }
    }
}

fn conclusions(comparisons: &[&Comparison], words: impl Fn(&Comparison) -> String) -> Vec<Line> {
    let labels = [
        (Conclusion::Better, "Better"),
        (Conclusion::Worse, "Worse"),
        (Conclusion::NoDifferenceShown, "No difference shown"),
    ];
    labels
        .into_iter()
        .filter_map(|(kind, label)| {
            let pairs: Vec<String> = comparisons
                .iter()
                .filter(|pair| pair.conclusion == kind)
                .map(|pair| words(pair))
                .collect();
            (!pairs.is_empty()).then(|| Line {
                sign: conclusion::sign(kind),
                style: conclusion::style(kind),
                label,
                text: format!("{}.", pairs.join("; ")),
            })
        })
        .collect()
}

/// `tuned than distilled (+1.2 points [+0.3 to +2.1])`.
fn pair(comparison: &Comparison) -> String {
    let word = match comparison.conclusion {
        Conclusion::NoDifferenceShown => "and",
        _ => "than",
    };
    format!("{} {word} {} ({})", comparison.first, comparison.second, points(comparison))
}

/// `+1.2 points [+0.3 to +2.1]`.
fn points(comparison: &Comparison) -> String {
    let accuracy = &comparison.accuracy;
    format!(
        "{} points [{}]",
        format::points(accuracy.difference),
        format::points_interval(accuracy.low, accuracy.high)
    )
}

/// The model of the fewest bytes beside the first.
fn smallest(report: &Report) -> Option<String> {
    let first = &report.models.first()?.evaluation;
    let smallest = report
        .models
        .iter()
        .skip(1)
        .map(|model| &model.evaluation)
        .filter(|evaluation| evaluation.cost.weight_bytes > 0)
        .min_by_key(|evaluation| evaluation.cost.weight_bytes)?;
    let accuracy = first.overall.accuracy.value;
    if first.cost.weight_bytes <= smallest.cost.weight_bytes || accuracy == 0.0 {
        return None;
    }
    Some(format!(
        "{} has {} of the accuracy of {} in {} of its bytes.",
        smallest.model,
        format::percent(smallest.overall.accuracy.value / accuracy),
        first.model,
        format::percent(smallest.cost.weight_bytes as f64 / first.cost.weight_bytes as f64),
    ))
}
