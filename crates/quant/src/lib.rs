//! Quantisation of a decoder's projections to 4 or 8 bits: round to nearest and GPTQ,
//! packed layers, and the GPTQ checkpoint format in both its versions.
//!
//! [`quantize()`] walks over a [`limbeck_model::Decoder`] and replaces its projections by
//! [`PackedLinear`]s, [`save()`] writes the folder and proves that it reads back, and
//! [`load_decoder`] opens a folder whether it is quantised or not.
//!
//! Modules in reading order: [`config`]; [`bits`] and [`grid`] (the levels of a group of
//! weights); [`matrix`] and [`quantized`] (weights before and after); [`rtn`],
//! [`hessian`] and [`gptq`] with its inner loop in `tile` (the methods, free of models);
//! [`packing`] and [`formats`] (words and files); [`kernels`], [`packed_weight`],
//! [`packed_linear`] and [`packed_embedding`] (what computes); [`layer_shapes`], `calibration`,
//! [`mod@quantize`] and [`mod@requantize`] (the walk); [`nf4`] (a base below an adapter);
//! [`loader`] and [`mod@save`] (folders). A further method adds a file beside [`gptq`]; a
//! further format one in [`formats`].

#![cfg_attr(
    test,
    expect(clippy::float_cmp, reason = "levels and codes are compared where they are exact")
)]

pub mod bits;
mod calibration;
pub mod config;
mod device_weight;
mod elements;
mod error;
pub mod formats;
pub mod gptq;
pub mod grid;
pub mod hessian;
pub mod kernels;
pub mod layer_shapes;
pub mod loader;
pub mod matrix;
pub mod nf4;
pub mod order;
pub mod packed_embedding;
pub mod packed_linear;
pub mod packed_weight;
pub mod packing;
pub mod quantize;
pub mod quantized;
pub mod requantize;
pub mod rtn;
pub mod save;
mod tile;

pub use bits::Bits;
pub use config::{Method, QuantizeConfig};
pub use error::{Error, Result};
pub use formats::{CheckpointSettings, Format};
pub use grid::{Grid, GridRule};
pub use hessian::{Factor, Hessian};
pub use loader::{PackedLoader, Residency, load_decoder, load_decoder_as, quantization};
pub use matrix::WeightMatrix;
pub use order::Order;
pub use packed_embedding::PackedEmbedding;
pub use packed_linear::PackedLinear;
pub use packed_weight::PackedWeight;
pub use quantize::{LayerReport, QuantizeReport, quantize};
pub use quantized::QuantizedWeight;
pub use requantize::requantize;
pub use save::save;
