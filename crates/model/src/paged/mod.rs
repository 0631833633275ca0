//! Keys and values in blocks of a pool, and forward passes of many sequences without padding
//! (`PagedAttention`, Kwon et al. 2023, arXiv 2309.06180).
//!
//! Who owns which block, and what is computed when, is decided elsewhere: here a pass is told
//! for each span of tokens which blocks hold its sequence.
//!
//! Modules in reading order: `pass` (what is computed), `cache` (the pool's memory), `slots`
//! (one layer's keys or values), `forward`, `attention`; on the CPU in fp32 `tiled` and `kernel`
//! in place of slots and attention.

mod attention;
mod cache;
mod forward;
mod kernel;
mod pass;
mod slots;
mod tiled;

pub use cache::PagedCache;
pub use pass::{PagedPass, PagedSpan};

pub(crate) use cache::{PagedLayer, PagedRows};
pub(crate) use forward::PagedStep;

/// Slots of a block.
pub const BLOCK_SIZE: usize = 16;
