//! Checkpoint formats of packed layers: what their tensors hold, and what their folder's
//! configuration says.
//!
//! A format packs a [`QuantizedWeight`] into tensors and reads it back. What computes with a
//! weight, and how it lies in memory, is no business of its format ([`crate::kernels`]). A
//! further format adds a file beside [`gptq`] and an arm to each `match` below. What sizes,
//! widths and groups a format and its known loaders take stands in [`rules`].

pub mod awq;
pub mod blocks;
pub mod compressed_tensors;
pub mod gptq;
pub mod rules;
mod settings;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::bits::Bits;
use crate::error::{Error, Result};
use crate::grid::ScaleDtype;
use crate::quantized::QuantizedWeight;
pub use settings::{CheckpointSettings, LayerSettings, Override};

/// Which checkpoint format layers are packed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// GPTQ, version 1: the file holds each zero less one. What most loaders read.
    #[default]
    Gptq,
    /// GPTQ, version 2: the file holds the zeros themselves.
    GptqV2,
    /// AWQ for GEMM kernels, 4 bits.
    Awq,
    /// compressed-tensors, pack-quantized.
    #[serde(rename = "compressed-tensors")]
    CompressedTensors,
    /// A file of llama.cpp's, with the codes in its blocks.
    Gguf,
}

impl Format {
    /// The name in configuration files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gptq => "gptq",
            Self::GptqV2 => "gptq_v2",
            Self::Awq => "awq",
            Self::CompressedTensors => "compressed-tensors",
            Self::Gguf => "gguf",
        }
    }

    /// The lowest zero that the format can hold.
    pub fn min_zero(self) -> u8 {
        match self {
            Self::Gptq => 1,
            Self::GptqV2 | Self::Awq | Self::CompressedTensors | Self::Gguf => 0,
        }
    }

    /// The dtype that scales are stored in.
    pub fn scale_dtype(self) -> ScaleDtype {
        match self {
            Self::Gptq | Self::GptqV2 | Self::Awq | Self::Gguf => ScaleDtype::Float16,
            Self::CompressedTensors => ScaleDtype::BFloat16,
        }
    }

    /// Sizes of a matrix that the format can hold: the input features are a multiple of the
    /// first number, the output features of the second.
    pub fn divisors(self, bits: Bits) -> (usize, usize) {
        match self {
            Self::Gptq | Self::GptqV2 => (bits.codes_per_unit(), bits.codes_per_unit()),
            Self::Awq => (1, 8),
            Self::CompressedTensors => (1, 1),
            Self::Gguf => (blocks::BLOCK, 1),
        }
    }

    /// The suffix of the tensor that tells a packed layer from a dense one.
    pub(crate) fn marker(self) -> &'static str {
        match self {
            Self::Gptq | Self::GptqV2 | Self::Awq => "qweight",
            Self::CompressedTensors => "weight_packed",
            Self::Gguf => blocks::BLOCKS,
        }
    }

    /// The tensors of a packed weight with their suffixes; `None` where the format cannot hold
    /// it.
    ///
    /// # Errors
    /// Failures of libtorch.
    pub fn pack(self, weight: &QuantizedWeight) -> Result<Option<Vec<(String, Tensor)>>> {
        match self {
            Self::Gptq | Self::GptqV2 => gptq::pack(weight, self),
            Self::Awq => awq::pack(weight),
            Self::CompressedTensors => compressed_tensors::pack(weight),
            Self::Gguf => blocks::pack(weight),
        }
    }

    /// Reads a packed weight; the caller has seen that its marker is there.
    ///
    /// # Errors
    /// A tensor that is missing, has another shape or dtype than `settings` imply, or holds
    /// what no weight can have.
    pub(crate) fn read(
        self,
        source: &mut dyn TensorSource,
        settings: LayerSettings,
        shape: (usize, usize),
    ) -> Result<QuantizedWeight> {
        match self {
            Self::Gptq | Self::GptqV2 => gptq::read(source, settings, shape, self),
            Self::Awq => awq::read(source, settings, shape),
            Self::CompressedTensors => compressed_tensors::read(source, settings, shape),
            Self::Gguf => blocks::read(source, settings, shape),
        }
    }
}

