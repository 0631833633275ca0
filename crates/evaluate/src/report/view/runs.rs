//! Two runs as the page shows them.

use serde::Serialize;

use super::super::chart::{Forest, Interval, Table, Words};
use super::super::run_comparison::{ModelChange, RunComparison};
use super::super::{comparison, format, page};
use super::comparisons::interval;
use super::samples::{SampleView, SamplesView};
use super::{Limits, Link, headline};
use crate::Result;
use crate::sample::Sample;

/// Figures that are compared, with how they are written.
type Writer = fn(f64) -> String;
const FIGURES: [(&str, &str, Writer); 11] = [
    ("completion", "whole chains", format::percent),
    ("step_validity", "valid steps", format::percent),
    ("consistency", "consistent", format::percent),
    ("truncation", "cut replies", format::percent),
    ("mean_reply_tokens", "tokens of a reply", format::whole),
    ("weight_bytes", "size", |bytes| format::bytes(bytes as u64)),
    ("tokens_per_second", "tokens/s", format::whole),
    ("time_to_first_token", "first token, p50", format::short_time),
    ("time_per_output_token", "per token, p50", format::short_time),
    ("peak_memory_bytes", "peak memory", |bytes| format::bytes(bytes as u64)),
    ("joules_per_token", "energy a token", |joules| format!("{:.2} mJ", 1000.0 * joules)),
];

#[derive(Debug, Serialize)]
pub(crate) struct RunView {
    title: String,
    scope: String,
    links: Vec<Link>,
    headline: headline::Headline,
    chart: Option<Forest>,
    accuracy: Table,
    figures: Vec<Table>,
    unpaired: Vec<String>,
    samples: SamplesView,
}

/// The page of a comparison of runs.
pub(crate) fn render_runs(view: &RunView) -> Result<String> {
    page::render("runs.html", view)
}

impl RunView {
    pub(crate) fn new(runs: &RunComparison) -> Self {
        let comparisons: Vec<_> = runs.changes.iter().map(|change| &change.comparison).collect();
        let links = [
            ("accuracy", "Accuracy"),
            ("figures", "Chains and cost"),
            ("samples", "Fixed and broken"),
        ];
        Self {
            title: format!("{} against {}", runs.second, runs.first),
            scope: format!("{} models, paired by problem.", runs.changes.len()),
            links: links.map(|(id, title)| Link { id, title }).to_vec(),
            headline: headline::Headline::of_changes(&comparisons),
            chart: chart(runs),
            accuracy: accuracy(runs),
            figures: runs.changes.iter().map(|change| figures(runs, change)).collect(),
            unpaired: runs.unpaired(),
            samples: samples(runs, Limits::default()),
        }
    }
}

fn chart(runs: &RunComparison) -> Option<Forest> {
    let rows = runs
        .changes
        .iter()
        .map(|change| Interval { name: change.model.clone(), ..interval(&change.comparison) })
        .collect();
    let note = format!(
        "Percentage points of {} over {}, with the 95% interval by paired bootstrap. ▲ better, \
         ▼ worse, = and grey: no difference shown.",
        runs.second, runs.first
    );
    Forest::new(Words::new("changes", "Change of accuracy", note), rows)
}

fn accuracy(runs: &RunComparison) -> Table {
    let mut table = Table::new(
        "On the problems of both runs. Fixed: solved now and not before; broken: the other way \
         round. p: McNemar’s exact test, corrected for the number of models (Holm). Detectable: \
         the smallest difference, in points, that would show in 4 of 5 cases.",
        &[
            "Model",
            "before",
            "after",
            "change",
            "fixed",
            "broken",
            "n",
            "p",
            "detectable",
            "conclusion",
        ],
    );
    table.rows = runs
        .changes
        .iter()
        .map(|change| {
            let pair = &change.comparison;
            let [before, after] = change.shared_accuracy();
            vec![
                change.model.clone(),
                format::percent(before),
                format::percent(after),
                format::change(pair.accuracy.difference, pair.accuracy.low, pair.accuracy.high),
                change.fixed.len().to_string(),
                change.broken.len().to_string(),
                pair.accuracy.n.to_string(),
                format::p_value(pair.adjusted_p_value),
                pair.detectable_difference
                    .map_or_else(|| "–".to_owned(), |value| format!("{:.1}", 100.0 * value)),
                pair.conclusion.to_string(),
            ]
        })
        .collect();
    table
}

fn figures(runs: &RunComparison, change: &ModelChange) -> Table {
    let mut table =
        Table::new(change.model.clone(), &["Figure", &runs.first, &runs.second, "change"]);
    for (key, name, words) in FIGURES {
        let Some([before, after]) = change.figures.get(key) else { continue };
        if before.is_none() && after.is_none() {
            continue;
        }
        let text = |value: &Option<f64>| value.map_or_else(|| "not available".to_owned(), words);
        let relative = match (before, after) {
            (Some(before), Some(after)) if *before != 0.0 => {
                format!("{}%", format::points((after - before) / before))
            }
            _ => "–".to_owned(),
        };
        table.rows.push(vec![name.to_owned(), text(before), text(after), relative]);
    }
    table
}

/// Problems that broke, then those that were fixed, of all models in turn.
fn samples(runs: &RunComparison, limits: Limits) -> SamplesView {
    let mut views = Vec::new();
    let mut left_out = 0;
    let mut bytes = 0;
    for fixed in [false, true] {
        for change in &runs.changes {
            let [before, after] = &change.models;
            let pairs = comparison::pairs(&after.evaluation, &before.evaluation);
            let changed: Vec<(&Sample, &Sample)> = pairs
                .into_iter()
                .filter(|(after, before)| after.correct == fixed && before.correct != fixed)
                .collect();
            for (index, (after, before)) in changed.iter().enumerate() {
                let length = after.reply.len() + before.reply.len() + after.question.len() + 1000;
                if index >= limits.wrong || bytes + length > limits.bytes {
                    left_out += 1;
                    continue;
                }
                bytes += length;
                let mut view =
                    SampleView::new(&change.model, after, &runs.first, Some(before), limits);
                view.chains[0].model.clone_from(&runs.second);
                view.group = format!("{}, {}", if fixed { "fixed" } else { "broken" }, view.group);
                views.push(view);
            }
        }
    }
    let models = runs.changes.iter().map(|change| change.model.clone()).collect();
    let note = format!(
        "Problems that {} no longer solves, then those that it now solves, each with both chains; \
         up to {} of a kind and model.",
        runs.second, limits.wrong
    );
    SamplesView {
        title: "Fixed and broken",
        ..SamplesView::of(views, models, runs.first.clone(), left_out, note)
    }
}
