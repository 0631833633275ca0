//! The table of models for a terminal and for Markdown.

use super::{Comparison, Report};
use super::{domains, format};
use crate::columns;

/// The column of [`Divergence`](crate::Divergence), which only some reports have.
const DIVERGENCE: &str = "KL a token";
const HEADINGS: [&str; 8] = [
    "model",
    "accuracy [95%]",
    "CoT completion [95%]",
    DIVERGENCE,
    "parameters",
    "size",
    "tokens/s",
    "peak memory",
];

/// The table with the number of problems above and the comparisons below.
pub(super) fn text(report: &Report) -> String {
    let mut lines = vec![format!("{} ({})", report.title, problems(report)), String::new()];
    let (headings, rows) = cells(report);
    lines.extend(columns::text(&headings, &rows));
    if !report.comparisons.is_empty() {
        lines.push(String::new());
        lines.push("Accuracy, paired by problem:".to_owned());
        lines.extend(report.comparisons.iter().map(|pair| format!("  {}", sentence(pair))));
    }
    if !report.domains.is_empty() {
        lines.push(String::new());
        lines.push(
            "Adapters on the domain that each is for, and on what its base is for:".to_owned(),
        );
        lines.extend(domains::text(&report.domains));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The same as GitHub's Markdown.
pub(super) fn markdown(report: &Report) -> String {
    let (headings, rows) = cells(report);
    let mut lines = columns::markdown(&headings, &rows);
    lines.push(String::new());
    lines.push(format!("{}.", problems(report)));
    if !report.comparisons.is_empty() {
        lines.push(String::new());
        lines.extend(report.comparisons.iter().map(|pair| format!("- {}", sentence(pair))));
    }
    if !report.domains.is_empty() {
        lines.push(String::new());
        lines.extend(domains::markdown(&report.domains));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Headings and rows, without a column that would be empty.
fn cells(report: &Report) -> (Vec<String>, Vec<Vec<String>>) {
    let (mut headings, mut rows) = (HEADINGS.map(str::to_owned).to_vec(), rows(report));
    if report.models.iter().all(|model| model.evaluation.divergence.is_none())
        && let Some(column) = HEADINGS.iter().position(|&heading| heading == DIVERGENCE)
    {
        headings.remove(column);
        for row in &mut rows {
            row.remove(column);
        }
    }
    (headings, rows)
}

fn rows(report: &Report) -> Vec<Vec<String>> {
    let models = report.models.iter().map(|model| &model.evaluation);
    models
        .map(|evaluation| {
            let cost = &evaluation.cost;
            vec![
                evaluation.model.clone(),
                format::rate(&evaluation.overall.accuracy),
                format::rate(&evaluation.overall.cot_completion),
                evaluation.divergence.as_ref().map_or_else(|| "–".to_owned(), format::divergence),
                format::count(cost.parameters),
                format::bytes(cost.weight_bytes),
                format::whole(cost.tokens_per_second),
                cost.peak_memory_bytes.map_or_else(|| "–".to_owned(), format::bytes),
            ]
        })
        .collect()
}

/// `n = 600 problems for each model`.
pub(super) fn problems(report: &Report) -> String {
    let counts: Vec<u64> = report.models.iter().map(|model| model.evaluation.overall.n).collect();
    match counts.as_slice() {
        [first, rest @ ..] if rest.iter().all(|count| count == first) => {
            format!("n = {} problems for each model", format::whole(*first as f64))
        }
        counts => {
            let counts: Vec<String> =
                counts.iter().map(|&count| format::whole(count as f64)).collect();
            format!("n = {} problems", counts.join(", "))
        }
    }
}

/// `distilled vs teacher: −2.1 points [−3.6 to −0.7], p = 0.004, 97.8% of its accuracy`.
pub(super) fn sentence(comparison: &Comparison) -> String {
    let accuracy = &comparison.accuracy;
    let p_value = format::p_value(comparison.adjusted_p_value);
    let relation = if p_value.starts_with('<') { "" } else { "= " };
    let ratio = comparison
        .accuracy_ratio
        .map_or_else(String::new, |ratio| format!(", {} of its accuracy", format::percent(ratio)));
    format!(
        "{} vs {}: {} points [{}], p {relation}{p_value}{ratio} (n = {})",
        comparison.first,
        comparison.second,
        format::points(accuracy.difference),
        format::points_interval(accuracy.low, accuracy.high),
        accuracy.n,
    )
}
