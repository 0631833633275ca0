//! The bytes of a file: counted as they are read, decompressed if need be.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::input::Fault;
use crate::rejects::Reason;

/// Text as a stream.
pub(super) type Text = Box<dyn BufRead + Send>;

/// What a reader tells while it is buried under decoders.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    bytes: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<io::Error>>>,
}

impl Progress {
    /// Bytes read so far.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts bytes that are read elsewhere.
    pub(super) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Keeps a read error of the system, which is no fault of the file.
    pub(super) fn fail(&self, error: &io::Error) {
        let copy = error
            .raw_os_error()
            .map_or_else(|| io::Error::from(error.kind()), io::Error::from_raw_os_error);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
    }

    /// The read error, if there was one.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            None => Ok(()),
            Some(source) => Err(Error::Read { path: path.to_owned(), source }),
        }
    }
}

/// A file that counts.
struct Counted {
    file: File,
    progress: Progress,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer);
        match &read {
            Ok(length) => self.progress.add(*length as u64),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => self.progress.fail(error),
        }
        read
    }
}

/// How a text is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Zstd,
    Gzip,
}

impl Compression {
    /// From a file's first bytes.
    pub(super) fn of(start: &[u8]) -> Self {
        if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Self::Zstd
        } else if start.starts_with(&[0x1f, 0x8b]) {
            Self::Gzip
        } else {
            Self::None
        }
    }
}

/// The text of a file.
pub(super) fn text(file: File, compression: Compression, progress: &Progress) -> io::Result<Text> {
    let raw = BufReader::with_capacity(1 << 17, Counted { file, progress: progress.clone() });
    Ok(match compression {
        Compression::None => Box::new(raw),
        Compression::Zstd => {
            Box::new(BufReader::with_capacity(1 << 17, zstd::Decoder::with_buffer(raw)?))
        }
        // A file may be several gzip streams in a row.
        Compression::Gzip => {
            Box::new(BufReader::with_capacity(1 << 17, flate2::bufread::MultiGzDecoder::new(raw)))
        }
    })
}

/// The fault that a decoder's error stands for.
pub(super) fn fault(error: &io::Error, excerpt: String) -> Fault {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        let detail = "expected more compressed data, found the end of the file";
        Fault { reason: Reason::CutOff, detail: detail.to_owned(), excerpt }
    } else {
        let detail = format!("expected intact compressed data, found damage: {error}");
        Fault { reason: Reason::Damaged, detail, excerpt }
    }
}
