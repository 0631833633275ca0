//! Foreign files as a stream of JSON objects, in bounded memory.
//!
//! A file is JSON Lines, a JSON array, a JSON object of objects (each an entry with its
//! key) or Parquet; text may be compressed with zstd or gzip. Which it is shows in its
//! first bytes and, for text, in its name. What cannot be read is an [`Item`] too, with
//! its place and a [`Fault`], and reading goes on after it where that is possible.

mod detect;
mod elements;
mod lines;
#[cfg(feature = "parquet")]
pub(crate) mod parquet;
mod parse;
mod source;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::{Map, Value};

use crate::error::Result;
use crate::rejects::Reason;

pub use detect::Container;

/// Where in a file something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    /// The file as a whole.
    File,
    /// A line, counted from 1.
    Line(u64),
    /// An entry of a JSON array or object.
    Entry {
        /// Number, counted from 1.
        index: u64,
        /// Its key, in an object.
        key: Option<String>,
    },
    /// A row of a table, counted from 1.
    Row(u64),
}

/// A file and where in it something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// The place in the file.
    pub at: At,
}

impl Place {
    /// A place in a file.
    pub fn new(file: &Path, at: At) -> Self {
        Self { file: file.into(), at }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match &self.at {
            At::File => write!(f, "{file}"),
            At::Line(line) => write!(f, "{file}:{line}"),
            At::Entry { index, key: None } => write!(f, "{file}: entry {index}"),
            At::Entry { index, key: Some(key) } => write!(f, "{file}: entry {index} (`{key}`)"),
            At::Row(row) => write!(f, "{file}: row {row}"),
        }
    }
}

/// Why something in a file is no object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// In a word.
    pub reason: Reason,
    /// In a sentence: what was expected and what was found.
    pub detail: String,
    /// The beginning of what was found.
    pub excerpt: String,
}

/// One object of a file, or what stands where one should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Where it is.
    pub place: Place,
    /// The object.
    pub content: std::result::Result<Map<String, Value>, Fault>,
}

/// Limits of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputOptions {
    /// Most bytes of a line or entry; longer ones are faults and are not kept in memory.
    /// Default: 32 MiB.
    pub max_item_bytes: usize,
    /// What the file is. Default: what its name and its first bytes say.
    pub container: Option<Container>,
}

impl Default for InputOptions {
    fn default() -> Self {
        Self { max_item_bytes: 32 << 20, container: None }
    }
}

/// Most items of a batch.
const BATCH_ITEMS: usize = 1_024;

/// A batch ends when its texts have this many bytes together.
const BATCH_BYTES: usize = 8 << 20;

/// A text that should be an object, or a fault found before it could be looked at.
enum Piece {
    Text(Vec<u8>),
    Fault(Fault),
}

/// A piece and its place.
struct Placed {
    at: At,
    piece: Piece,
}

/// How a container's pieces are told apart.
enum Pieces {
    Lines(lines::Lines),
    Elements(elements::Elements),
    #[cfg(feature = "parquet")]
    Rows(parquet::Rows),
    /// A file that cannot be read at all.
    Nothing(Option<Fault>),
}

/// A file that is read batch by batch.
pub struct ObjectReader {
    path: Arc<Path>,
    progress: source::Progress,
    pieces: Pieces,
}

impl ObjectReader {
    /// Opens a file.
    ///
    /// # Errors
    /// What the system refused. A file of an unknown kind opens, and gives a fault.
    pub fn open(path: &Path, options: &InputOptions) -> Result<Self> {
        let (pieces, progress) = detect::open(path, options)?;
        Ok(Self { path: path.into(), progress, pieces })
    }

    /// Bytes of the file that were read so far, as they are on the disk.
    pub fn bytes_read(&self) -> u64 {
        self.progress.bytes_read()
    }

    /// The next objects, in the file's order; none at the end.
    ///
    /// # Errors
    /// A read that the system refused. All else is a fault among the items.
    pub fn next_batch(&mut self) -> Result<Vec<Item>> {
        let mut batch: Vec<Placed> = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH_ITEMS && bytes < BATCH_BYTES {
            let next = match &mut self.pieces {
                Pieces::Lines(lines) => lines.next_piece(),
                Pieces::Elements(elements) => elements.next_piece(),
                #[cfg(feature = "parquet")]
                Pieces::Rows(rows) => {
                    let items = rows.next_items(&self.path, BATCH_ITEMS, BATCH_BYTES);
                    self.progress.check(&self.path)?;
                    return Ok(items);
                }
                Pieces::Nothing(fault) => {
                    fault.take().map(|fault| Placed { at: At::File, piece: Piece::Fault(fault) })
                }
            };
            let Some(placed) = next else { break };
            if let Piece::Text(text) = &placed.piece {
                bytes += text.len();
            }
            batch.push(placed);
        }
        // A failing disk looks like a damaged file to a decoder; it must not pass as one.
        self.progress.check(&self.path)?;
        let path = &self.path;
        Ok(batch
            .into_par_iter()
            .map(|Placed { at, piece }| {
                let (at, content) = match piece {
                    Piece::Fault(fault) => (at, Err(fault)),
                    Piece::Text(text) => parse::object(at, &text),
                };
                Item { place: Place { file: Arc::clone(path), at }, content }
            })
            .collect())
    }
}

/// The items of a file, one after another; a read that the system refused ends them.
pub(crate) fn items_of(
    path: &Path,
    options: &InputOptions,
) -> Result<impl Iterator<Item = Result<Item>> + Send + use<>> {
    let mut reader = ObjectReader::open(path, options)?;
    let mut batch = Vec::new().into_iter();
    let mut has_ended = false;
    Ok(std::iter::from_fn(move || {
        if batch.len() == 0 && !has_ended {
            match reader.next_batch() {
                Ok(items) => batch = items.into_iter(),
                Err(error) => {
                    has_ended = true;
                    return Some(Err(error));
                }
            }
        }
        batch.next().map(Ok)
    }))
}
