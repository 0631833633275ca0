//! `AdamW` with both moments in 8 bits (Dettmers et al. 2022, "8-bit Optimizers via
//! Block-wise Quantization", sections 2 and 3; bitsandbytes' `create_dynamic_map` is the
//! reference for the code book).
//!
//! A block of 256 scalars has one float32, its largest magnitude; each scalar is the index
//! of the nearest of 256 values from 0 (or −1) to 1. Those are dense near 0, down to
//! 5.5e-7: a power of ten by the number of leading zero bits, and a fraction by the rest.

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
        let values = code_book(signed);
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

/// The 256 values, ascending: for each power of ten from 1e-6 to 1, the middles of evenly
/// cut tenth-to-one intervals, twice as many at each; mirrored if signed; 0 and 1.
fn code_book(signed: bool) -> Vec<f32> {
    let mut values = vec![0.0, 1.0];
    for power in 0..7_i32 {
        let scale = 10_f64.powi(power - 6);
        let count = if signed { 1 << power } else { 2 << power };
        for index in 0..count {
            let value = scale * (0.1 + 0.9 * (f64::from(index) + 0.5) / f64::from(count));
            values.push(value as f32);
            if signed {
                values.push(-value as f32);
            }
        }
    }
    values.sort_by(f32::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_books_are_those_of_bitsandbytes() {
        for (signed, least, second) in [(true, -0.992_968_7, -0.978_906_3), (false, 0.0, 3.25e-7)] {
            let book = code_book(signed);
            assert_eq!(book.len(), 256);
            assert!(book.windows(2).all(|pair| pair[0] < pair[1]));
            assert!((book[0] - least).abs() < 1e-6 && (book[1] - second).abs() < 1e-6, "{book:?}");
            assert!((book[255] - 1.0).abs() < f32::EPSILON);
        }
        // The smallest magnitudes: one signed value at 1e-6, two unsigned ones.
        let signed = code_book(true);
        assert!(signed.contains(&5.5e-7) && signed.contains(&-5.5e-7));
        assert!((code_book(false)[1] - 3.25e-7).abs() < 1e-12);
    }

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