/// Where the tensors of one layer come from.
pub(crate) trait TensorSource {
    /// Whether there is a tensor of this suffix.
    fn has(&self, suffix: &str) -> bool;

    /// The tensor of this suffix, which must have this shape.
    fn take(&mut self, suffix: &str, shape: &[i64]) -> Result<Tensor>;

    /// The file, and the key of the tensor of this suffix, for errors.
    fn place(&self, suffix: &str) -> (PathBuf, String);
}

impl dyn TensorSource + '_ {
    /// An error about the tensor of this suffix.
    pub(crate) fn misfit(&self, suffix: &str, expected: String, found: String) -> Error {
        let (path, tensor) = self.place(suffix);
        Error::PackedTensor { path, tensor, expected, found }
    }

    /// Integers of a 32-bit tensor, row by row.
    pub(crate) fn integers(&mut self, suffix: &str, shape: &[usize]) -> Result<Vec<i32>> {
        let tensor = self.of_kind(suffix, shape, "int32", |kind| kind == Kind::Int)?;
        Ok(Vec::try_from(&tensor.f_contiguous()?.f_view([-1])?)?)
    }

    /// Finite numbers of a floating-point tensor, row by row.
    pub(crate) fn floats(&mut self, suffix: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let accepts = |kind| matches!(kind, Kind::Half | Kind::BFloat16 | Kind::Float);
        let tensor = self.of_kind(suffix, shape, "a floating-point dtype", accepts)?;
        let values = crate::matrix::floats(&tensor)?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(self.misfit(suffix, "finite numbers".into(), "NaN or infinity".into()));
        }
        Ok(values)
    }

    /// A tensor on the CPU whose dtype is one that `accepts` says yes to.
    pub(crate) fn of_kind(
        &mut self,
        suffix: &str,
        shape: &[usize],
        expected: &str,
        accepts: impl Fn(Kind) -> bool,
    ) -> Result<Tensor> {
        let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
        let tensor = self.take(suffix, &shape)?;
        let kind = tensor.f_kind()?;
        if !accepts(kind) {
            return Err(self.misfit(suffix, expected.to_owned(), format!("{kind:?}")));
        }
        Ok(tensor.f_to_device(Device::Cpu)?)
    }
}

/// A tensor `[.., columns]` of row-major elements.
pub(crate) fn matrix<T: tch::kind::Element>(elements: &[T], columns: usize) -> Result<Tensor> {
    Ok(Tensor::f_from_slice(elements)?.f_view([-1, columns as i64])?)
}

/// Tensors in memory as a source, for tests.
#[cfg(test)]
pub(crate) mod in_memory {
    use super::*;

    /// Tensors by suffix.
    pub(crate) struct Tensors(pub(crate) Vec<(String, Tensor)>);

    impl TensorSource for Tensors {
        fn has(&self, suffix: &str) -> bool {
            self.0.iter().any(|(name, _)| name == suffix)
        }

        fn take(&mut self, suffix: &str, shape: &[i64]) -> Result<Tensor> {
            let found = self.0.iter().find(|(name, _)| name == suffix);
            let source: &dyn TensorSource = self;
            let Some((_, tensor)) = found else {
                return Err(source.misfit(suffix, "a tensor".into(), "none".into()));
            };
            if tensor.size() != shape {
                let found = format!("{:?}", tensor.size());
                return Err(source.misfit(suffix, format!("{shape:?}"), found));
            }
            Ok(tensor.shallow_clone())
        }

        fn place(&self, suffix: &str) -> (PathBuf, String) {
            ("file".into(), format!("layer.{suffix}"))
        }
    }

    /// What a weight is after it was packed and read.
    pub(crate) fn round_trip(weight: &QuantizedWeight, format: Format) -> QuantizedWeight {
        let tensors = format.pack(weight).unwrap().expect("the format holds it");
        let settings = LayerSettings {
            bits: weight.bits(),
            group_size: Some(weight.group_size()),
            symmetric: weight.is_symmetric(),
        };
        let shape = (weight.out_features(), weight.in_features());
        format.read(&mut Tensors(tensors), settings, shape).unwrap()
    }
}
