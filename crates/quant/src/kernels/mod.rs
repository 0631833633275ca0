//! Products with a packed matrix on the CPU.
//!
//! A [`TiledMatrix`] holds codes in tiles of `LANES` outputs, so that a vector register
//! serves several outputs, a group's scale is one multiplication, and the codes are read front
//! to back once. `product` is the kernel, written once over `lanes`, which has the vector
//! instructions; the widest that the processor has are taken at run time.
//!
//! Activations stay in fp32: what is computed is the product with the dequantised weight but
//! for the order of its sums. Rounding activations to 8 bits would be faster for many rows,
//! and would change the model.

mod lanes;
mod product;
mod team;
mod tiled;

pub use lanes::Instructions;
pub use tiled::TiledMatrix;

/// Outputs of a tile.
pub(crate) const LANES: usize = 16;
