//! Import of public chain-of-thought data: one foreign object gives one or more records.
//!
//! A record's id is the name of the import and the number of its object, counted from 0
//! over all inputs, so it does not depend on what was left out before it; where an object
//! can give several records, the record's number among them follows. Foreign fields that
//! have no place in a record are kept in its extra field `imported`.
//!
//! Extra fields of imported records:
//!
//! | field | holds |
//! |---|---|
//! | `imported` | foreign fields that are not used |
//! | `reply` | the whole reply, where the answer is only a part of it (`\boxed{…}`, `####`) |
//! | `system` | the system turn |
//! | `turns` | the turns before the reply, where there is more than one |
//! | `answer_only` | true if there is no chain |
//! | `gsm8k_answer` | GSM8K's answer text with its `<<…>>` |
//!
//! and `source.format` is the format's name.
//!
//! Licences that records get unless [`ImportOptions::license`] says otherwise, and where they
//! are stated:
//!
//! | data | licence | stated by |
//! |---|---|---|
//! | GSM8K | MIT | `LICENSE` of github.com/openai/grade-school-math |
//! | PRM800K | MIT | `LICENSE` of github.com/openai/prm800k |
//! | `PubMedQA` | MIT | `LICENSE` of github.com/pubmedqa/pubmedqa |
//! | `FinQA` | MIT | `LICENSE` of github.com/czyssrs/FinQA |
//! | OpenR1-Math-220k | Apache-2.0 | its card on the Hub |
//! | OpenThoughts-114k | Apache-2.0 | its card on the Hub |
//! | s1K | Apache-2.0 | its card on the Hub |
//! | s1K-1.1 | MIT | its card on the Hub |
//! | LIMO | Apache-2.0 | its card on the Hub |
//! | `messages`, `sharegpt`, `alpaca` | NOASSERTION | formats, not data sets |

mod alpaca;
pub(crate) mod chain;
mod conversation;
mod converted;
mod finqa;
mod format;
mod gsm8k;
mod limo;
mod messages;
mod openr1;
mod openthoughts;
mod prm800k;
mod pubmedqa;
mod records;
mod s1k;
mod sharegpt;

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::check::{AnswerVerdict, StepVerdict, answers_equal, check_chain, number};
use crate::error::Result;
use crate::generate::Shard;
use crate::input::{Fault, InputOptions, Item, ObjectReader, Place};
use crate::label::Label;
use crate::record::CotRecord;
use crate::rejects::{Reason, Reject, RejectLog, excerpt_of_bytes};

pub(crate) use alpaca::asked as alpaca_question;
pub(crate) use chain::{answer_of, strip_annotations};
pub(crate) use conversation::{render as render_turns, turns_of_value};
pub(crate) use converted::{
    ALPACA_FIELD, ANSWER_ONLY_FIELD, FORMAT_FIELD, GSM8K_ANSWER_FIELD, IMPORTED_FIELD, REPLY_FIELD,
    SYSTEM_FIELD, TURNS_FIELD,
};
pub use format::Format;
pub(crate) use records::as_written;
pub use records::{read_records, records_of};

use converted::{Converted, Refusal};

/// How to import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// What ids begin with. Default: the format's name.
    pub name: Option<String>,
    /// Name of the data set, in place of the format's own.
    pub source_name: Option<String>,
    /// SPDX expression of the data's licence, in place of the format's own.
    pub license: Option<String>,
    /// The model that wrote the chains, in place of the format's own.
    pub teacher: Option<String>,
    /// Field of knowledge, in place of the format's own.
    pub domain: Option<String>,
    /// Whether an object without a chain gives an answer-only record instead of none, as it
    /// does anyhow in a format that has no chains.
    pub allow_missing_chain: bool,
    /// Whether a chain whose answer the data set calls wrong gives a record, labelled
    /// wrong at its last step, instead of none.
    pub keep_wrong: bool,
    /// Whether chains that the data set does not judge step by step are checked, so that
    /// `checks.steps` says which steps hold.
    pub verify: bool,
    /// Whether GSM8K's `<<…>>` stay in the chain.
    pub keep_annotations: bool,
    /// Limits of reading.
    pub input: InputOptions,
    /// Which objects give records and rejects. Every shard reads all objects, so that ids do
    /// not depend on it and a repeated id is found wherever the first is. Default: all.
    pub shard: Shard,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportProgress {
    /// Bytes of the inputs that were read, as they are on the disk.
    pub num_bytes: u64,
    /// Objects that were read, good or bad, of all shards.
    pub num_objects: u64,
    /// Records that came out.
    pub num_records: u64,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Bytes, objects and records.
    pub total: ImportProgress,
    /// Objects, or records of them, that were left out, by reason.
    pub rejects: BTreeMap<&'static str, u64>,
}

