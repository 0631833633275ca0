//! JSON Lines files of records.

use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::partial::Partial;
use crate::record::CotRecord;

/// Reads every record of a file; empty lines are passed over.
///
/// # Errors
/// The first line that is no record, with its number, what was expected and what was
/// found.
pub fn read_jsonl(path: &Path) -> Result<Vec<CotRecord>> {
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(read_error)?;
    let mut records = Vec::new();
    for (number, bytes) in BufReader::new(file).split(b'\n').enumerate() {
        let bytes = bytes.map_err(read_error)?;
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let line = number + 1;
        let map: Map<String, Value> = serde_json::from_slice(&bytes)
            .map_err(|source| Error::Json { path: path.to_owned(), line, source })?;
        let record = CotRecord::from_map(map).map_err(|problem| Error::Record {
            path: path.to_owned(),
            line,
            problem,
        })?;
        records.push(record);
    }
    Ok(records)
}

/// Writes records to a file, one a line: first to a sibling, then renamed, so that a
/// reader never sees half of it.
///
/// # Errors
/// What the system refused; the sibling is removed.
pub fn write_jsonl(path: &Path, records: &[CotRecord]) -> Result<()> {
    write_whole(path, |out| {
        for record in records {
            serde_json::to_writer(&mut *out, record)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    })
}

/// Writes a file by way of a temporary sibling.
pub(crate) fn write_whole(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<fs::File>) -> std::io::Result<()>,
) -> Result<()> {
    let written = (|| {
        let (partial, file) = Partial::create(path)?;
        let mut out = BufWriter::new(file);
        fill(&mut out)?;
        partial.keep(&out.into_inner().map_err(std::io::IntoInnerError::into_error)?)
    })();
    written.map_err(|source| Error::Write { path: path.to_owned(), source })
}
