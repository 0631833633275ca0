//! `AdamW` with both moments in 8 bits (Dettmers et al. 2022, "8-bit Optimizers via
//! Block-wise Quantization", sections 2 and 3).
//!
//! A block of 256 scalars has one float32, its largest magnitude; each scalar is the index
//! of the nearest of 256 values from 0 (or −1) to 1, those of [`limbeck_core::dynamic_map`].

use limbeck_core::dynamic_map;
use tch::{Device, Kind, Tensor};

use super::adamw;
use super::kind::Update;
use super::stack::slabs;
use crate::Result;

/// Scalars that share a scale.
pub(super) const BLOCK: i64 = 256;

/// Half of the number of half-precision bit patterns.
const HALVES: i64 = 1 << 15;

/// Both moments, quantised.
#[derive(Debug)]
pub(super) struct AdamW8bit {
    pub(super) exp_avg: Quantized,
    pub(super) exp_avg_sq: Quantized,
}

impl AdamW8bit {
    /// Moments of zero for a buffer whose length is a multiple of [`BLOCK`].
    pub(super) fn new(like: &Tensor) -> Result<Self> {
        Ok(Self {
            exp_avg: Quantized::zeros(like, true)?,
            exp_avg_sq: Quantized::zeros(like, false)?,
        })
    }

    pub(super) fn update(&self, flat: &Tensor, gradient: &Tensor, by: &Update<'_>) -> Result<()> {
        for (start, length) in slabs(flat.size1()?) {
            let slab = |tensor: &Tensor| tensor.f_narrow(0, start, length);
            let exp_avg = self.exp_avg.read(start, length)?;
            let exp_avg_sq = self.exp_avg_sq.read(start, length)?;
            adamw::step(&slab(flat)?, &slab(gradient)?, &exp_avg, &exp_avg_sq, by)?;
            self.exp_avg.write(start, &exp_avg)?;
            self.exp_avg_sq.write(start, &exp_avg_sq)?;
        }
        Ok(())
    }
}

/// A buffer in 8 bits.
#[derive(Debug)]
pub(super) struct Quantized {
    /// Indices into the code book, u8 `[length]`.
    pub(super) codes: Tensor,
    /// The largest magnitude of each block, f32 `[length / BLOCK]`.
    pub(super) absmax: Tensor,
    /// The values from 0 (or −1) to 1, ascending, f32 `[256]`.
    book: Tensor,
    /// The code of every half-precision number, by its bits as a signed integer from
    /// −32,768 on, u8 `[65536]`: a search among 256 borders takes five times as long, and
    /// half precision moves a border by a thirtieth of a step at most.
    codes_of_halves: Tensor,
}

impl Quantized {
    fn zeros(like: &Tensor, signed: bool) -> Result<Self> {
        let (length, device) = (like.size1()?, like.device());
        let values = dynamic_map(signed);
        let zero = values.iter().position(|&value| value == 0.0).unwrap_or_default();
        let middles: Vec<f32> =
            values.windows(2).map(|pair| f32::midpoint(pair[0], pair[1])).collect();
        let bits = Tensor::f_arange_start(-HALVES, HALVES, (Kind::Int16, Device::Cpu))?;
        let halves = bits.f_view_dtype(Kind::Half)?.f_to_kind(Kind::Float)?;
        let halves = halves.f_nan_to_num(0.0, 1.0, -1.0)?;
        let borders = Tensor::f_from_slice(&middles)?;
        let codes_of_halves = halves.f_bucketize(&borders, true, false)?;
        // A second moment rounded to 0 under a first that is not would make a step of any
        // size: its least is the book's first value above 0.
        let least = i64::from(!signed);
        let codes_of_halves = codes_of_halves.f_clamp_min(least)?.f_to_kind(Kind::Uint8)?;
        Ok(Self {
            codes: Tensor::f_full([length], zero as i64, (Kind::Uint8, device))?,
            absmax: Tensor::f_zeros([length / BLOCK], (Kind::Float, device))?,
            book: Tensor::f_from_slice(&values)?.f_to_device(device)?,
            codes_of_halves: codes_of_halves.f_to_device(device)?,
        })
    }

    /// The values of a slab, f32 `[length]`.
    fn read(&self, start: i64, length: i64) -> Result<Tensor> {
        let codes = self.codes.f_narrow(0, start, length)?.f_to_kind(Kind::Int)?;
        let absmax = self.absmax.f_narrow(0, start / BLOCK, length / BLOCK)?.f_unsqueeze(1)?;
        let mut values = self.book.f_index_select(0, &codes)?.f_view([-1, BLOCK])?;
        Ok(values.f_mul_(&absmax)?.f_view([-1])?)
    }

    /// Stores the values of a slab.
    fn write(&self, start: i64, values: &Tensor) -> Result<()> {
        let length = values.size1()?;
        let blocks = values.f_view([-1, BLOCK])?;
        let absmax = blocks.f_abs()?.f_amax([1].as_slice(), true)?; // [blocks, 1]
        let scaled = blocks.f_div(&absmax.f_clamp_min(f64::from(f32::MIN_POSITIVE))?)?;
        let halves = scaled.f_to_kind(Kind::Half)?.f_view_dtype(Kind::Int16)?.f_view([-1])?;
        let places = halves.f_to_kind(Kind::Int)?.f_add_scalar_(HALVES)?;
        let codes = self.codes_of_halves.f_index_select(0, &places)?;
        self.codes.f_narrow(0, start, length)?.f_copy_(&codes)?;
        let place = self.absmax.f_narrow(0, start / BLOCK, length / BLOCK)?;
        place.shallow_clone().f_copy_(&absmax.f_view([-1])?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_near_what_was_written() {
        tch::manual_seed(1);
        let scales = Tensor::from_slice(&[1.0_f32, 1e-4, 1e4, 0.0]).view([4, 1]);
        let values = (Tensor::randn([4, BLOCK], (Kind::Float, Device::Cpu)) * scales).view(-1);
        let quantized = Quantized::zeros(&values, true).unwrap();
        assert_eq!(quantized.read(0, 4 * BLOCK).unwrap(), values.zeros_like());
        quantized.write(0, &values).unwrap();
        let read = quantized.read(0, 4 * BLOCK).unwrap();
        // Within a decade of the largest, neighbours are 0.9 / 64 of it apart.
        let error = (&read - &values).abs().view([4, BLOCK]).amax([1].as_slice(), false);
        let bound = values.abs().view([4, BLOCK]).amax([1].as_slice(), false) * (0.9 / 64.0);
        assert!(bool::try_from(error.le_tensor(&bound).all()).unwrap(), "{error}");
        // Each block's largest magnitude is kept to the step between the two ends.
        let squares = Quantized::zeros(&values, false).unwrap();
        squares.write(0, &values.square()).unwrap();
        let read = squares.read(0, 3 * BLOCK).unwrap();
        assert!(read.min().double_value(&[]) > 0.0, "no second moment is rounded to 0");
    }
}
