//! Export of records to the formats that other tools train on.
//!
//! | format | holds of a record |
//! |---|---|
//! | `records` | everything |
//! | `messages`, `sharegpt` | question (or its turns), system turn, chain, answer or whole reply |
//! | `alpaca` | the same, and the input apart from the instruction |
//! | `gsm8k` | question, chain, answer; `<<…>>` as they were imported |
//!
//! What a format holds comes back through [`import()`](crate::import()) as it was, if the
//! chain's steps are single lines without marks of thought and the answer has no blanks
//! at its ends and no `\boxed{}`. Foreign fields of a record that was imported from the
//! same format are put back.

mod alpaca;
mod gsm8k;
mod messages;
mod sharegpt;

use std::path::Path;
use std::str::FromStr;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::import::{
    FORMAT_FIELD, IMPORTED_FIELD, REPLY_FIELD, SYSTEM_FIELD, TURNS_FIELD, answer_of, render_turns,
    turns_of_value,
};
use crate::label::Label;
use crate::output::{ObjectWriter, RecordWriter};
use crate::record::CotRecord;

pub(crate) use gsm8k::answer_text as gsm8k_answer;

/// A format that records can be exported to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExportFormat {
    /// Our own records.
    Records,
    /// `{messages: [{role, content}]}`, the chain between `<think>` and `</think>`.
    Messages,
    /// `{conversations: [{from, value}]}`, the chain likewise.
    ShareGpt,
    /// `{instruction, input, output}`, the chain likewise.
    Alpaca,
    /// `{question, answer}`, the chain and then `####` and the answer.
    Gsm8k,
}

impl ExportFormat {
    /// All formats.
    pub const ALL: [Self; 5] =
        [Self::Records, Self::Messages, Self::ShareGpt, Self::Alpaca, Self::Gsm8k];

    /// The format's name, the same as for import.
    pub fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Messages => "messages",
            Self::ShareGpt => "sharegpt",
            Self::Alpaca => "alpaca",
            Self::Gsm8k => "gsm8k",
        }
    }

    /// The record in this format.
    pub fn object(self, record: &CotRecord) -> Map<String, Value> {
        let mut object = match self {
            Self::Records => return record.to_map(),
            Self::Messages => messages::object(record),
            Self::ShareGpt => sharegpt::object(record),
            Self::Alpaca => alpaca::object(record),
            Self::Gsm8k => gsm8k::object(record),
        };
        let came_from = record.source.extra.get(FORMAT_FIELD).and_then(Value::as_str);
        if came_from == Some(self.name())
            && let Some(Value::Object(foreign)) = record.extra.get(IMPORTED_FIELD)
        {
            for (key, value) in foreign {
                object.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        object
    }
}

impl FromStr for ExportFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|format| format.name()).collect();
            Error::UnknownFormat { expected: names.join(", "), got: name.to_owned() }
        })
    }
}

/// How to export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Whether records with a wrong chain are exported too, to formats that cannot say
    /// that it is wrong. Our own records always are.
    pub include_wrong: bool,
}

/// What an export did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ExportReport {
    /// Records that were written.
    pub num_written: u64,
    /// Records that were left out because their chain is wrong.
    pub num_wrong: u64,
}

/// Writes records to a file in a format; the file's ending says how it is written.
///
/// # Errors
/// An error among the records, an unknown ending, or what the system refused; then no
/// file is left.
pub fn export(
    format: ExportFormat,
    records: impl IntoIterator<Item = Result<CotRecord>>,
    path: &Path,
    options: &ExportOptions,
) -> Result<ExportReport> {
    let mut report = ExportReport::default();
    if format == ExportFormat::Records {
        let mut writer = RecordWriter::create(path)?;
        for record in records {
            writer.write(&record?)?;
        }
        report.num_written = writer.num_written();
        writer.finish()?;
        return Ok(report);
    }
    let mut writer = ObjectWriter::create(path)?;
    for record in records {
        let record = record?;
        if matches!(record.label, Label::Wrong { .. }) && !options.include_wrong {
            report.num_wrong += 1;
            continue;
        }
        writer.write(&format.object(&record))?;
    }
    report.num_written = writer.num_written();
    writer.finish()?;
    Ok(report)
}

/// A record as a conversation: each turn's role and text, the reply last.
fn turns(record: &CotRecord) -> Vec<(&'static str, String)> {
    let mut turns = Vec::new();
    if let Some(system) = record.extra.get(SYSTEM_FIELD).and_then(Value::as_str) {
        turns.push(("system", system.to_owned()));
    }
    let kept = record
        .extra
        .get(TURNS_FIELD)
        .and_then(turns_of_value)
        // A question that was changed since is the one that counts.
        .filter(|kept| render_turns(kept) == record.question);
    match kept {
        Some(kept) => turns.extend(kept.into_iter().map(|turn| (turn.role.name(), turn.text))),
        None => turns.push(("user", record.question.clone())),
    }
    turns.push(("assistant", reply(record)));
    turns
}

/// The assistant's turn: the chain between its marks, then the reply or the answer.
fn reply(record: &CotRecord) -> String {
    let whole = record
        .extra
        .get(REPLY_FIELD)
        .and_then(Value::as_str)
        .filter(|whole| answer_of(whole).0 == record.answer)
        .unwrap_or(&record.answer);
    if record.thought_process.is_empty() {
        return whole.to_owned();
    }
    format!("<think>\n{}\n</think>\n\n{whole}", record.reasoning())
}
