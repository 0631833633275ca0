//! The page with the trends: quality and resources of each model, run after run.

use serde::Serialize;

use super::Entry;
use crate::Result;
use crate::report::chart::{Table, Trend, TrendPoint, Words};
use crate::report::{format, page};

#[derive(Debug, Serialize)]
struct View {
    title: &'static str,
    scope: String,
    quality: Vec<Trend>,
    resources: Vec<Trend>,
    table: Table,
}

/// A figure of an entry.
type Figure = fn(&Entry) -> Option<f64>;

/// The entries, the oldest first, as a page.
pub(super) fn render(entries: &[Entry]) -> Result<String> {
    // A run is a place on the axis; its models stand above each other.
    let mut runs: Vec<(&str, String)> = Vec::new();
    let mut models: Vec<&str> = Vec::new();
    for entry in entries {
        if !runs.iter().any(|(run, _)| *run == entry.run) {
            runs.push((&entry.run, format!("{} {}", entry.name, format::date(entry.evaluated))));
        }
        if !models.contains(&entry.model.as_str()) {
            models.push(&entry.model);
        }
    }
    let places: Vec<String> = runs.iter().map(|(_, label)| label.clone()).collect();
    let trend = |id: &str, title: &str, note: &str, figure: Figure, words: fn(f64) -> String| {
        let lines: Vec<(String, Vec<TrendPoint>)> = models
            .iter()
            .map(|model| {
                let points = entries
                    .iter()
                    .filter(|entry| entry.model == *model)
                    .filter_map(|entry| {
                        let place = runs.iter().position(|(run, _)| *run == entry.run)?;
                        let interval =
                            (id == "accuracy").then_some([entry.accuracy_low, entry.accuracy_high]);
                        Some(TrendPoint { place, value: figure(entry)?, interval })
                    })
                    .collect();
                ((*model).to_owned(), points)
            })
            .collect();
        Trend::new(Words::new(id, title, note), &places, &lines, words)
    };
    let quality = [
        trend(
            "accuracy",
            "Accuracy",
            "Share of problems solved; upright lines: 95% Wilson interval. Compare only runs on \
             the same problems.",
            |entry| Some(entry.accuracy),
            format::percent,
        ),
        trend(
            "completion",
            "Whole chains",
            "Chains that close, are not cut, and whose every step checks.",
            |entry| Some(entry.completion),
            format::percent,
        ),
        trend(
            "validity",
            "Valid steps",
            "Steps that hold, of those that can be checked.",
            |entry| entry.step_validity,
            format::percent,
        ),
        trend(
            "tokens",
            "Tokens of a reply",
            "Mean over all replies.",
            |entry| Some(entry.mean_reply_tokens),
            |tokens| format!("{tokens:.1}"),
        ),
    ];
    let resources = [
        trend(
            "speed",
            "Tokens a second",
            "Generated tokens at the batch of the evaluation.",
            |entry| Some(entry.tokens_per_second),
            format::whole,
        ),
        trend(
            "first-token",
            "Time to the first token",
            "Median, one request at a time.",
            |entry| entry.time_to_first_token,
            format::short_time,
        ),
        trend(
            "memory",
            "Peak memory",
            "The process at its highest, loading included.",
            |entry| entry.peak_memory_bytes.map(|bytes| bytes as f64),
            |bytes| format::bytes(bytes as u64),
        ),
        trend(
            "size",
            "Size",
            "Bytes of the weight files.",
            |entry| Some(entry.weight_bytes as f64),
            |bytes| format::bytes(bytes as u64),
        ),
        trend(
            "seconds",
            "Time of the stage",
            "The whole evaluation, from start to manifest.",
            |entry| entry.stage_seconds,
            format::seconds,
        ),
    ];
    let view = View {
        title: "History",
        scope: format!(
            "{} evaluations of {} models in {} runs.",
            entries.len(),
            models.len(),
            runs.len()
        ),
        quality: quality.into_iter().flatten().collect(),
        resources: resources.into_iter().flatten().collect(),
        table: provenance(entries),
    };
    page::render("history.html", &view)
}

fn provenance(entries: &[Entry]) -> Table {
    let mut table = Table::new(
        "Every evaluation, the oldest first",
        &["Model", "run", "evaluated (UTC)", "commit", "device", "hardware", "n", "evaluation"],
    );
    table.rows = entries
        .iter()
        .map(|entry| {
            vec![
                entry.model.clone(),
                entry.name.clone(),
                format::date(entry.evaluated),
                entry
                    .commit
                    .as_ref()
                    .map_or_else(String::new, |hash| hash.chars().take(12).collect()),
                entry.device.clone(),
                entry.hardware.clone(),
                entry.n.to_string(),
                entry.evaluation.chars().take(12).collect(),
            ]
        })
        .collect();
    table
}
