//! A quantised matrix on a GPU, in libtorch's operations.
//!
//! Few rows in bfloat16 are multiplied by libtorch's 4-bit kernel, which reads a quarter of the
//! bytes; it takes scales and offsets in bfloat16, so that its weights differ from the packed
//! ones by a rounding of 2^-9 of a group's step and offset. All else dequantises for each use.

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
    /// What the 4-bit kernel reads, where it can.
    kernel: Option<KernelWeight>,
}

/// A matrix as `_weight_int4pack_mm` reads it.
#[derive(Debug)]
struct KernelWeight {
    /// i32 `[out / 8, in / (16 · INNER_TILES), 32, INNER_TILES / 2]`
    packed: Tensor,
    /// bf16 `[groups, out, 2]`: scale, and the weight of code 8.
    scales_and_offsets: Tensor,
}

/// Tiles of 16 input features that a thread of the kernel reads at once.
const INNER_TILES: i64 = 8;
/// Groups that the kernel takes.
const KERNEL_GROUPS: [i64; 4] = [32, 64, 128, 256];
/// Rows beyond which dequantising and one large product are faster than the kernel: on an H200
/// 64 rows take the kernel 0.65 of that time, 128 rows 1.2 times as long (4096², groups of 128).
const KERNEL_ROWS: i64 = 64;

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
            kernel: self.kernel.as_ref().map(|kernel| KernelWeight {
                packed: kernel.packed.shallow_clone(),
                scales_and_offsets: kernel.scales_and_offsets.shallow_clone(),
            }),
        }
    }
}

impl KernelWeight {
    /// `None` where the kernel does not take the matrix. Codes u8 `[out, in]`, grids f32
    /// `[out, groups]`, all on the device.
    fn new(
        codes: &Tensor,
        scales: &Tensor,
        zeros: &Tensor,
        group_size: i64,
    ) -> Result<Option<Self>> {
        let (outputs, inputs) = codes.size2()?;
        let takes = matches!(codes.device(), Device::Cuda(_))
            && KERNEL_GROUPS.contains(&group_size)
            && inputs % (16 * INNER_TILES) == 0
            && outputs % 8 == 0;
        if !takes {
            return Ok(None);
        }
        // The first of two features lies in the high half here.
        let pairs = codes.f_view([outputs, inputs / 2, 2])?;
        let high = pairs.f_select(2, 0)?.f_mul_scalar(16)?;
        let halves = high.f_add(&pairs.f_select(2, 1)?)?.f_contiguous()?;
        let offsets = zeros.f_neg()?.f_add_scalar(8.0)?.f_mul(scales)?;
        let grids = Tensor::f_stack(&[scales, &offsets], 2)?; // [out, groups, 2]
        let scales_and_offsets =
            grids.f_transpose(0, 1)?.f_to_kind(Kind::BFloat16)?.f_contiguous()?;
        // GPUs before compute capability 8.0 lack the kernel, and say so at its first use.
        let tried = || -> Result<Self> {
            let packed = halves.f_internal_convert_weight_to_int4pack(INNER_TILES)?;
            let kernel = Self { packed, scales_and_offsets };
            let input = Tensor::f_zeros([1, inputs], (Kind::BFloat16, codes.device()))?;
            let _ = kernel.product(&input, group_size, outputs)?;
            Ok(kernel)
        };
        Ok(tried().ok())
    }

    /// bf16 `[.., in]` → `[.., out]`
    fn product(&self, input: &Tensor, group_size: i64, outputs: i64) -> Result<Tensor> {
        let mut shape = input.size();
        let width = shape.last().copied().unwrap_or(0);
        let rows = input.f_reshape([-1, width])?.f_contiguous()?;
        let product =
            rows.f_internal_weight_int4pack_mm(&self.packed, group_size, &self.scales_and_offsets)?;
        if let Some(width) = shape.last_mut() {
            *width = outputs;
        }
        Ok(product.f_view(shape.as_slice())?)
    }
}

