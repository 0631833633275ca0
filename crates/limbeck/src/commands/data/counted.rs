//! Records of a file, counted on stderr while they are read.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use limbeck_cot_data::clean::RecordStream;
use limbeck_cot_data::{CotRecord, InputOptions, RecordSource, Result, Shard, records_of};
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

/// The records of a file's shard, each with its number in the file, from 0.
pub(super) fn records_of_shard(
    label: &str,
    path: &Path,
    shard: Shard,
) -> Result<impl Iterator<Item = Result<(u64, CotRecord)>> + use<>> {
    Ok((0..)
        .zip(records(label, path)?)
        .filter(move |(number, record)| shard.has(*number) || record.is_err())
        .map(|(number, record)| record.map(|record| (number, record))))
}

/// A shard of a file of records of any kind that is read twice. The second time it is known how many
/// there are, and so how long it takes.
pub(super) struct RecordFile {
    path: PathBuf,
    shard: Shard,
    num_records: AtomicU64,
}

impl RecordFile {
    pub(super) fn new(path: PathBuf, shard: Shard) -> Self {
        Self { path, shard, num_records: AtomicU64::new(0) }
    }
}

impl RecordSource for RecordFile {
    fn open(&self) -> Result<RecordStream<'_>> {
        let total = self.num_records.swap(0, Ordering::Relaxed);
        let label = if total == 0 { "clean, reading" } else { "clean, writing" };
        let inner = (0..)
            .zip(records_of(&self.path, &InputOptions::default())?)
            .filter(|(number, record)| self.shard.has(*number) || record.is_err())
            .map(|(_, record)| record)
            .inspect(|_| _ = self.num_records.fetch_add(1, Ordering::Relaxed));
        Ok(Box::new(Counted { inner, progress: Progress::new(label, total, "records") }))
    }
}
