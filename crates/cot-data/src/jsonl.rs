//! JSON Lines files of records.

use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Split, Write};
use std::path::{Path, PathBuf};

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
    JsonlReader::open(path)?.collect()
}

/// The records of a file, one after the other; empty lines are passed over. It ends after
/// the first error.
#[derive(Debug)]
pub struct JsonlReader {
    path: PathBuf,
    lines: Split<BufReader<fs::File>>,
    line: usize,
    failed: bool,
}

impl JsonlReader {
    /// Opens a file.
    ///
    /// # Errors
    /// What the system refused.
    pub fn open(path: &Path) -> Result<Self> {
        let file =
            fs::File::open(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        let lines = BufReader::new(file).split(b'\n');
        Ok(Self { path: path.to_owned(), lines, line: 0, failed: false })
    }

    fn record(&self, bytes: &[u8]) -> Result<CotRecord> {
        let (path, line) = (&self.path, self.line);
        let map: Map<String, Value> = serde_json::from_slice(bytes)
            .map_err(|source| Error::Json { path: path.clone(), line, source })?;
        CotRecord::from_map(map).map_err(|problem| Error::Record {
            path: path.clone(),
            line,
            problem,
        })
    }
}

impl Iterator for JsonlReader {
    type Item = Result<CotRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            let bytes = self.lines.next()?;
            self.line += 1;
            let record = match bytes {
                Err(source) => Err(Error::Read { path: self.path.clone(), source }),
                Ok(bytes) if bytes.trim_ascii().is_empty() => continue,
                Ok(bytes) => self.record(&bytes),
            };
            self.failed = record.is_err();
            return Some(record);
        }
        None
    }
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
