//! What a cache holds of one layer's keys or values: numbers as they are, or in 8 bits.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// How a cache holds keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheDtype {
    /// In the model's compute dtype.
    #[default]
    Compute,
    /// In 8 bits, with a scale for each slot and head: about a quarter of fp32's bytes. Each
    /// use dequantises what it reads.
    Int8,
}

impl CacheDtype {
    /// Bytes of one slot of one head's keys, or values.
    pub fn bytes(self, head_dim: i64, compute_dtype: Kind) -> i64 {
        match self {
            Self::Compute => head_dim * compute_dtype.elt_size_in_bytes() as i64,
            Self::Int8 => head_dim + Kind::Float.elt_size_in_bytes() as i64,
        }
    }
}

/// Codes i8 `[.., head_dim]` and scales f32 `[.., 1]` of numbers `[.., head_dim]`.
pub(crate) fn quantised(numbers: &Tensor) -> Result<(Tensor, Tensor)> {
    let numbers = numbers.f_to_kind(Kind::Float)?;
    let largest = numbers.f_abs()?.f_amax([-1_i64].as_slice(), true)?;
    // Slots of zeros divide by something, too.
    let scales = largest.f_div_scalar(127.0)?.f_clamp_min(f64::from(f32::MIN_POSITIVE))?;
    Ok((numbers.f_div(&scales)?.f_round()?.f_to_kind(Kind::Int8)?, scales))
}

/// Keys or values `[batch, kv_heads, capacity, head_dim]`.
#[derive(Debug)]
pub(crate) enum Slots {
    Plain(Tensor),
    Int8 {
        /// i8, from -127 to 127
        codes: Tensor,
        /// f32 `[batch, kv_heads, capacity, 1]`
        scales: Tensor,
        /// What [`Self::read`] gives.
        kind: Kind,
    },
}

impl Slots {
    pub(crate) fn new(
        shape: [i64; 4],
        dtype: CacheDtype,
        (kind, device): (Kind, Device),
    ) -> Result<Self> {
        let [batch, heads, capacity, _] = shape;
        Ok(match dtype {
            CacheDtype::Compute => Self::Plain(Tensor::f_zeros(shape, (kind, device))?),
            CacheDtype::Int8 => Self::Int8 {
                codes: Tensor::f_zeros(shape, (Kind::Int8, device))?,
                scales: Tensor::f_zeros([batch, heads, capacity, 1], (Kind::Float, device))?,
                kind,
            },
        })
    }

    /// Writes new slots `[batch, kv_heads, seq, head_dim]` from number `start` on.
    pub(crate) fn write(&mut self, start: i64, new: &Tensor) -> Result<()> {
        let (_, _, seq, _) = new.size4()?;
        match self {
            Self::Plain(held) => {
                held.f_narrow(2, start, seq)?.f_copy_(new)?;
            }
            Self::Int8 { codes, scales, .. } => {
                let (new_codes, new_scales) = quantised(new)?;
                scales.f_narrow(2, start, seq)?.f_copy_(&new_scales)?;
                codes.f_narrow(2, start, seq)?.f_copy_(&new_codes)?;
            }
        }
        Ok(())
    }

    /// Slots from `start` on, `[batch, kv_heads, length, head_dim]`.
    pub(crate) fn read(&self, start: i64, length: i64) -> Result<Tensor> {
        match self {
            Self::Plain(held) => Ok(held.f_narrow(2, start, length)?),
            Self::Int8 { codes, scales, kind } => {
                let scales = scales.f_narrow(2, start, length)?.f_to_kind(*kind)?;
                Ok(codes.f_narrow(2, start, length)?.f_to_kind(*kind)?.f_mul(&scales)?)
            }
        }
    }

    /// Keeps the rows of these numbers.
    pub(crate) fn select_rows(&mut self, rows: &Tensor) -> Result<()> {
        self.each(|tensor| Ok(tensor.f_index_select(0, rows)?))
    }

    /// Makes room for `capacity` slots, keeping the first `filled`.
    pub(crate) fn grow(&mut self, capacity: i64, filled: i64) -> Result<()> {
        self.each(|tensor| {
            let (batch, heads, _, width) = tensor.size4()?;
            let options = (tensor.kind(), tensor.device());
            let larger = Tensor::f_zeros([batch, heads, capacity, width], options)?;
            larger.f_narrow(2, 0, filled)?.f_copy_(&tensor.f_narrow(2, 0, filled)?)?;
            Ok(larger)
        })
    }

    fn each(&mut self, replace: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
        match self {
            Self::Plain(held) => *held = replace(held)?,
            Self::Int8 { codes, scales, .. } => {
                // Both or neither: they belong together.
                let (new_codes, new_scales) = (replace(codes)?, replace(scales)?);
                (*codes, *scales) = (new_codes, new_scales);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_keep_each_slot_to_half_a_step() {
        let options = (Kind::Float, Device::Cpu);
        let mut slots = Slots::new([2, 3, 4, 8], CacheDtype::Int8, options).unwrap();
        let scale = Tensor::from_slice(&[0.01_f32, 0.0, 100.0, 1.0]).view([1, 1, 4, 1]);
        let numbers = Tensor::randn([2, 3, 4, 8], options) * scale;
        slots.write(0, &numbers.narrow(2, 0, 3)).unwrap();
        slots.write(3, &numbers.narrow(2, 3, 1)).unwrap();
        slots.grow(9, 4).unwrap();
        slots.select_rows(&Tensor::from_slice(&[1_i64, 0])).unwrap();
        let found = slots.read(1, 3).unwrap();
        let expected = numbers.flip([0]).narrow(2, 1, 3);
        let step = expected.abs().amax([-1_i64].as_slice(), true) / 127.0;
        let error = (found - expected).abs() - step * 0.501;
        assert!(error.max().double_value(&[]) <= 1e-7);
    }

    #[test]
    fn a_quarter_of_the_bytes() {
        assert_eq!(CacheDtype::Compute.bytes(64, Kind::Float), 256);
        assert_eq!(CacheDtype::Int8.bytes(64, Kind::Float), 68);
    }
}
