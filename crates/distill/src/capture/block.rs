//! The frame of a file: a head, a block for each record, an end mark.
//!
//! ```text
//! file   "LBKCAPT\n" | version u32 | length u32 | header as JSON | CRC-32 of all before
//! block  kind u32 | length u32 | CRC-32 of both | body | CRC-32 of the body
//! body   (kind "RECD") id length u16 | id | hash of the tokens u64 × 2 | codec
//!        (kind "END.") number of records u64
//! ```
//!
//! Numbers are little endian. A block's head has a checksum of its own, so that a damaged
//! length is not taken for a file that was cut off. Without an end mark a file is
//! unfinished, wherever it was cut.

use std::fs::File;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use limbeck_run::{Error as RunError, sha256_bytes};

use super::error::{CaptureError, Result};
use super::header::Header;

/// The version of the format.
pub const FORMAT_VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"LBKCAPT\n";
const RECORD: [u8; 4] = *b"RECD";
const END: [u8; 4] = *b"END.";
/// Kind, length and their checksum.
pub(super) const BLOCK_HEAD: u64 = 12;
/// A header is a few hundred bytes; more is damage.
const MAX_HEADER: u32 = 1 << 16;

/// A machine that lost its power while writing: the length reached the disk, the content
/// did not.
const UNWRITTEN: &str = "a block that was not written whole";

/// A hash of a record's token ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokensHash([u8; 16]);

impl TokensHash {
    /// The first half of the SHA-256 of the ids as little-endian i64.
    pub fn of(tokens: &[i64]) -> Self {
        let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        let text = sha256_bytes(&bytes);
        let mut hash = [0; 16];
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |letter: u8| (letter as char).to_digit(16).unwrap_or(0) as u8;
            *byte = digit(pair[0]) << 4 | digit(pair[1]);
        }
        Self(hash)
    }
}

