//! Products with a packed matrix on the CPU.
//!
//! A [`TiledMatrix`] holds codes in tiles of `LANES` outputs, so that a vector register
//! serves several outputs, a group's scale is one multiplication, and the codes are read front
//! to back once. `product` is the kernel, written once over `code_lanes`, which has the vector
//! instructions; the widest that the processor has are taken at run time.
//!
//! In `product`, activations stay in fp32: what is computed is the product with the dequantised
//! weight but for the order of its sums. `rounded_product` rounds them to 8 bits first
//! (`rounded_rows`), as llama.cpp does, and multiplies bytes (`byte_lanes`): several times
//! faster for many rows, and a slightly other model.

mod byte_lanes;
mod code_lanes;
mod product;
mod rounded_product;
mod rounded_rows;
mod tiled;

pub use tiled::TiledMatrix;

/// Outputs of a tile: a vector of them.
pub(crate) use limbeck_core::lanes::LANES;
