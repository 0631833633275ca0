//! Reading a capture: every file is checked once when it is opened, and records are read
//! and decoded one at a time as they are asked for.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use limbeck_run::Error as RunError;
use limbeck_train::Example;
use tch::{Device, Tensor};

use super::block::{Block, Scan, TokensHash, split_body};
use super::error::{CaptureError, Result};
use super::header::{Expected, Header};
use super::{CapturedRecord, EXTENSION, codec};

/// A teacher that was captured: the files of one capture, read together.
#[derive(Debug)]
pub struct CapturedTeacher {
    header: Header,
    shards: Vec<Shard>,
    index: HashMap<String, Entry>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    file: Mutex<File>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    shard: usize,
    offset: u64,
    length: u32,
    tokens: TokensHash,
}

/// Distributions for the rows of a batch.
#[derive(Debug)]
pub struct CapturedRows {
    /// Token ids, i64 `[rows, top_k]`, the likeliest first.
    pub ids: Tensor,
    /// Their natural log-probabilities, f32 `[rows, top_k]`.
    pub log_probs: Tensor,
    /// Log-mass of all other tokens, f32 `[rows]`.
    pub log_tail: Tensor,
}

/// Positions of a record whose distributions are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The record.
    pub id: &'a str,
    /// Its tokens.
    pub tokens: &'a [i64],
    /// Input positions: the distribution at position t is that of token t + 1.
    pub positions: &'a [usize],
}

impl CapturedTeacher {
    /// Opens files, or folders with files of a capture, and reads all of them once.
    ///
    /// # Errors
    /// [`CaptureError::NoFile`], [`CaptureError::CutOff`] for a file without its end mark,
    /// [`CaptureError::Damaged`], [`CaptureError::Differs`] from what is expected,
    /// [`CaptureError::ShardsDiffer`], [`CaptureError::Repeated`]; read errors.
    pub fn open(paths: &[PathBuf], expected: &Expected) -> Result<Self> {
        let files = capture_files(paths)?;
        let (mut shards, mut index): (Vec<Shard>, HashMap<String, Entry>) = Default::default();
        let mut first: Option<Header> = None;
        for path in files {
            let failed = |source| RunError::read(&path, source);
            let file = File::open(&path).map_err(failed)?;
            let (mut scan, header) = Scan::open(&path, file.try_clone().map_err(failed)?)?;
            if let Some((what, expected, found)) = expected.difference(&header) {
                return Err(CaptureError::Differs { path, what, expected, found });
            }
            if let (Some(first), Some(shard)) = (&first, shards.first())
                && let Some((what, first_value, second_value)) = first.difference(&header)
            {
                return Err(CaptureError::ShardsDiffer {
                    first: shard.path.clone(),
                    second: path,
                    what,
                    first_value,
                    second_value,
                });
            }
            first.get_or_insert(header);
            let shard = shards.len();
            while let Block::Record { id, tokens, offset, length } = scan.next_block()? {
                let entry = Entry { shard, offset, length, tokens };
                if let Some(earlier) = index.insert(id.clone(), entry) {
                    let earlier = shards.get(earlier.shard).map_or(&path, |shard| &shard.path);
                    let (first, second) = (earlier.clone(), path.clone());
                    return Err(CaptureError::Repeated { id, first, second });
                }
            }
            shards.push(Shard { path, file: Mutex::new(file) });
        }
        let header = first.ok_or(CaptureError::NoFile { path: PathBuf::new() })?;
        Ok(Self { header, shards, index })
    }

