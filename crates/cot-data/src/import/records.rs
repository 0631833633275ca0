//! Our own records, whoever wrote the file; ids are kept.

use std::path::Path;

use serde_json::{Map, Value};

use super::converted::{Converted, Refusal};
use crate::error::{Error, Result};
use crate::input::{At, Fault, InputOptions, Item, items_of};
use crate::record::CotRecord;
use crate::rejects::{Reason, Reject};

pub(super) fn convert(
    object: Map<String, Value>,
    at: &At,
) -> std::result::Result<Converted, Refusal> {
    let record = CotRecord::from_map(as_written(object, at))?;
    Ok(Converted { key: Some(record.id.clone()), ..Converted::one(record) })
}

/// A row of a table has its fields in another shape.
pub(crate) fn as_written(object: Map<String, Value>, at: &At) -> Map<String, Value> {
    #[cfg(feature = "parquet")]
    if matches!(at, At::Row(_)) {
        return crate::output::parquet::object_of_row(object);
    }
    let _ = at;
    object
}

/// The records of a file, one after another; the first thing that is no record is an
/// error, and ends it. Ids may repeat.
///
/// # Errors
/// A file that does not open.
pub fn records_of(
    path: &Path,
    options: &InputOptions,
) -> Result<impl Iterator<Item = Result<CotRecord>> + use<>> {
    let mut items = items_of(path, options)?;
    let mut has_ended = false;
    Ok(std::iter::from_fn(move || {
        let item = if has_ended { None } else { items.next() };
        let record = item?.and_then(record_of);
        has_ended = record.is_err();
        Some(record)
    }))
}

/// Reads every record of a JSONL, compressed or Parquet file.
///
/// # Errors
/// A file that does not open, or the first thing in it that is no record, with its place.
pub fn read_records(path: &Path) -> Result<Vec<CotRecord>> {
    records_of(path, &InputOptions::default())?.collect()
}

fn record_of(item: Item) -> Result<CotRecord> {
    let Item { place, content } = item;
    let fault = match content {
        Ok(object) => match CotRecord::from_map(as_written(object, &place.at)) {
            Ok(record) => return Ok(record),
            Err(problem) => Fault {
                reason: Reason::BadField,
                detail: problem.to_string(),
                excerpt: String::new(),
            },
        },
        Err(fault) => fault,
    };
    let Fault { reason, detail, excerpt } = fault;
    Err(Error::Reject { reject: Box::new(Reject { place, reason, detail, excerpt }) })
}
