//! Records of a file, counted on stderr while they are read.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use limbeck_cot_data::clean::RecordStream;
use limbeck_cot_data::{CotRecord, InputOptions, RecordSource, Result, records_of};
use limbeck_run::Progress;

/// What an iterator gives, counted.
struct Counted<I> {
    inner: I,
    progress: Progress,
}

impl<I: Iterator> Iterator for Counted<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        let next = self.inner.next();
        match next {
            Some(_) => self.progress.inc(1),
            None => self.progress.finish(),
        }
        next
    }
}

/// The records of a file; `label` is the command's.
pub(super) fn records(
    label: &str,
    path: &Path,
) -> Result<impl Iterator<Item = Result<CotRecord>> + use<>> {
    let inner = records_of(path, &InputOptions::default())?;
    Ok(Counted { inner, progress: Progress::new(label, 0, "records") })
}

/// A file of records of any kind that is read twice. The second time it is known how many
/// there are, and so how long it takes.
pub(super) struct RecordFile {
    path: PathBuf,
    num_records: AtomicU64,
}

impl RecordFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, num_records: AtomicU64::new(0) }
    }
}

impl RecordSource for RecordFile {
    fn open(&self) -> Result<RecordStream<'_>> {
        let total = self.num_records.swap(0, Ordering::Relaxed);
        let label = if total == 0 { "clean, reading" } else { "clean, writing" };
        let inner = records_of(&self.path, &InputOptions::default())?
            .inspect(|_| _ = self.num_records.fetch_add(1, Ordering::Relaxed));
        Ok(Box::new(Counted { inner, progress: Progress::new(label, total, "records") }))
    }
}
