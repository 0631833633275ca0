//! Quantisation of a decoder to 2, 3, 4 or 8 bits: round to nearest, GPTQ and AWQ, packed
//! layers, and the checkpoint formats of others: GPTQ in both its versions, AWQ,
//! compressed-tensors, and the blocks of GGUF files.
//!
//! [`quantize()`] walks over a [`limbeck_model::Decoder`] and replaces its projections, and if asked its
//! head and embedding, by packed ones, [`save()`] writes the folder and proves that it reads back, and
//! [`load_decoder`] opens a folder whether it is quantised or not.
//!
//! Modules in reading order: [`config`]; [`bits`] and [`grid`] (the levels of a group of
//! weights); [`matrix`] and [`quantized`] (weights before and after); [`rtn`],
//! [`hessian`], [`order`], [`gptaq`] and [`gptq`] with its inner loop in `tile` (the methods,
//! free of models);
//! [`packing`] and [`formats`] (words and files); [`kernels`], [`packed_weight`],
//! [`packed_linear`] and [`packed_embedding`] (what computes); [`layer_shapes`], `layer_plan`,
//! `predict`, `sensitivity`, `calibration`, [`awq`], `head`, `finished_blocks`, `walk`,
//! [`report`], [`mod@quantize`] and [`mod@requantize`] (the walk); [`nf4`] (a base below an
//! adapter); [`scales`] (what a repair may tune); [`loader`], [`mod@save`], [`gguf`] and [`verify`] (folders and files). A further
//! method adds a file beside [`gptq`]; a
//! further format one in [`formats`].

#![cfg_attr(
    test,
    expect(clippy::float_cmp, reason = "levels and codes are compared where they are exact")
)]

pub mod awq;
pub mod bits;
mod calibration;
pub mod config;
mod device_weight;
mod elements;
mod error;
mod finished_blocks;
pub mod footprint;
pub mod formats;
pub mod gguf;
pub mod gptaq;
pub mod gptq;
pub mod grid;
mod head;
pub mod hessian;
pub mod kernels;
mod layer_plan;
pub mod layer_shapes;
pub mod loader;
pub mod matrix;
pub mod nf4;
pub mod order;
pub mod packed_embedding;
pub mod packed_linear;
pub mod packed_weight;
pub mod packing;
mod predict;
pub mod quantize;
pub mod quantized;
pub mod report;
pub mod requantize;
pub mod rtn;
pub mod save;
pub mod scales;
mod sensitivity;
mod tile;
pub mod verify;
mod walk;

pub use bits::Bits;
pub use config::{Method, QuantizeConfig};
pub use error::{Error, Result};
pub use formats::{CheckpointSettings, Format};
pub use gguf::save_gguf;
pub use gptaq::Drift;
pub use grid::{Grid, GridRule};
pub use hessian::{Factor, Hessian};
pub use loader::{PackedLoader, Residency, Storage, load_decoder, load_decoder_as, quantization};
pub use matrix::WeightMatrix;
pub use order::Order;
pub use packed_embedding::PackedEmbedding;
pub use packed_linear::PackedLinear;
pub use packed_weight::{Activations, PackedWeight};
pub use quantize::{quantize, quantize_resumably};
pub use quantized::QuantizedWeight;
pub use report::{LayerReport, ProgressFn, QuantizeReport, Sensitivity};
pub use requantize::requantize;
pub use save::{save, save_proved_on};
pub use scales::OpenScales;
pub use verify::verify_logits;
