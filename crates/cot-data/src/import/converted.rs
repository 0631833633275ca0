//! What a format makes of one foreign object, and the parts it is made from.

use serde_json::{Map, Value};

use crate::error::FieldError;
use crate::field;
use crate::record::{CotRecord, Source};
use crate::rejects::Reason;

/// Extra field: foreign fields that are not used.
pub(crate) const IMPORTED_FIELD: &str = "imported";
/// Extra field: the whole reply, where the answer is a part of it.
pub(crate) const REPLY_FIELD: &str = "reply";
/// Extra field: the system turn.
pub(crate) const SYSTEM_FIELD: &str = "system";
/// Extra field: the turns before the reply, where there is more than one.
pub(crate) const TURNS_FIELD: &str = "turns";
/// Extra field: true if there is no chain.
pub(crate) const ANSWER_ONLY_FIELD: &str = "answer_only";
/// Extra field: GSM8K's answer text as it was.
pub(crate) const GSM8K_ANSWER_FIELD: &str = "gsm8k_answer";
/// Extra field: Alpaca's instruction and input, where there is an input.
pub(crate) const ALPACA_FIELD: &str = "alpaca";
/// Field of the source: the format's name.
pub(crate) const FORMAT_FIELD: &str = "format";

/// SPDX's word for a licence that is not known.
pub(super) const NO_LICENSE: &str = "NOASSERTION";

/// Why an object, or one of its records, is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

impl Refusal {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl From<FieldError> for Refusal {
    fn from(error: FieldError) -> Self {
        Self::new(Reason::BadField, error.to_string())
    }
}

/// What one object gives.
#[derive(Debug, Default)]
pub(super) struct Converted {
    /// Records, each with its number where the object can give several.
    pub(super) records: Vec<(Option<usize>, CotRecord)>,
    /// Records that are left out.
    pub(super) refusals: Vec<Refusal>,
    /// What must not occur twice in the data set.
    pub(super) key: Option<String>,
}

impl Converted {
    /// One record.
    pub(super) fn one(record: CotRecord) -> Self {
        Self { records: vec![(None, record)], ..Self::default() }
    }
}

/// The public data set that a format is of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// The data set's name.
    pub(super) name: &'static str,
    /// SPDX expression of its licence.
    pub(super) license: &'static str,
    /// The model that wrote its chains.
    pub(super) teacher: Option<&'static str>,
    /// Its field of knowledge.
    pub(super) domain: &'static str,
}

impl Origin {
    /// A record of the data set; its id comes later. Public data has no difficulty and
    /// no Bloom level: 0 and nothing stand for unknown.
    pub(super) fn record(
        &self,
        question: String,
        thought_process: Vec<String>,
        answer: String,
    ) -> CotRecord {
        CotRecord {
            question,
            thought_process,
            answer,
            domain: self.domain.to_owned(),
            source: Source {
                name: self.name.to_owned(),
                license: self.license.to_owned(),
                teacher: self.teacher.map(str::to_owned),
                ..Source::default()
            },
            ..CotRecord::default()
        }
    }
}

/// Keeps foreign fields that are not used.
pub(super) fn keep(record: &mut CotRecord, unused: Map<String, Value>) {
    if !unused.is_empty() {
        record.extra.insert(IMPORTED_FIELD.to_owned(), Value::Object(unused));
    }
}

/// A list; empty if absent or null.
pub(super) fn list(map: &mut Map<String, Value>, name: &str) -> Result<Vec<Value>, FieldError> {
    match map.shift_remove(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => Ok(items),
        other => Err(field::mismatch("", name, "a list or nothing", other.as_ref())),
    }
}

/// A text or a number, as text; nothing if absent, null or blank.
pub(super) fn scalar(
    map: &mut Map<String, Value>,
    parent: &str,
    name: &str,
) -> Result<Option<String>, FieldError> {
    match map.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.trim().is_empty())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        other => Err(field::mismatch(parent, name, "a text or a number", other.as_ref())),
    }
}
