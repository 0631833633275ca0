//! A teacher that was asked once: its likeliest tokens at every position that carries a
//! loss, on disk.
//!
//! A capture is a folder of files `*.capture`, one for each shard. A file can be cut off
//! anywhere and continued; without its end mark it is not read. At each position it keeps
//! the `top_k` likeliest tokens with their log-probabilities and the exact log-mass of all
//! others, for one temperature. [`MAX_ERROR`] bounds what rounding does to a
//! log-probability.
//!
//! Reading order: `teacher` asks the teacher, `record` is what it said, `codec` and
//! `range_coder` make it small, `block` frames it with checksums, `writer` and `reader` are
//! the two ends, `header` and [`error`] what they agree on.

mod block;
mod codec;
pub mod error;
mod header;
mod range_coder;
mod reader;
mod record;
mod teacher;
mod writer;

pub use block::{FORMAT_VERSION, TokensHash};
pub use codec::{MAX_ERROR, STEP};
pub use error::{CaptureError, Result};
pub use header::{Expected, Header};
pub use reader::{CapturedRows, CapturedTeacher, Wanted, capture_files, loss_positions};
pub use record::CapturedRecord;
pub use teacher::{ask, compare};
pub use writer::CaptureWriter;

/// What the name of a capture's file ends with.
pub const EXTENSION: &str = "capture";
