//! A quantised matrix on a GPU, in libtorch's operations.

use tch::{Device, Kind, Tensor};

use crate::bits::Bits;
use crate::elements::elements;
use crate::error::Result;
use crate::grid::Grid;
use crate::matrix::floats;
use crate::quantized::QuantizedWeight;

/// A matrix `[out, in]`: codes of up to 4 bits two to a byte, the first in the low half.
#[derive(Debug)]
pub(crate) struct DeviceWeight {
    bits: Bits,
    group_size: i64,
    /// u8 `[out, in]` or `[out, in / 2]`, features group by group.
    codes: Tensor,
    /// f32 `[out, groups]`
    scales: Tensor,
    /// f32 `[out, groups]`
    zeros: Tensor,
    /// The place of each input feature, i64 `[in]`, and the group of each, where groups are
    /// of scattered ones.
    group_of: Option<Tensor>,
}

/// Another handle on the same tensors.
impl Clone for DeviceWeight {
    fn clone(&self) -> Self {
        Self {
            bits: self.bits,
            group_size: self.group_size,
            codes: self.codes.shallow_clone(),
            scales: self.scales.shallow_clone(),
            zeros: self.zeros.shallow_clone(),
            group_of: self.group_of.as_ref().map(Tensor::shallow_clone),
        }
    }
}

impl DeviceWeight {
    pub(crate) fn new(weight: &QuantizedWeight, device: Device) -> Result<Self> {
        let shape = [weight.out_features() as i64, weight.in_features() as i64];
        let halves = weight.bits() != Bits::Eight && shape[1] % 2 == 0;
        let codes = Tensor::f_from_slice(weight.codes())?.f_view(shape)?.f_to_device(device)?;
        let codes = if halves {
            let pairs = codes.f_view([shape[0], -1, 2])?;
            let high = pairs.f_select(2, 1)?.f_mul_scalar(16)?;
            pairs.f_select(2, 0)?.f_add(&high)?
        } else {
            codes
        };
        let of_grids = |number: fn(&Grid) -> f32| -> Result<Tensor> {
            let numbers: Vec<f32> = weight.grids().iter().map(number).collect();
            Ok(Tensor::f_from_slice(&numbers)?.f_view([shape[0], -1])?.f_to_device(device)?)
        };
        let group_of = weight.group_of().map(|group_of| -> Result<Tensor> {
            let group_of: Vec<i64> = group_of.iter().map(|&group| i64::from(group)).collect();
            Ok(Tensor::f_from_slice(&group_of)?.f_to_device(device)?)
        });
        Ok(Self {
            bits: weight.bits(),
            group_size: weight.group_size() as i64,
            codes,
            scales: of_grids(|grid| grid.scale)?,
            zeros: of_grids(|grid| f32::from(grid.zero))?,
            group_of: group_of.transpose()?,
        })
    }

    pub(crate) fn bits(&self) -> Bits {
        self.bits
    }

    pub(crate) fn size(&self) -> (usize, usize) {
        let groups = self.scales.size()[1];
        (self.codes.size()[0] as usize, (groups * self.group_size) as usize)
    }

    pub(crate) fn bytes(&self) -> u64 {
        let tensors =
            [Some(&self.codes), Some(&self.scales), Some(&self.zeros), self.group_of.as_ref()];
        tensors.into_iter().flatten().map(crate::packed_linear::tensor_bytes).sum()
    }

    pub(crate) fn to_quantized(&self) -> Result<QuantizedWeight> {
        let (outputs, inputs) = self.size();
        let codes = self.codes(&self.codes)?.f_to_device(Device::Cpu)?.f_contiguous()?;
        let scales = floats(&self.scales)?;
        let zeros = floats(&self.zeros)?;
        let grids = scales.into_iter().zip(zeros);
        let group_of = match &self.group_of {
            Some(group_of) => {
                let group_of = Vec::<i64>::try_from(&group_of.f_to_device(Device::Cpu)?)?;
                Some(group_of.into_iter().map(|group| group as u32).collect())
            }
            None => None,
        };
        Ok(QuantizedWeight {
            bits: self.bits,
            group_size: self.group_size as usize,
            out_features: outputs,
            in_features: inputs,
            codes: elements::<u8>(&codes).unwrap_or_default().to_vec(),
            grids: grids.map(|(scale, zero)| Grid { scale, zero: zero as u8 }).collect(),
            group_of,
        })
    }

    pub(crate) fn rows(&self, start: i64, length: i64, kind: Kind) -> Result<Tensor> {
        let of = |tensor: &Tensor| tensor.f_narrow(0, start, length);
        self.dequantize(&of(&self.codes)?, &of(&self.scales)?, &of(&self.zeros)?, kind)
    }

    /// `numbers` i64 `[count]`
    pub(crate) fn select(&self, numbers: &Tensor, kind: Kind) -> Result<Tensor> {
        let of = |tensor: &Tensor| tensor.f_index_select(0, numbers);
        self.dequantize(&of(&self.codes)?, &of(&self.scales)?, &of(&self.zeros)?, kind)
    }

    pub(crate) fn product(&self, input: &Tensor) -> Result<Tensor> {
        let weight = self.rows(0, self.codes.size()[0], input.kind())?;
        Ok(input.f_linear(&weight, None::<&Tensor>)?)
    }

    /// One code to a byte, `[rows, in]`.
    fn codes(&self, codes: &Tensor) -> Result<Tensor> {
        let (_, inputs) = self.size();
        if codes.size()[1] == inputs as i64 {
            return Ok(codes.shallow_clone());
        }
        let low = codes.f_bitwise_and(15)?;
        let high = codes.f_bitwise_right_shift_tensor_scalar(4)?;
        Ok(Tensor::f_stack(&[low, high], 2)?.f_view([codes.size()[0], -1])?)
    }

    fn dequantize(
        &self,
        codes: &Tensor,
        scales: &Tensor,
        zeros: &Tensor,
        kind: Kind,
    ) -> Result<Tensor> {
        let codes = self.codes(codes)?;
        let (rows, columns) = codes.size2()?;
        if let Some(group_of) = &self.group_of {
            let of_features = |grids: &Tensor| grids.f_index_select(1, group_of);
            let steps = codes.f_to_kind(Kind::Float)?.f_sub(&of_features(zeros)?)?;
            return Ok(steps.f_mul(&of_features(scales)?)?.f_to_kind(kind)?);
        }
        let groups = codes.f_view([rows, -1, self.group_size])?.f_to_kind(Kind::Float)?;
        let steps = groups.f_sub(&zeros.f_unsqueeze(2)?)?;
        Ok(steps.f_mul(&scales.f_unsqueeze(2)?)?.f_to_kind(kind)?.f_view([rows, columns])?)
    }
}
