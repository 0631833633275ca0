//! NF4, the 4-bit normal float of `QLoRA` (Dettmers et al. 2023, arXiv:2305.14314, section 3),
//! with its block maxima quantised a second time: 4.13 bits a weight.
//!
//! A base that is only read, below an adapter, is rounded to NF4 as it is loaded and dequantised
//! wherever it is used, one matrix at a time. The levels, the size and order of the blocks and
//! the second quantisation are those of bitsandbytes (0.50.2), against which the tests hold
//! them.
//!
//! [`levels`] has the 16 levels and a block of weights, [`matrix`] a matrix of blocks,
//! [`layers`] the projection and the embedding that hold one, [`loader`] reads a plain
//! checkpoint into them.

pub mod layers;
pub mod levels;
pub mod loader;
pub mod matrix;

pub use layers::{Nf4Embedding, Nf4Linear};
pub use loader::Nf4Loader;
pub use matrix::Nf4Matrix;
