//! The history as a table for a terminal.

use super::Entry;
use crate::columns;
use crate::report::format;

/// A line for each entry, the oldest first.
pub(super) fn text(entries: &[Entry]) -> String {
    let headings = [
        "model",
        "run",
        "evaluated (UTC)",
        "commit",
        "accuracy [95%]",
        "n",
        "completion",
        "tokens",
        "size",
        "tokens/s",
        "first token",
        "peak memory",
    ];
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    let mut lines = columns::text(&headings.map(str::to_owned), &rows);
    lines.push(String::new());
    lines.join("\n")
}

fn row(entry: &Entry) -> Vec<String> {
    let dash = || "–".to_owned();
    vec![
        entry.model.clone(),
        entry.name.clone(),
        format::date(entry.evaluated),
        entry.commit.as_ref().map_or_else(dash, |commit| commit.chars().take(10).collect()),
        format!(
            "{} [{:.1}–{:.1}]",
            format::percent(entry.accuracy),
            100.0 * entry.accuracy_low,
            100.0 * entry.accuracy_high
        ),
        entry.n.to_string(),
        format::percent(entry.completion),
        format::whole(entry.mean_reply_tokens),
        format::bytes(entry.weight_bytes),
        format::whole(entry.tokens_per_second),
        entry.time_to_first_token.map_or_else(dash, format::short_time),
        entry.peak_memory_bytes.map_or_else(dash, format::bytes),
    ]
}