/// What became of one item.
struct Outcome {
    place: Place,
    excerpt: String,
    converted: std::result::Result<Converted, Refusal>,
}

/// Imports files in their order. `sink` takes each record and `progress` hears after
/// each batch; what is no record goes to `rejects`.
///
/// # Errors
/// A read that the system refused, an error of `sink`, or the first reject if the log is
/// strict.
pub fn import(
    format: Format,
    inputs: &[PathBuf],
    options: &ImportOptions,
    sink: &mut dyn FnMut(CotRecord) -> Result<()>,
    rejects: &mut RejectLog,
    progress: &mut dyn FnMut(&ImportProgress),
) -> Result<ImportReport> {
    let before = rejects.counts().clone();
    let mut total = ImportProgress::default();
    let mut seen = Seen::default();
    for path in inputs {
        let mut reader = ObjectReader::open(path, &options.input)?;
        let bytes_before = total.num_bytes;
        loop {
            let batch = reader.next_batch()?;
            total.num_bytes = bytes_before + reader.bytes_read();
            if batch.is_empty() {
                break;
            }
            let outcomes: Vec<Outcome> =
                batch.into_par_iter().map(|item| outcome(format, item, options)).collect();
            for outcome in outcomes {
                let number = total.num_objects;
                total.num_objects += 1;
                let Outcome { place, excerpt, converted } = outcome;
                let is_ours = options.shard.has(number);
                let mut refuse = |Refusal { reason, detail }, excerpt: &str| {
                    if !is_ours {
                        return Ok(());
                    }
                    let excerpt = excerpt.to_owned();
                    rejects.push(Reject { place: place.clone(), reason, detail, excerpt })
                };
                let converted = match converted {
                    Ok(converted) => converted,
                    Err(refusal) => {
                        refuse(refusal, &excerpt)?;
                        continue;
                    }
                };
                if let Some(key) = &converted.key
                    && !seen.insert(key)
                {
                    let detail = format!("expected a new id, found `{key}` again");
                    refuse(Refusal { reason: Reason::DuplicateId, detail }, &excerpt)?;
                    continue;
                }
                for refusal in converted.refusals {
                    refuse(refusal, &excerpt)?;
                }
                for (variant, mut record) in converted.records.into_iter().filter(|_| is_ours) {
                    if record.id.is_empty() {
                        let name = options.name.as_deref().unwrap_or(format.name());
                        record.id = match variant {
                            None => format!("{name}-{number:06}"),
                            Some(variant) => format!("{name}-{number:06}-{variant}"),
                        };
                    }
                    sink(record)?;
                    total.num_records += 1;
                }
            }
            progress(&total);
        }
        progress(&total);
    }
    let rejects = rejects
        .counts()
        .iter()
        .map(|(reason, count)| (*reason, count - before.get(reason).unwrap_or(&0)))
        .filter(|(_, count)| *count > 0)
        .collect();
    Ok(ImportReport { total, rejects })
}

/// Ids met so far, as 128 bits each: a text per record would not fit in memory.
#[derive(Default)]
struct Seen {
    hashes: HashSet<(u64, u64)>,
}

impl Seen {
    fn insert(&mut self, key: &str) -> bool {
        let hash = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, key).hash(&mut hasher);
            hasher.finish()
        };
        self.hashes.insert((hash(0), hash(1)))
    }
}

