//! The card of a data set: a `README.md` with the head that the Hugging Face Hub reads
//! and tables of what is in the data, what was checked and what was left out.

mod counts;
mod front_matter;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

pub use counts::{CardCounts, Property};

use crate::error::Result;
use crate::jsonl::write_whole;

/// Most rows of a table of counts; the rest is summed up.
const MOST_ROWS: usize = 60;

/// What a card says. Counts come from the records; the rest is told by who made the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// Title.
    pub pretty_name: String,
    /// What the data is, in a sentence or more of Markdown.
    pub summary: String,
    /// ISO codes of its languages. Default: `en`.
    pub languages: Vec<String>,
    /// Tags on the Hub. Default: `chain-of-thought`.
    pub tags: Vec<String>,
    /// Name and file of each split; a file relative to the card.
    pub files: Vec<(String, String)>,
    /// Counts over the records.
    pub counts: CardCounts,
    /// Foreign objects that were not imported, by reason.
    pub rejects: BTreeMap<String, u64>,
    /// Records that were removed later on, by reason.
    pub removals: BTreeMap<String, u64>,
    /// The command line that made the data.
    pub command: Option<String>,
    /// Further sections: title and Markdown text.
    pub sections: Vec<(String, String)>,
}

impl Card {
    /// A card with nothing told yet.
    pub fn new(pretty_name: &str, counts: CardCounts) -> Self {
        Self {
            pretty_name: pretty_name.to_owned(),
            summary: String::new(),
            languages: vec!["en".to_owned()],
            tags: vec!["chain-of-thought".to_owned()],
            files: Vec::new(),
            counts,
            rejects: BTreeMap::new(),
            removals: BTreeMap::new(),
            command: None,
            sections: Vec::new(),
        }
    }

    /// Writes `README.md` into a folder.
    ///
    /// # Errors
    /// What the system refused.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let text = self.render();
        write_whole(&folder.join("README.md"), |out| out.write_all(text.as_bytes()))
    }

    /// The card's text.
    pub fn render(&self) -> String {
        let mut text = front_matter::render(self);
        let mut part = |title: &str, body: &str| {
            if !body.is_empty() {
                let title =
                    if title.is_empty() { String::new() } else { format!("## {title}\n\n") };
                // Writing to a string cannot fail.
                let _ = writeln!(text, "\n{title}{}", body.trim_end());
            }
        };
        part("", &format!("# {}", self.pretty_name));
        part("", &self.summary);
        part("Records", &self.records_table());
        for (title, body) in &self.sections {
            part(title, body);
        }
        for property in Property::ALL {
            part(property.title(), &self.property_table(property));
        }
        part("Verification", &self.verification_table());
        part("Not imported", &reasons_table(&self.rejects));
        part("Removed", &reasons_table(&self.removals));
        let seeds: Vec<String> = self.counts.seeds.iter().take(20).map(u64::to_string).collect();
        if !seeds.is_empty() {
            let more = if self.counts.seeds.len() > seeds.len() { ", …" } else { "" };
            part("Seeds", &format!("{}{more}", seeds.join(", ")));
        }
        if let Some(command) = &self.command {
            // A fence longer than any run of backticks inside cannot be closed by it.
            part("Made by", &format!("````sh\n{}\n````", command.replace("````", "```")));
        }
        text
    }

    fn records_table(&self) -> String {
        let mut rows = vec![cells(["split", "records", "steps", "answer alone"])];
        for (split, counts) in &self.counts.splits {
            let numbers = [counts.num_records, counts.num_steps, counts.num_without_chain];
            rows.push(row(split, numbers));
        }
        if rows.len() == 1 { String::new() } else { table(&rows) }
    }

    fn property_table(&self, property: Property) -> String {
        let values = self.counts.values(property);
        if values.iter().all(|value| value.is_empty()) {
            return String::new();
        }
        let splits = &self.counts.splits;
        let mut head = vec![property.title().to_lowercase()];
        head.extend(splits.iter().map(|(split, _)| cell(split)));
        let mut rows = vec![head];
        let (shown, rest) = values.split_at(values.len().min(MOST_ROWS));
        for value in shown {
            let name = if value.is_empty() { property.absent() } else { value };
            rows.push(row(name, splits.iter().map(|(_, counts)| counts.with(property, value))));
        }
        if !rest.is_empty() {
            let sums = splits.iter().map(|(_, counts)| {
                rest.iter().map(|value| counts.with(property, value)).sum::<u64>()
            });
            rows.push(row(&format!("{} others", rest.len()), sums));
        }
        table(&rows)
    }

    fn verification_table(&self) -> String {
        let mut rows = vec![cells([
            "split",
            "answers checked",
            "chains with every step verified",
            "steps verified",
        ])];
        for (split, counts) in &self.counts.splits {
            rows.push(vec![
                cell(split),
                share(counts.num_answers_checked, counts.num_records),
                share(counts.num_chains_verified, counts.num_records),
                share(counts.num_steps_verified, counts.num_steps),
            ]);
        }
        if rows.len() == 1 { String::new() } else { table(&rows) }
    }
}

fn reasons_table(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return String::new();
    }
    let mut rows = vec![cells(["reason", "count"])];
    rows.extend(counts.iter().map(|(reason, count)| row(reason, [*count])));
    table(&rows)
}

/// A part of a whole, with both.
fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    format!("{:.1}% ({part} of {whole})", 100.0 * part as f64 / whole as f64)
}

fn row(name: &str, numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    let mut row = vec![cell(name)];
    row.extend(numbers.into_iter().map(|number| number.to_string()));
    row
}

fn cells<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).into()
}

/// A text that cannot end its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A Markdown table; the first row is its head.
fn table(rows: &[Vec<String>]) -> String {
    // Writing to a string cannot fail.
    let mut text = String::new();
    for (place, row) in rows.iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if place == 0 {
            let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
        }
    }
    text
}
