//! The rows of a task's files: JSON, JSON Lines or Parquet, plain or compressed.

use std::collections::HashSet;
use std::path::Path;

use limbeck_cot_data::{At, InputOptions, ObjectReader};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// A row and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// As messages show it: `test.jsonl:12`.
    pub(super) place: String,
    /// Its key, in a JSON object of objects.
    pub(super) key: Option<String>,
    pub(super) fields: Map<String, Value>,
}

/// Reads the rows of a file; what is no object is returned beside them, with its place.
///
/// `within` names the field of a JSON file that holds the list of rows.
pub(super) fn read(path: &Path, within: Option<&str>) -> Result<(Vec<Row>, Vec<String>)> {
    if let Some(field) = within {
        return Ok((read_within(path, field)?, Vec::new()));
    }
    let mut reader = ObjectReader::open(path, &InputOptions::default())?;
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    loop {
        let batch = reader.next_batch()?;
        if batch.is_empty() {
            break;
        }
        for item in batch {
            let place = item.place.to_string();
            match item.content {
                Ok(fields) => {
                    let key = match item.place.at {
                        At::Entry { key, .. } => key,
                        _ => None,
                    };
                    rows.push(Row { place, key, fields });
                }
                Err(fault) => faults.push(format!("{place}: {}", fault.detail)),
            }
        }
    }
    Ok((rows, faults))
}

fn read_within(path: &Path, field: &str) -> Result<Vec<Row>> {
    let text =
        std::fs::read_to_string(path).map_err(|source| limbeck_run::Error::read(path, source))?;
    let mut value: Value = serde_json::from_str(&text).map_err(|source| Error::Json {
        path: path.to_owned(),
        line: None,
        expected: "a JSON object",
        source,
    })?;
    let Some(Value::Array(rows)) = value.get_mut(field).map(Value::take) else {
        let expected = format!("a list of rows under {field:?}, as `rows` says");
        return Err(Error::task(path, expected, "none".to_owned()));
    };
    let row = |(index, row): (usize, Value)| match row {
        Value::Object(fields) => {
            Ok(Row { place: format!("{}: {field}[{index}]", path.display()), key: None, fields })
        }
        other => {
            let place = format!("an object at {field}[{index}]");
            Err(Error::task(path, place, other.to_string()))
        }
    };
    rows.into_iter().enumerate().map(row).collect()
}

/// The ids that a file names: a JSON list of them, or an object's keys.
pub(super) fn read_ids(path: &Path) -> Result<HashSet<String>> {
    let text =
        std::fs::read_to_string(path).map_err(|source| limbeck_run::Error::read(path, source))?;
    let value: Value = serde_json::from_str(&text).map_err(|source| Error::Json {
        path: path.to_owned(),
        line: None,
        expected: "a list of ids, or an object whose keys they are",
        source,
    })?;
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(match value {
        Value::Array(ids) => ids.into_iter().map(text).collect(),
        Value::Object(ids) => ids.into_iter().map(|(id, _)| id).collect(),
        other => std::iter::once(text(other)).collect(),
    })
}