fn outcome(format: Format, item: Item, options: &ImportOptions) -> Outcome {
    let Item { place, content } = item;
    match content {
        Err(Fault { reason, detail, excerpt }) => {
            Outcome { place, excerpt, converted: Err(Refusal { reason, detail }) }
        }
        Ok(object) => {
            let start = beginning(&object);
            let mut converted = format.convert(object, &place.at, options);
            if format != Format::Records
                && let Ok(converted) = &mut converted
            {
                finish(format, converted, options);
            }
            let is_clean = converted
                .as_ref()
                .is_ok_and(|converted| converted.refusals.is_empty() && converted.key.is_none());
            let excerpt = if is_clean { String::new() } else { start };
            Outcome { place, excerpt, converted }
        }
    }
}

/// The beginning of an object's JSON, without writing all of it.
fn beginning(object: &Map<String, Value>) -> String {
    let mut start = Beginning::default();
    // It ends with an error on purpose, unless the object is short.
    let _ = serde_json::to_writer(&mut start, object);
    excerpt_of_bytes(&start.bytes)
}

/// Takes so many bytes and no more.
#[derive(Default)]
struct Beginning {
    bytes: Vec<u8>,
}

impl io::Write for Beginning {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        const MOST_BYTES: usize = 1_000;
        if self.bytes.len() >= MOST_BYTES {
            return Err(io::Error::from(io::ErrorKind::WriteZero));
        }
        let room = bytes.len().min(MOST_BYTES - self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Applies the options to an object's records, and refuses those that no record can be.
fn finish(format: Format, converted: &mut Converted, options: &ImportOptions) {
    let records = std::mem::take(&mut converted.records);
    for (variant, mut record) in records {
        let set = |field: &mut String, value: &Option<String>| {
            if let Some(value) = value {
                field.clone_from(value);
            }
        };
        set(&mut record.source.name, &options.source_name);
        set(&mut record.source.license, &options.license);
        set(&mut record.domain, &options.domain);
        if options.teacher.is_some() {
            record.source.teacher.clone_from(&options.teacher);
        }
        record.source.extra.insert(FORMAT_FIELD.to_owned(), format.name().into());
        if let Some(refusal) = refusal(format, &record, options) {
            converted.refusals.push(refusal);
            continue;
        }
        if record.thought_process.is_empty() {
            record.extra.insert(ANSWER_ONLY_FIELD.to_owned(), true.into());
        } else if options.verify && record.checks.steps.is_empty() {
            verify(&mut record);
        }
        converted.records.push((variant, record));
    }
}

/// Notes which steps hold, and whether the answer does where a second solver finds it.
fn verify(record: &mut CotRecord) {
    let check = check_chain(&record.question, &record.thought_process, &record.answer);
    record.checks.steps = check.steps.iter().map(|step| *step == StepVerdict::Ok).collect();
    if check.answer == AnswerVerdict::Ok && record.checks.answer.is_empty() {
        "verified".clone_into(&mut record.checks.answer);
    }
}

fn refusal(format: Format, record: &CotRecord, options: &ImportOptions) -> Option<Refusal> {
    let refuse = |reason, detail: String| Some(Refusal { reason, detail });
    if record.question.trim().is_empty() {
        return refuse(
            Reason::BadField,
            "expected a question that is not empty, found white space".to_owned(),
        );
    }
    if record.answer.trim().is_empty() {
        return refuse(Reason::MissingAnswer, "expected an answer, found white space".to_owned());
    }
    let needs_chain = format.has_chains() && !options.allow_missing_chain;
    if record.thought_process.is_empty() && needs_chain {
        return refuse(
            Reason::MissingChain,
            "expected a chain of thought, found an answer alone".to_owned(),
        );
    }
    if record.label == Label::Correct
        && let Some(stated) = chain::stated_answer(&record.thought_process)
        && number(&stated).is_some()
        && number(record.answer.trim()).is_some()
        && !answers_equal(&stated, &record.answer)
    {
        return refuse(
            Reason::AnswerContradictsChain,
            format!("expected the chain's answer {stated}, found {}", record.answer),
        );
    }
    None
}
