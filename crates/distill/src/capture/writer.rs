//! Writing a capture, record by record, so that a killed process loses at most the
//! record that it was writing.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use limbeck_run::Error as RunError;

use super::block::{Block, Scan, TokensHash, end_block, file_head, record_block};
use super::error::{CaptureError, Result};
use super::header::Header;
use super::{CapturedRecord, codec};

/// A file of a capture that is being written or continued.
#[derive(Debug)]
pub struct CaptureWriter {
    file: File,
    path: PathBuf,
    header: Header,
    /// The tokens' hash of every record that is in the file.
    records: HashMap<String, TokensHash>,
    has_end: bool,
    cut_bytes: u64,
    written_bytes: u64,
}

impl CaptureWriter {
    /// Begins a file, or goes on with one that has the same head: what a killed process
    /// left half-written at its end is cut off.
    ///
    /// # Errors
    /// [`CaptureError::Differs`] for another head, [`CaptureError::Locked`],
    /// [`CaptureError::Damaged`]; read and write errors.
    pub fn open(path: &Path, header: &Header) -> Result<Self> {
        header.validate()?;
        let failed = |source| RunError::write(path, source);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CaptureError::Locked { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source).into()),
        }
        let mut writer = Self {
            file,
            path: path.to_owned(),
            header: header.clone(),
            records: HashMap::new(),
            has_end: false,
            cut_bytes: 0,
            written_bytes: 0,
        };
        let whole = writer.scan()?;
        let size = writer.file.metadata().map_err(failed)?.len();
        if !writer.has_end {
            writer.cut_bytes = size - whole;
            writer.file.set_len(whole).map_err(failed)?;
        }
        writer.file.seek(SeekFrom::Start(whole)).map_err(failed)?;
        writer.written_bytes = whole;
        if whole == 0 {
            writer.write(&file_head(header))?;
        }
        Ok(writer)
    }

    /// Reads what is there; returns where the last whole record ends.
    fn scan(&mut self) -> Result<u64> {
        let failed = |source| RunError::read(&self.path, source);
        let file = self.file.try_clone().map_err(failed)?;
        let (mut scan, found) = match Scan::open(&self.path, file) {
            Ok(opened) => opened,
            Err(CaptureError::CutOff { .. }) => return Ok(0),
            Err(error) => return Err(error),
        };
        if let Some(error) = CaptureError::differs(&self.path, &self.header, &found) {
            return Err(error);
        }
        loop {
            match scan.next_block() {
                Ok(Block::Record { id, tokens, .. }) => {
                    if self.records.insert(id.clone(), tokens).is_some() {
                        let (first, second) = (self.path.clone(), self.path.clone());
                        return Err(CaptureError::Repeated { id, first, second });
                    }
                }
                Ok(Block::End) => {
                    self.has_end = true;
                    return Ok(scan.offset);
                }
                Err(CaptureError::CutOff { offset, .. }) => return Ok(offset),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the record is there already.
    ///
    /// # Errors
    /// [`CaptureError::OtherTokens`] if it is there with other tokens.
    pub fn contains(&self, id: &str, tokens: &[i64]) -> Result<bool> {
        match self.records.get(id) {
            None => Ok(false),
            Some(hash) if *hash == TokensHash::of(tokens) => Ok(true),
            Some(_) => {
                Err(CaptureError::OtherTokens { id: id.to_owned(), path: self.path.clone() })
            }
        }
    }

    /// Adds a record, in one write.
    ///
    /// # Errors
    /// [`CaptureError::Shape`] if the parts of the record do not fit each other or it is
    /// there already; write errors.
    pub fn append(&mut self, id: &str, tokens: &[i64], record: &CapturedRecord) -> Result<()> {
        let shape = |what: String| CaptureError::Shape { id: id.to_owned(), what };
        if id.len() > usize::from(u16::MAX) {
            return Err(shape(format!("an id of {} bytes", id.len())));
        }
        if self.records.contains_key(id) {
            return Err(shape("it is in the capture already".to_owned()));
        }
        if record.top_k != self.header.top_k {
            let (found, expected) = (record.top_k, self.header.top_k);
            return Err(shape(format!("top {found} where the capture has top {expected}")));
        }
        record.check(tokens.len(), self.header.vocab_size).map_err(shape)?;
        let hash = TokensHash::of(tokens);
        let bytes = codec::encode(record);
        if self.has_end {
            let failed = |source| RunError::write(&self.path, source);
            self.file.set_len(self.written_bytes).map_err(failed)?;
            self.has_end = false;
        }
        self.write(&record_block(id, hash, &bytes))?;
        self.records.insert(id.to_owned(), hash);
        Ok(())
    }

    /// Puts the end mark, without which a reader calls the file unfinished, and brings
    /// everything to the disk.
    ///
    /// # Errors
    /// Write errors.
    pub fn finish(mut self) -> Result<()> {
        if !self.has_end {
            self.write(&end_block(self.records.len() as u64))?;
        }
        Ok(self.file.sync_all().map_err(|source| RunError::write(&self.path, source))?)
    }

    /// Records in the file.
    pub fn num_records(&self) -> usize {
        self.records.len()
    }

    /// Bytes that a killed process had left half-written and that were cut off.
    pub fn cut_bytes(&self) -> u64 {
        self.cut_bytes
    }

    /// Bytes of the file so far, without its end mark.
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|source| RunError::write(&self.path, source))?;
        self.written_bytes += bytes.len() as u64;
        Ok(())
    }
}
