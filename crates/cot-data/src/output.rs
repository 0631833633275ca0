//! Records and other objects to files, one after another, in bounded memory.
//!
//! A file's ending says how it is written: `.jsonl`, `.jsonl.zst`, `.parquet` for
//! records, and also `.json` (one array) for the objects of other formats. The file
//! appears when it is finished; if writing fails or is given up, nothing is left.

#[cfg(feature = "parquet")]
pub(crate) mod parquet;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::partial::Partial;
use crate::record::CotRecord;

/// Ending of a file of lines.
const JSONL: &str = ".jsonl";

/// Ending of a file of compressed lines.
const JSONL_ZST: &str = ".jsonl.zst";

/// Ending of a file with one array.
const JSON: &str = ".json";

/// Ending of a table.
#[cfg(feature = "parquet")]
const PARQUET: &str = ".parquet";

/// Endings of a file of records.
const RECORD_ENDINGS: &str = ".jsonl, .jsonl.zst or .parquet";

/// Endings of a file of other objects.
const OBJECT_ENDINGS: &str = ".jsonl, .jsonl.zst or .json";

/// Where JSON texts go.
enum Stream {
    Plain(BufWriter<File>),
    Zstd(Box<zstd::Encoder<'static, BufWriter<File>>>),
}

impl Stream {
    fn finish(self) -> io::Result<File> {
        let out = match self {
            Self::Plain(out) => out,
            Self::Zstd(encoder) => encoder.finish()?,
        };
        out.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// Writes JSON objects to a file.
pub struct ObjectWriter {
    partial: Partial,
    stream: Stream,
    is_array: bool,
    num_written: u64,
}

impl ObjectWriter {
    /// Opens a file that ends in `.jsonl`, `.jsonl.zst` or `.json`.
    ///
    /// # Errors
    /// Another ending, or what the system refused.
    pub fn create(path: &Path) -> Result<Self> {
        let name = lower_name(path);
        let (is_array, is_zstd) = if name.ends_with(JSON) {
            (true, false)
        } else if name.ends_with(JSONL) {
            (false, false)
        } else if name.ends_with(JSONL_ZST) {
            (false, true)
        } else {
            return Err(Error::Ending { path: path.to_owned(), expected: OBJECT_ENDINGS });
        };
        let opened = (|| {
            let (partial, file) = Partial::create(path)?;
            let out = BufWriter::new(file);
            let stream = if is_zstd {
                let mut encoder = zstd::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                encoder.include_checksum(true)?;
                Stream::Zstd(Box::new(encoder))
            } else {
                Stream::Plain(out)
            };
            Ok((partial, stream))
        })();
        let (partial, stream) =
            opened.map_err(|source| Error::Write { path: path.to_owned(), source })?;
        Ok(Self { partial, stream, is_array, num_written: 0 })
    }

    /// Writes one object.
    ///
    /// # Errors
    /// What the system refused.
    pub fn write(&mut self, object: &Map<String, Value>) -> Result<()> {
        self.put(object)
    }

    fn put(&mut self, object: &impl Serialize) -> Result<()> {
        let before: &[u8] = match (self.is_array, self.num_written) {
            (true, 0) => b"[\n",
            (true, _) => b",\n",
            (false, _) => b"",
        };
        let after: &[u8] = if self.is_array { b"" } else { b"\n" };
        let stream = &mut self.stream;
        let written = stream
            .write_all(before)
            .and_then(|()| serde_json::to_writer(&mut *stream, object).map_err(io::Error::from))
            .and_then(|()| stream.write_all(after));
        written.map_err(|source| self.failed(source))?;
        self.num_written += 1;
        Ok(())
    }

    /// Objects written so far.
    pub fn num_written(&self) -> u64 {
        self.num_written
    }

    /// Finishes the file and gives it its name.
    ///
    /// # Errors
    /// What the system refused; then no file is left.
    pub fn finish(mut self) -> Result<()> {
        let end: &[u8] = match (self.is_array, self.num_written) {
            (true, 0) => b"[]\n",
            (true, _) => b"\n]\n",
            (false, _) => b"",
        };
        self.stream.write_all(end).map_err(|source| self.failed(source))?;
        let Self { partial, stream, .. } = self;
        let path = partial.target().to_owned();
        stream
            .finish()
            .and_then(|file| partial.keep(&file))
            .map_err(|source| Error::Write { path, source })
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Write { path: self.partial.target().to_owned(), source }
    }
}

/// Writes records to a file.
pub struct RecordWriter {
    sink: Sink,
}

enum Sink {
    Json(ObjectWriter),
    #[cfg(feature = "parquet")]
    Parquet(Box<parquet::Table>),
}

impl RecordWriter {
    /// Opens a file that ends in `.jsonl`, `.jsonl.zst` or `.parquet`.
    ///
    /// # Errors
    /// Another ending, or what the system refused.
    pub fn create(path: &Path) -> Result<Self> {
        let name = lower_name(path);
        #[cfg(feature = "parquet")]
        if name.ends_with(PARQUET) {
            return Ok(Self { sink: Sink::Parquet(Box::new(parquet::Table::create(path)?)) });
        }
        if name.ends_with(JSONL) || name.ends_with(JSONL_ZST) {
            return Ok(Self { sink: Sink::Json(ObjectWriter::create(path)?) });
        }
        Err(Error::Ending { path: path.to_owned(), expected: RECORD_ENDINGS })
    }

    /// Writes one record.
    ///
    /// # Errors
    /// What the system refused.
    pub fn write(&mut self, record: &CotRecord) -> Result<()> {
        match &mut self.sink {
            Sink::Json(out) => out.put(record),
            #[cfg(feature = "parquet")]
            Sink::Parquet(table) => table.write(record),
        }
    }

    /// Records written so far.
    pub fn num_written(&self) -> u64 {
        match &self.sink {
            Sink::Json(out) => out.num_written(),
            #[cfg(feature = "parquet")]
            Sink::Parquet(table) => table.num_written(),
        }
    }

    /// Finishes the file and gives it its name.
    ///
    /// # Errors
    /// What the system refused; then no file is left.
    pub fn finish(self) -> Result<()> {
        match self.sink {
            Sink::Json(out) => out.finish(),
            #[cfg(feature = "parquet")]
            Sink::Parquet(table) => table.finish(),
        }
    }
}

/// Writes all records to a file; its ending says how.
///
/// # Errors
/// An unknown ending, or what the system refused.
pub fn write_records(path: &Path, records: &[CotRecord]) -> Result<()> {
    let mut writer = RecordWriter::create(path)?;
    for record in records {
        writer.write(record)?;
    }
    writer.finish()
}

fn lower_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().to_lowercase()
}
