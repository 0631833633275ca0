//! Tables that live in memory while they are small and in temporary files when they are
//! not: entries sorted by hash (an external merge sort), and bytes read at random.
//!
//! Both give the same in memory as on disk, so a result does not depend on the budget.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

/// A hash, and the number of the text that has it.
pub(crate) type Entry = (u64, u32);

/// Collects entries and gives them back by hash, then by number.
#[derive(Debug)]
pub(crate) struct HashSorter {
    buffer: Vec<Entry>,
    run_length: usize,
    runs: Vec<PathBuf>,
    stem: PathBuf,
}

impl HashSorter {
    /// A sorter that holds `run_length` entries in memory and writes the rest to files that
    /// start with `stem`, in sorted runs.
    pub(crate) fn new(stem: PathBuf, run_length: usize) -> Self {
        Self { buffer: Vec::new(), run_length: run_length.max(1), runs: Vec::new(), stem }
    }

    /// Adds an entry.
    pub(crate) fn push(&mut self, hash: u64, number: u32) -> io::Result<()> {
        if self.buffer.len() == self.run_length {
            self.buffer.par_sort_unstable();
            let path = self.stem.with_extension(self.runs.len().to_string());
            let mut out = BufWriter::new(File::create(&path)?);
            for (hash, number) in self.buffer.drain(..) {
                out.write_all(&hash.to_le_bytes())?;
                out.write_all(&number.to_le_bytes())?;
            }
            out.flush()?;
            self.runs.push(path);
        }
        self.buffer.push((hash, number));
        Ok(())
    }

    /// Calls `take` with the numbers of every hash that two or more entries have, in order.
    pub(crate) fn for_each_group<E: From<io::Error>>(
        mut self,
        mut take: impl FnMut(&[u32]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.buffer.par_sort_unstable();
        let mut group: Vec<u32> = Vec::new();
        let mut current = None;
        let mut add = |(hash, number): Entry| -> Result<(), E> {
            if current != Some(hash) {
                if group.len() > 1 {
                    take(&group)?;
                }
                group.clear();
                current = Some(hash);
            }
            group.push(number);
            Ok(())
        };
        if self.runs.is_empty() {
            for entry in std::mem::take(&mut self.buffer) {
                add(entry)?;
            }
        } else {
            let mut runs =
                self.runs.iter().map(|path| Run::open(path)).collect::<io::Result<Vec<_>>>()?;
            let mut buffer = std::mem::take(&mut self.buffer).into_iter();
            // The last run is the one still in memory.
            let last = runs.len();
            let mut heap = BinaryHeap::with_capacity(last + 1);
            for (place, run) in runs.iter_mut().enumerate() {
                heap.extend(run.next()?.map(|entry| Reverse((entry, place))));
            }
            heap.extend(buffer.next().map(|entry| Reverse((entry, last))));
            while let Some(Reverse((entry, place))) = heap.pop() {
                add(entry)?;
                let next = if place == last { buffer.next() } else { runs[place].next()? };
                heap.extend(next.map(|entry| Reverse((entry, place))));
            }
        }
        if group.len() > 1 {
            take(&group)?;
        }
        // Freed band by band: the disk need not hold all of them at the end.
        for path in &self.runs {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    /// Whether anything went to a file.
    #[cfg(test)]
    pub(crate) fn has_spilled(&self) -> bool {
        !self.runs.is_empty()
    }
}

/// A sorted run in a file.
struct Run {
    file: BufReader<File>,
}

impl Run {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: BufReader::with_capacity(1 << 16, File::open(path)?) })
    }

    fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut bytes = [0; 12];
        match self.file.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let [h0, h1, h2, h3, h4, h5, h6, h7, n0, n1, n2, n3] = bytes;
        let hash = u64::from_le_bytes([h0, h1, h2, h3, h4, h5, h6, h7]);
        Ok(Some((hash, u32::from_le_bytes([n0, n1, n2, n3]))))
    }
}

/// Bytes that are added at the end and read anywhere.
#[derive(Debug)]
pub(crate) struct Spool {
    /// All bytes, or those that are not in the file yet.
    memory: Vec<u8>,
    limit: usize,
    path: PathBuf,
    file: Option<File>,
    /// Bytes in the file.
    written: u64,
}

impl Spool {
    /// How much is written to the file at a time.
    const CHUNK: usize = 1 << 20;

    /// A spool that holds `limit` bytes in memory before it makes a file.
    pub(crate) fn new(path: PathBuf, limit: usize) -> Self {
        Self { memory: Vec::new(), limit, path, file: None, written: 0 }
    }

    /// Bytes added so far.
    pub(crate) fn len(&self) -> u64 {
        self.written + self.memory.len() as u64
    }

    /// Adds bytes at the end.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let limit = if self.file.is_some() { Self::CHUNK } else { self.limit };
        if self.memory.len() + bytes.len() > limit {
            self.flush()?;
        }
        self.memory.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let mut options = File::options();
            self.file = Some(options.read(true).write(true).create_new(true).open(&self.path)?);
        }
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::End(0))?;
            file.write_all(&self.memory)?;
            self.written += self.memory.len() as u64;
            self.memory = Vec::new();
        }
        Ok(())
    }

    /// Reads bytes that were added at a place.
    pub(crate) fn read(&mut self, start: u64, bytes: &mut [u8]) -> io::Result<()> {
        if start >= self.written {
            let start = (start - self.written) as usize;
            let found = self.memory.get(start..start + bytes.len());
            bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            return Ok(());
        }
        match &mut self.file {
            None => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(file) => {
                file.seek(SeekFrom::Start(start))?;
                file.read_exact(bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::CounterRng;

    fn groups(run_length: usize, entries: &[Entry]) -> (Vec<Vec<u32>>, bool) {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = HashSorter::new(folder.path().join("band"), run_length);
        for (hash, number) in entries {
            sorter.push(*hash, *number).unwrap();
        }
        let spilled = sorter.has_spilled();
        let mut found = Vec::new();
        sorter
            .for_each_group(|group| {
                found.push(group.to_vec());
                io::Result::Ok(())
            })
            .unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no run is left");
        (found, spilled)
    }

    #[test]
    fn groups_are_the_same_in_memory_and_in_runs() {
        let mut rng = CounterRng::new(1);
        let entries: Vec<Entry> =
            (0..5000).map(|number| (rng.below(2000) as u64, number)).collect();
        let (whole, spilled) = groups(10_000, &entries);
        assert!(!spilled && whole.len() > 1000);
        assert!(whole.iter().all(|group| group.is_sorted()));
        for run_length in [1000, 7, 4999, 5000] {
            let (found, spilled) = groups(run_length, &entries);
            assert_eq!(found, whole, "runs of {run_length}");
            assert_eq!(spilled, run_length < 5000);
        }
        assert_eq!(groups(3, &[]).0, Vec::<Vec<u32>>::new());
    }

    #[test]
    fn a_spool_reads_back_what_was_added() {
        let folder = tempfile::tempdir().unwrap();
        for limit in [0, 100, 1 << 20] {
            let mut spool = Spool::new(folder.path().join(format!("spool{limit}")), limit);
            for number in 0..1000_u32 {
                assert_eq!(spool.len(), u64::from(number) * 4);
                spool.append(&number.to_le_bytes()).unwrap();
            }
            for number in [0, 24, 25, 999, 3] {
                let mut bytes = [0; 4];
                spool.read(number * 4, &mut bytes).unwrap();
                assert_eq!(u64::from(u32::from_le_bytes(bytes)), number);
            }
            assert!(spool.read(4000, &mut [0; 1]).is_err());
        }
    }
}