impl DeviceWeight {
    pub(crate) fn new(weight: &QuantizedWeight, device: Device) -> Result<Self> {
        let shape = [weight.out_features() as i64, weight.in_features() as i64];
        let halves = weight.bits() != Bits::Eight && shape[1] % 2 == 0;
        let codes = Tensor::f_from_slice(weight.codes())?.f_view(shape)?.f_to_device(device)?;
        let of_grids = |number: fn(&Grid) -> f32| -> Result<Tensor> {
            let numbers: Vec<f32> = weight.grids().iter().map(number).collect();
            Ok(Tensor::f_from_slice(&numbers)?.f_view([shape[0], -1])?.f_to_device(device)?)
        };
        let (scales, zeros) =
            (of_grids(|grid| grid.scale)?, of_grids(|grid| f32::from(grid.zero))?);
        let group_size = weight.group_size() as i64;
        let kernel = if weight.bits() == Bits::Four && weight.group_of().is_none() {
            KernelWeight::new(&codes, &scales, &zeros, group_size)?
        } else {
            None
        };
        let codes = if halves {
            let pairs = codes.f_view([shape[0], -1, 2])?;
            let high = pairs.f_select(2, 1)?.f_mul_scalar(16)?;
            pairs.f_select(2, 0)?.f_add(&high)?
        } else {
            codes
        };
        let group_of = weight.group_of().map(|group_of| -> Result<Tensor> {
            let group_of: Vec<i64> = group_of.iter().map(|&group| i64::from(group)).collect();
            Ok(Tensor::f_from_slice(&group_of)?.f_to_device(device)?)
        });
        Ok(Self {
            bits: weight.bits(),
            group_size,
            codes,
            scales,
            zeros,
            group_of: group_of.transpose()?,
            kernel,
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
        let kernel = self.kernel.as_ref();
        let tensors = [
            kernel.map(|kernel| &kernel.packed),
            kernel.map(|kernel| &kernel.scales_and_offsets),
            Some(&self.codes),
            Some(&self.scales),
            Some(&self.zeros),
            self.group_of.as_ref(),
        ];
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
        let outputs = self.codes.size()[0];
        let width = input.size().last().copied().unwrap_or(1).max(1);
        let rows = input.numel() as i64 / width;
        if let Some(kernel) = &self.kernel
            && (1..=KERNEL_ROWS).contains(&rows)
            && input.kind() == Kind::BFloat16
        {
            return kernel.product(input, self.group_size, outputs);
        }
        let weight = self.rows(0, outputs, input.kind())?;
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

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;
    use limbeck_core::test_device;

    use super::*;
    use crate::grid::GridRule;
    use crate::matrix::WeightMatrix;
    use crate::rtn;

    /// On a CPU these are the same operations, but for the 4-bit kernel.
    #[test]
    fn products_on_a_device_are_those_of_the_dequantised_weight() {
        let device = test_device();
        for bits in Bits::ALL {
            for (symmetric, group_size) in [(true, 32), (false, 64), (true, 128)] {
                let values = CounterRng::new(3).normals(48 * 256);
                let weight = WeightMatrix::new(values, 48, 256).unwrap();
                let rule = GridRule { symmetric, ..GridRule::symmetric(bits) };
                let weight = rtn::quantize(&weight, rule, group_size).unwrap();
                let there = DeviceWeight::new(&weight, device).unwrap();
                assert_eq!(there.to_quantized().unwrap(), weight);
                let dense = weight.dequantize().to_tensor(Kind::Float, device).unwrap();
                assert_eq!(there.rows(5, 9, Kind::Float).unwrap(), dense.narrow(0, 5, 9));
                for (kind, rows, bound) in
                    [(Kind::Float, 3, 1e-5), (Kind::BFloat16, 1, 1e-2), (Kind::BFloat16, 40, 1e-2)]
                {
                    let input = Tensor::from_slice(&CounterRng::new(4).normals(rows * 256));
                    let input = input.view([rows as i64, 256]).to_device(device);
                    let expected =
                        input.to_kind(kind).to_kind(Kind::Float).linear(&dense, None::<&Tensor>);
                    let found = there.product(&input.to_kind(kind)).unwrap().to_kind(Kind::Float);
                    let error = (found - &expected).norm() / expected.norm();
                    let error = error.double_value(&[]);
                    assert!(error < bound, "{bits:?} {group_size} {kind:?} {rows}: {error}");
                }
            }
        }
    }
}
