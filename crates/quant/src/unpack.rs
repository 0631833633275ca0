//! GPTQ's packed weights, dequantised in the order in which their words lie.
//!
//! The words of one row hold neighbouring outputs, so the transposed matrix `[in, out]` is
//! what can be written front to back, with whole vectors of outputs at a time; products take
//! either order. A layer that stays packed makes it anew for each use.

use half::{bf16, f16};
use rayon::prelude::*;
use tch::{Kind, Tensor};

use crate::bits::Bits;
use crate::config::Format;
use crate::elements::{Float, elements, filled};
use crate::error::Result;
use crate::gptq_format::PackedTensors;
use crate::matrix::floats;
use crate::packing::PackedZeros;

impl PackedTensors {
    /// The transposed weight `[in, out]` in `kind`, on the device of the tensors, which must
    /// have been checked ([`Self::check`]).
    ///
    /// # Errors
    /// libtorch's.
    pub fn dequantize_transposed(&self, bits: Bits, format: Format, kind: Kind) -> Result<Tensor> {
        let (Some(words), Some(group_of)) = (elements(&self.qweight), elements(&self.g_idx)) else {
            return self.dequantize_on_device(bits, format, kind);
        };
        let (_, outputs) = self.qweight.size2()?;
        let zeros = elements(&self.qzeros).unwrap_or_default().to_vec();
        let layer = Layer {
            bits,
            words,
            zeros: actual_zeros(zeros, bits, format),
            scales: floats(&self.scales)?,
            group_of,
            outputs: outputs as usize,
        };
        match kind {
            Kind::BFloat16 => layer.fill::<bf16>(),
            Kind::Half => layer.fill::<f16>(),
            kind => Ok(layer.fill::<f32>()?.f_to_kind(kind)?),
        }
    }

    /// The same in libtorch's operations, for other devices than the CPU; the reference of
    /// the kernel.
    fn dequantize_on_device(&self, bits: Bits, format: Format, kind: Kind) -> Result<Tensor> {
        let device = self.qweight.device();
        let (per_word, mask) = (bits.codes_per_word() as i64, i64::from(bits.max_code()));
        let shifts = Tensor::f_arange(per_word, (Kind::Int, device))?;
        let shifts = shifts.f_mul_scalar(i64::from(bits.width()))?;
        let unpack = |words: Tensor, shifts: Tensor| -> Result<Tensor> {
            Ok(words.f_bitwise_right_shift(&shifts)?.f_bitwise_and(mask)?)
        };
        let (rows, outputs) = self.qweight.size2()?;
        let codes = unpack(self.qweight.f_unsqueeze(1)?, shifts.f_view([1, per_word, 1])?)?;
        let codes = codes.f_view([rows * per_word, outputs])?;
        let zeros = unpack(self.qzeros.f_unsqueeze(2)?, shifts.f_view([1, 1, per_word])?)?;
        let zeros = zeros.f_view([-1, outputs])?.f_add_scalar(i64::from(format.zero_offset()))?;
        let zeros = zeros.f_bitwise_and(mask)?.f_index_select(0, &self.g_idx)?;
        let scales = self.scales.f_to_kind(Kind::Float)?.f_index_select(0, &self.g_idx)?;
        Ok(codes.f_sub(&zeros)?.f_to_kind(Kind::Float)?.f_mul(&scales)?.f_to_kind(kind)?)
    }
}

/// The zeros that words of a version stand for, `[groups, out]`.
pub(crate) fn actual_zeros(words: Vec<i32>, bits: Bits, format: Format) -> Vec<f32> {
    let (offset, mask) = (format.zero_offset(), bits.max_code());
    let zeros = PackedZeros::from_words(words, bits).unpack();
    zeros.into_iter().map(|zero| f32::from(zero.wrapping_add(offset) & mask)).collect()
}

/// A packed layer on the CPU.
struct Layer<'a> {
    bits: Bits,
    /// `[in / p, out]`
    words: &'a [i32],
    /// `[groups, out]`
    zeros: Vec<f32>,
    /// `[groups, out]`
    scales: Vec<f32>,
    /// `[in]`
    group_of: &'a [i32],
    outputs: usize,
}

impl Layer<'_> {
    fn fill<T: Float>(&self) -> Result<Tensor> {
        let per_word = self.bits.codes_per_word();
        let outputs = self.outputs.max(1);
        let shape = [self.group_of.len() as i64, self.outputs as i64];
        filled(&shape, |weights: &mut [T]| {
            weights
                .par_chunks_mut(per_word * outputs)
                .zip(self.words.par_chunks(outputs))
                .zip(self.group_of.par_chunks(per_word))
                .for_each(|((weights, words), group_of)| {
                    let rows = weights.chunks_mut(outputs).zip(group_of);
                    for (place, (weights, &group)) in rows.enumerate() {
                        self.row(words, place, group as usize, weights);
                    }
                });
            Ok(())
        })
    }

    /// The weights of one input feature: code number `place` of each word.
    fn row<T: Float>(&self, words: &[i32], place: usize, group: usize, weights: &mut [T]) {
        let grids = group * self.outputs..(group + 1) * self.outputs;
        let shift = self.bits.width() * place as u32;
        let mask = u32::from(self.bits.max_code());
        let grids = self.zeros[grids.clone()].iter().zip(&self.scales[grids]);
        for ((weight, word), (zero, scale)) in weights.iter_mut().zip(words).zip(grids) {
            let code = (word.cast_unsigned() >> shift & mask).cast_signed();
            *weight = T::round((code as f32 - zero) * scale);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use limbeck_core::seed::CounterRng;
    use limbeck_core::test_device;
    use tch::Device;

    use super::*;
    use crate::gptq_format::Origin;
    use crate::grid::GridRule;
    use crate::matrix::WeightMatrix;
    use crate::rtn;

    #[test]
    fn it_is_the_transposed_of_what_is_dequantised_at_once() {
        for (bits, format, symmetric) in [
            (Bits::Four, Format::Gptq, true),
            (Bits::Four, Format::GptqV2, false),
            (Bits::Eight, Format::Gptq, false),
        ] {
            let weight = WeightMatrix::new(CounterRng::new(3).normals(24 * 64), 24, 64).unwrap();
            let min_zero = format.zero_offset();
            let rule = GridRule { symmetric, min_zero, ..GridRule::symmetric(bits) };
            let weight = rtn::quantize(&weight, rule, 32).unwrap();
            let mut packed = PackedTensors::pack(&weight, format).unwrap().unwrap();
            // As in a file in order of activation.
            packed.g_idx = Tensor::from_slice(
                &(0..64).map(|input| i32::from(input % 3 == 0)).collect::<Vec<_>>(),
            );
            let origin = Origin { path: Path::new("file"), layer: "layer" };
            packed.check(bits, &origin).unwrap();
            let dense = packed.dequantize(bits, format, &origin).unwrap();
            let dense = dense.to_tensor(Kind::Float, Device::Cpu).unwrap();
            for kind in [Kind::Float, Kind::BFloat16, Kind::Half] {
                let expected = dense.tr().to_kind(kind);
                assert_eq!(packed.dequantize_transposed(bits, format, kind).unwrap(), expected);
                let there = packed.to_device(test_device()).unwrap();
                let there = there.dequantize_on_device(bits, format, kind).unwrap();
                assert_eq!(there.to_device(Device::Cpu), expected, "{bits:?} {format:?}");
            }
        }
    }
}
