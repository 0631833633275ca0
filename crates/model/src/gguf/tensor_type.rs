//! Types of tensors in GGUF files: sizes, and which one stands in where a row does not divide.

use std::fmt;
use std::str::FromStr;

use candle_core::quantized::{GgmlDType, QTensor};
use tch::{Kind, Tensor};

use crate::error::{Error, Result};

/// A type of ggml's that tensors can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TensorType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// bfloat16.
    BF16,
    /// 8 bits and a scale for each 32 weights.
    Q8_0,
    /// 5 bits and a scale for each 32.
    Q5_0,
    /// 4 bits, a scale and a minimum for each 32.
    Q4_1,
    /// 4 bits and a scale for each 32.
    Q4_0,
    /// 6 bits, scales in two levels, for each 256.
    Q6K,
    /// 4 bits, scales and minima in two levels, for each 256.
    Q4K,
}

impl TensorType {
    /// What a model can be converted to, by the names on the command line.
    pub const CHOICES: [(&'static str, Self); 6] = [
        ("f16", Self::F16),
        ("bf16", Self::BF16),
        ("q8_0", Self::Q8_0),
        ("q4_0", Self::Q4_0),
        ("q4_k", Self::Q4K),
        ("q6_k", Self::Q6K),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Q5_0 => "q5_0",
            Self::Q4_1 => "q4_1",
            kind => Self::CHOICES
                .iter()
                .find_map(|&(name, other)| (other == kind).then_some(name))
                .unwrap_or("f16"),
        }
    }

    /// candle's name for it, in which its sizes are.
    fn ggml(self) -> GgmlDType {
        match self {
            Self::F32 => GgmlDType::F32,
            Self::F16 => GgmlDType::F16,
            Self::BF16 => GgmlDType::BF16,
            Self::Q8_0 => GgmlDType::Q8_0,
            Self::Q5_0 => GgmlDType::Q5_0,
            Self::Q4_1 => GgmlDType::Q4_1,
            Self::Q4_0 => GgmlDType::Q4_0,
            Self::Q6K => GgmlDType::Q6K,
            Self::Q4K => GgmlDType::Q4K,
        }
    }

    /// Number in the file (`ggml_type`).
    pub(super) fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q8_0 => 8,
            Self::Q4K => 12,
            Self::Q6K => 14,
            Self::BF16 => 30,
        }
    }

    /// `general.file_type` of a file whose matrices are mostly of this type (`llama_ftype`).
    pub(super) fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q8_0 => 7,
            Self::Q5_0 => 8,
            Self::Q4K => 14,
            Self::Q6K => 18,
            Self::BF16 => 32,
        }
    }

    /// Bytes of a row of so many weights, which blocks divide.
    pub fn row_bytes(self, columns: usize) -> usize {
        columns / self.ggml().block_size() * self.ggml().type_size()
    }

    /// The type for rows of so many weights: this one, or what llama.cpp takes where its blocks
    /// do not divide a row.
    pub fn fitting(self, columns: usize) -> Self {
        if columns.is_multiple_of(self.ggml().block_size()) {
            return self;
        }
        match self {
            Self::Q4K => Self::Q5_0.fitting(columns),
            Self::Q6K => Self::Q8_0.fitting(columns),
            _ => Self::F16,
        }
    }

    /// The type of the head, which small models lose most by: as llama.cpp has it.
    pub fn of_head(self) -> Self {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q4K => Self::Q6K,
            kind => kind,
        }
    }

    /// Rows `[.., columns]` of floating-point weights as bytes.
    pub(super) fn encode(self, rows: &Tensor) -> Result<Vec<u8>> {
        let kind = match self {
            Self::F16 => Kind::Half,
            Self::BF16 => Kind::BFloat16,
            _ => Kind::Float,
        };
        let rows =
            rows.f_detach()?.f_to_device(tch::Device::Cpu)?.f_to_kind(kind)?.f_contiguous()?;
        let count = rows.numel();
        if matches!(self, Self::F32 | Self::F16 | Self::BF16) {
            let mut bytes = vec![0; count * kind.elt_size_in_bytes()];
            rows.f_copy_data_u8(&mut bytes, count)?;
            return Ok(bytes);
        }
        let mut values = vec![0_f32; count];
        rows.f_copy_data(&mut values, count)?;
        let blocks = candle_core::Tensor::from_vec(values, count, &candle_core::Device::Cpu)
            .and_then(|values| QTensor::quantize(&values, self.ggml()))
            .and_then(|blocks| Ok(blocks.data()?.into_owned()));
        blocks.map_err(|error| Error::shape("GGUF blocks", "whole blocks", error.to_string()))
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for TensorType {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let found = Self::CHOICES.into_iter().find(|(name, _)| *name == text);
        found.map(|(_, kind)| kind).ok_or_else(|| {
            let names: Vec<&str> = Self::CHOICES.iter().map(|(name, _)| *name).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_blocks_do_not_divide_get_what_llama_cpp_gives_them() {
        for (kind, columns, expected) in [
            (TensorType::Q4K, 512, TensorType::Q4K),
            (TensorType::Q4K, 640, TensorType::Q5_0),
            (TensorType::Q6K, 640, TensorType::Q8_0),
            (TensorType::Q4_0, 640, TensorType::Q4_0),
            (TensorType::Q8_0, 40, TensorType::F16),
            (TensorType::Q4K, 40, TensorType::F16),
            (TensorType::BF16, 40, TensorType::BF16),
        ] {
            assert_eq!(kind.fitting(columns), expected, "{kind} {columns}");
        }
    }

    #[test]
    fn names_are_read_back() {
        for (name, kind) in TensorType::CHOICES {
            assert_eq!(name.parse(), Ok(kind));
            assert_eq!(kind.to_string(), name);
        }
        assert!("q3_k".parse::<TensorType>().is_err());
    }

    #[test]
    fn bytes_are_those_of_the_rows() {
        let rows = Tensor::arange(512, (Kind::Float, tch::Device::Cpu)).view([2, 256]);
        for kind in [TensorType::F32, TensorType::BF16, TensorType::Q8_0, TensorType::Q4K] {
            assert_eq!(kind.encode(&rows).unwrap().len(), 2 * kind.row_bytes(256), "{kind}");
        }
        let bytes = TensorType::F16.encode(&Tensor::from_slice(&[1_f32, -2.0])).unwrap();
        assert_eq!(bytes, [0x00, 0x3c, 0x00, 0xc0]);
    }
}