    /// What was captured, and of whom.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The ids of the records, in no order.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.index.keys().map(String::as_str)
    }

    /// Checks, without decoding, that every example was captured with the tokens that it
    /// has.
    ///
    /// # Errors
    /// [`CaptureError::Missing`], [`CaptureError::OtherTokens`].
    pub fn check_covers(&self, examples: &[Example]) -> Result<()> {
        let mut missing = Vec::new();
        for example in examples {
            if self.entry(&example.id, &example.tokens)?.is_none() {
                missing.push(example.id.as_str());
            }
        }
        match missing.first() {
            None => Ok(()),
            Some(&first) => Err(CaptureError::Missing {
                count: missing.len(),
                of: examples.len(),
                first: first.to_owned(),
            }),
        }
    }

    /// What was captured of a record; nothing for one that was not captured.
    ///
    /// # Errors
    /// [`CaptureError::OtherTokens`], [`CaptureError::Damaged`] where the file was changed
    /// after it was opened; read errors.
    pub fn get(&self, id: &str, tokens: &[i64]) -> Result<Option<CapturedRecord>> {
        let Some(entry) = self.entry(id, tokens)? else { return Ok(None) };
        let shard = &self.shards[entry.shard];
        let failed = |source| RunError::read(&shard.path, source);
        let mut bytes = vec![0; entry.length as usize + 4];
        {
            // The position is set before each read, whatever another thread left behind.
            let mut file = shard.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(entry.offset)).map_err(failed)?;
            file.read_exact(&mut bytes).map_err(failed)?;
        }
        let (body, checksum) = bytes.split_at(entry.length as usize);
        let damaged = |what: &str| CaptureError::Damaged {
            path: shard.path.clone(),
            offset: entry.offset,
            what: what.to_owned(),
        };
        if crc32fast::hash(body).to_le_bytes() != *checksum {
            return Err(damaged("the checksum of a block does not fit"));
        }
        let content =
            split_body(body).filter(|(found, hash, _)| *found == id && *hash == entry.tokens);
        let (_, _, content) = content.ok_or_else(|| damaged("another record"))?;
        let record =
            codec::decode(content, self.header.top_k, tokens.len(), self.header.vocab_size);
        record.map(Some).ok_or_else(|| damaged("a record that no writer makes"))
    }

    /// Distributions for the wanted positions, in their order.
    ///
    /// # Errors
    /// As [`Self::get`]; [`CaptureError::Missing`], [`CaptureError::Position`]; libtorch's.
    pub fn rows(&self, wanted: &[Wanted<'_>], device: Device) -> Result<CapturedRows> {
        let top_k = self.header.top_k;
        let num_rows = wanted.iter().map(|wanted| wanted.positions.len()).sum();
        let mut ids = Vec::with_capacity(num_rows * top_k);
        let mut log_probs = Vec::with_capacity(num_rows * top_k);
        let mut log_tail = Vec::with_capacity(num_rows);
        for &Wanted { id, tokens, positions } in wanted {
            let record = self.get(id, tokens)?.ok_or_else(|| CaptureError::Missing {
                count: 1,
                of: wanted.len(),
                first: id.to_owned(),
            })?;
            for &position in positions {
                let row = record
                    .row_of(position)
                    .ok_or_else(|| CaptureError::Position { id: id.to_owned(), position })?;
                let values = row * top_k..(row + 1) * top_k;
                ids.extend(record.ids[values.clone()].iter().map(|&id| i64::from(id)));
                log_probs.extend_from_slice(&record.log_probs[values]);
                log_tail.push(record.log_tail[row]);
            }
        }
        let shape = [num_rows as i64, top_k as i64];
        Ok(CapturedRows {
            ids: Tensor::f_from_slice(&ids)?.f_view(shape)?.f_to_device(device)?,
            log_probs: Tensor::f_from_slice(&log_probs)?.f_view(shape)?.f_to_device(device)?,
            log_tail: Tensor::f_from_slice(&log_tail)?.f_to_device(device)?,
        })
    }

    /// Distributions for the rows of the batch that [`limbeck_train::Batch::new`] makes of
    /// the same examples.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub fn batch_rows(&self, examples: &[&Example], device: Device) -> Result<CapturedRows> {
        let positions: Vec<Vec<usize>> =
            examples.iter().map(|example| loss_positions(example)).collect();
        let wanted: Vec<Wanted<'_>> = examples
            .iter()
            .zip(&positions)
            .map(|(example, positions)| Wanted {
                id: &example.id,
                tokens: &example.tokens,
                positions,
            })
            .collect();
        self.rows(&wanted, device)
    }

    fn entry(&self, id: &str, tokens: &[i64]) -> Result<Option<Entry>> {
        let Some(entry) = self.index.get(id) else { return Ok(None) };
        if entry.tokens != TokensHash::of(tokens) {
            let path = self.shards[entry.shard].path.clone();
            return Err(CaptureError::OtherTokens { id: id.to_owned(), path });
        }
        Ok(Some(*entry))
    }
}

/// Input positions of an example that carry a loss, as [`limbeck_train::Batch`] takes them.
pub fn loss_positions(example: &Example) -> Vec<usize> {
    let targets = example.weights.iter().enumerate().skip(1);
    targets.filter(|(_, weight)| **weight > 0.0).map(|(target, _)| target - 1).collect()
}

/// The files of a capture: those given, and those in the folders given, by name.
///
/// # Errors
/// [`CaptureError::NoFile`] for a folder without any; read errors.
pub fn capture_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let failed = |source| RunError::read(path, source);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            if is_capture(&file) {
                found.push(file);
            }
        }
        if found.is_empty() {
            return Err(CaptureError::NoFile { path: path.clone() });
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

fn is_capture(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == EXTENSION)
}
