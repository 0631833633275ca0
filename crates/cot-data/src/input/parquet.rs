//! The rows of a Parquet table as JSON objects: row group by row group, any columns.

use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::{Arc, Once};

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Row;
use parquet::record::reader::RowIter;
use serde_json::Value;

use crate::input::source::Progress;
use crate::input::{At, Fault, Item, Place};
use crate::rejects::{Reason, excerpt_of_bytes};

/// The rows of a table.
pub(super) struct Rows {
    reader: Option<RowIter<'static>>,
    number: u64,
    total: u64,
    file_bytes: u64,
    counted: u64,
    progress: Progress,
}

impl Rows {
    /// Reads the table of contents at the file's end.
    pub(super) fn open(file: File, magic: &[u8], progress: &Progress) -> Result<Self, Fault> {
        let fault =
            |reason, detail: String| Fault { reason, detail, excerpt: excerpt_of_bytes(magic) };
        if magic != b"PAR1" {
            let detail = "expected Parquet, which begins with `PAR1`, found other bytes";
            return Err(fault(Reason::Damaged, detail.to_owned()));
        }
        if !ends_with_magic(&file) {
            let detail = "expected Parquet's table of contents at the end, found none: the file \
                          is cut off";
            return Err(fault(Reason::CutOff, detail.to_owned()));
        }
        let file_bytes = file.metadata().map_or(0, |metadata| metadata.len());
        let reader = guarded(|| SerializedFileReader::new(file))
            .map_err(|problem| fault(Reason::Damaged, problem.detail(progress)))?;
        let total = u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0);
        let reader = Some(RowIter::from_file_into(Box::new(reader)));
        let progress = progress.clone();
        Ok(Self { reader, number: 0, total, file_bytes, counted: 0, progress })
    }

    /// The next rows: so many, or until their texts have so many bytes.
    pub(super) fn next_items(
        &mut self,
        path: &Arc<Path>,
        max_items: usize,
        max_bytes: usize,
    ) -> Vec<Item> {
        let mut items = Vec::new();
        let mut bytes = 0;
        while items.len() < max_items && bytes < max_bytes {
            let Some(reader) = &mut self.reader else { break };
            let next = guarded(|| {
                reader.next().transpose().map(|row| row.map(|row: Row| row.to_json_value()))
            });
            let content = match next {
                Ok(None) => {
                    self.reader = None;
                    break;
                }
                Ok(Some(Value::Object(map))) => {
                    bytes += map.values().map(weight).sum::<usize>();
                    Ok(map)
                }
                // A row is an object; nothing else comes out of the reader.
                Ok(Some(_)) => continue,
                Err(problem) => {
                    self.reader = None;
                    let (reason, detail) = (Reason::Damaged, problem.detail(&self.progress));
                    Err(Fault { reason, detail, excerpt: String::new() })
                }
            };
            self.number += 1;
            let place = Place { file: Arc::clone(path), at: At::Row(self.number) };
            items.push(Item { place, content });
        }
        self.count();
        items
    }

    /// Counts the part of the file that its rows so far stand for.
    fn count(&mut self) {
        let share = if self.reader.is_none() || self.total == 0 {
            1.0
        } else {
            (self.number as f64 / self.total as f64).min(1.0)
        };
        let reached = (self.file_bytes as f64 * share) as u64;
        self.progress.add(reached.saturating_sub(self.counted));
        self.counted = self.counted.max(reached);
    }
}

/// What a damaged table does to its reader.
enum Problem {
    Error(ParquetError),
    Panic,
}

impl Problem {
    fn detail(&self, progress: &Progress) -> String {
        match self {
            Self::Error(error) => {
                if let ParquetError::External(source) = error
                    && let Some(error) = source.downcast_ref::<std::io::Error>()
                    && error.raw_os_error().is_some()
                {
                    progress.fail(error);
                }
                format!("expected intact Parquet, found damage: {error}")
            }
            Self::Panic => {
                "expected intact Parquet of common types, found what cannot be read".to_owned()
            }
        }
    }
}

thread_local! {
    /// Whether this thread is in [`guarded`], and a panic on it is nobody's concern.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// The reader panics at some damaged files and rare types; that is a fault of the file, which
/// is told as one. The message that a panic prints would say otherwise, so the hook that
/// prints it is asked for silence, on this thread and for this long.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, Problem> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !IS_GUARDED.get() {
                print(panic);
            }
        }));
    });
    IS_GUARDED.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(read));
    IS_GUARDED.set(false);
    match outcome {
        Ok(result) => result.map_err(Problem::Error),
        Err(_) => Err(Problem::Panic),
    }
}

fn ends_with_magic(mut file: &File) -> bool {
    let mut end = [0; 4];
    let found = file.seek(SeekFrom::End(-4)).and_then(|_| file.read_exact(&mut end));
    found.is_ok() && file.rewind().is_ok() && &end == b"PAR1"
}

/// Bytes of the texts of a value, roughly.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(map) => map.values().map(weight).sum(),
        _ => 8,
    }
}
