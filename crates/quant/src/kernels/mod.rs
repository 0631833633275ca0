//! Products with a packed matrix on the CPU.
//!
//! A [`TiledMatrix`] holds codes in tiles of `LANES` outputs, so that a vector register
//! serves several outputs, a group's scale is one multiplication, and the codes are read front
//! to back once. `product` is the kernel, written once over `code_lanes`, which has the vector
//! instructions; the widest that the processor has are taken at run time.
//!
//! Activations stay in fp32: what is computed is the product with the dequantised weight but
//! for the order of its sums. Rounding activations to 8 bits would be faster for many rows,
//! and would change the model.

mod code_lanes;
mod product;
mod tiled;

pub use tiled::TiledMatrix;

/// Outputs of a tile: a vector of them.
pub(crate) use limbeck_core::lanes::LANES;