/// The head of a file, as bytes.
pub(super) fn file_head(header: &Header) -> Vec<u8> {
    let json = serde_json::json!(header).to_string();
    let mut bytes = MAGIC.to_vec();
    bytes.extend(FORMAT_VERSION.to_le_bytes());
    bytes.extend((json.len() as u32).to_le_bytes());
    bytes.extend(json.as_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// The block of a record, as bytes.
pub(super) fn record_block(id: &str, tokens: TokensHash, codec: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(id.len() + codec.len() + 18);
    body.extend((id.len() as u16).to_le_bytes());
    body.extend(id.as_bytes());
    body.extend(tokens.0);
    body.extend(codec);
    block(RECORD, &body)
}

/// The end mark, as bytes.
pub(super) fn end_block(num_records: u64) -> Vec<u8> {
    block(END, &num_records.to_le_bytes())
}

fn block(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_vec();
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes.extend(body);
    bytes.extend(crc32fast::hash(body).to_le_bytes());
    bytes
}

/// A whole block that a scan came upon.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// A record.
    Record {
        /// Its id.
        id: String,
        /// Of its tokens.
        tokens: TokensHash,
        /// Where its body begins.
        offset: u64,
        /// Bytes of its body.
        length: u32,
    },
    /// The end mark.
    End,
}

/// What is taken apart of a record's body: id, hash, and the codec's bytes.
pub(super) fn split_body(body: &[u8]) -> Option<(&str, TokensHash, &[u8])> {
    let (length, rest) = body.split_first_chunk::<2>()?;
    let (id, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let (hash, codec) = rest.split_first_chunk::<16>()?;
    Some((std::str::from_utf8(id).ok()?, TokensHash(*hash), codec))
}

/// Reads a file from its head to its end mark and checks all of it, a block at a time.
#[derive(Debug)]
pub(super) struct Scan {
    reader: BufReader<File>,
    path: PathBuf,
    /// Where the last whole block ends.
    pub(super) offset: u64,
    size: u64,
    num_records: u64,
    body: Vec<u8>,
}

impl Scan {
    /// Reads the head.
    pub(super) fn open(path: &Path, mut file: File) -> Result<(Self, Header)> {
        let failed = |source| RunError::read(path, source);
        let size = file.metadata().map_err(failed)?.len();
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut scan = Self {
            reader: BufReader::with_capacity(1 << 18, file),
            path: path.to_owned(),
            offset: 0,
            size,
            num_records: 0,
            body: Vec::new(),
        };
        let header = scan.header()?;
        Ok((scan, header))
    }

    fn header(&mut self) -> Result<Header> {
        let mut bytes = vec![0; 16.min(self.size as usize)];
        self.read_exact(&mut bytes)?;
        let Some((magic, numbers)) = bytes.split_first_chunk::<8>() else {
            return Err(if MAGIC.starts_with(&bytes) {
                self.cut_off("half a header")
            } else {
                CaptureError::NotACapture { path: self.path.clone() }
            });
        };
        if *magic != MAGIC {
            return Err(CaptureError::NotACapture { path: self.path.clone() });
        }
        let Some([version, length]) = two_numbers(numbers) else {
            return Err(self.cut_off("half a header"));
        };
        if version != FORMAT_VERSION {
            return Err(CaptureError::Version { path: self.path.clone(), found: version });
        }
        if length > MAX_HEADER {
            return Err(self.damaged(0, format!("a header of {length} bytes")));
        }
        let rest = u64::from(length) + 4;
        if self.size < 16 + rest {
            return Err(self.cut_off("half a header"));
        }
        bytes.resize(16 + rest as usize, 0);
        let mut tail = vec![0; rest as usize];
        self.read_exact(&mut tail)?;
        bytes[16..].copy_from_slice(&tail);
        let Some((content, checksum)) = bytes.split_last_chunk::<4>() else {
            return Err(self.cut_off("half a header"));
        };
        if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
            return Err(self.damaged(0, "the header's checksum does not fit".to_owned()));
        }
        let header: Header = serde_json::from_slice(&content[16..])
            .map_err(|error| self.damaged(0, format!("the header is not read: {error}")))?;
        header.validate()?;
        self.offset = bytes.len() as u64;
        Ok(header)
    }

    /// The next block; after the end mark, nothing.
    ///
    /// # Errors
    /// [`CaptureError::CutOff`] where the file ends before the end mark,
    /// [`CaptureError::Damaged`].
    pub(super) fn next_block(&mut self) -> Result<Block> {
        let at = self.offset;
        let left = self.size - at;
        if left < BLOCK_HEAD {
            return Err(self.cut_off(if left == 0 { "no end mark" } else { "half a block" }));
        }
        let mut head = [0; BLOCK_HEAD as usize];
        self.read_exact(&mut head)?;
        let (covered, checksum) = head.split_at(8);
        if crc32fast::hash(covered).to_le_bytes() != *checksum {
            if checksum.ends_with(&[0]) && self.rest_is_zero()? {
                return Err(self.cut_off(UNWRITTEN));
            }
            let what = "the checksum of a block's length does not fit".to_owned();
            return Err(self.damaged(at, what));
        }
        let kind = [head[0], head[1], head[2], head[3]];
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        let end = at + BLOCK_HEAD + u64::from(length) + 4;
        if end > self.size {
            return Err(self.cut_off("half a block"));
        }
        let mut body = std::mem::take(&mut self.body);
        body.resize(length as usize + 4, 0);
        self.read_exact(&mut body)?;
        self.body = body;
        let (body, checksum) = self.body.split_at(length as usize);
        if crc32fast::hash(body).to_le_bytes() != *checksum {
            // What follows the last block of a file was never written.
            let last = end == self.size || (checksum.ends_with(&[0]) && self.rest_is_zero()?);
            let what = "the checksum of a block does not fit".to_owned();
            return Err(if last { self.cut_off(UNWRITTEN) } else { self.damaged(at, what) });
        }
        let block = match kind {
            RECORD => split_body(body).map(|(id, tokens, _)| Block::Record {
                id: id.to_owned(),
                tokens,
                offset: at + BLOCK_HEAD,
                length,
            }),
            END => {
                (body == self.num_records.to_le_bytes() && end == self.size).then_some(Block::End)
            }
            _ => None,
        };
        let block =
            block.ok_or_else(|| self.damaged(at, "a block that no writer makes".to_owned()))?;
        if matches!(block, Block::Record { .. }) {
            self.num_records += 1;
            self.offset = end;
        }
        Ok(block)
    }

    fn read_exact(&mut self, bytes: &mut [u8]) -> Result<()> {
        let failed = |source| RunError::read(&self.path, source);
        Ok(self.reader.read_exact(bytes).map_err(failed)?)
    }

    /// Whether nothing but zeros follows: the file grew and its content was not written.
    fn rest_is_zero(&mut self) -> Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            let failed = |source| RunError::read(&self.path, source);
            let count = self.reader.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                return Ok(true);
            }
            if buffer[..count].iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
        }
    }

    fn cut_off(&self, found: &'static str) -> CaptureError {
        let num_records = self.num_records;
        CaptureError::CutOff { path: self.path.clone(), offset: self.offset, num_records, found }
    }

    fn damaged(&self, offset: u64, what: String) -> CaptureError {
        CaptureError::Damaged { path: self.path.clone(), offset, what }
    }
}

fn two_numbers(bytes: &[u8]) -> Option<[u32; 2]> {
    let (first, rest) = bytes.split_first_chunk::<4>()?;
    let (second, _) = rest.split_first_chunk::<4>()?;
    Some([u32::from_le_bytes(*first), u32::from_le_bytes(*second)])
}
