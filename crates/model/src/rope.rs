//! Rotary position embedding (arXiv 2104.09864) in Hugging Face's half-split layout.

use std::cell::RefCell;

use tch::{Device, Kind, Tensor};

use crate::config::{RopeConfig, RopeScaling};
use crate::error::{Error, Result};
use crate::single_pass;

/// Positions of the shortest table, a power of 2.
const SHORTEST: i64 = 64;

/// One rotary setting with its table, which grows to the longest position seen.
#[derive(Debug)]
pub(crate) struct Rope {
    inverse_frequencies: Tensor,
    head_dim: i64,
    table: RefCell<Option<Table>>,
}

/// `cos` and the sign-folded `sin`, each `[length, head_dim]`.
#[derive(Debug)]
struct Table {
    length: i64,
    cos: Tensor,
    sin: Tensor,
}

/// The rows of the table that one forward pass needs, shaped to broadcast over
/// `[batch, seq, heads, head_dim]`.
#[derive(Debug)]
pub(crate) struct Rotation {
    cos: Tensor,
    sin: Tensor,
    half: i64,
}

impl Rope {
    pub(crate) fn new(config: &RopeConfig, head_dim: i64, device: Device) -> Result<Self> {
        let inverse_frequencies = inverse_frequencies(config, head_dim)?.f_to_device(device)?;
        Ok(Self { inverse_frequencies, head_dim, table: RefCell::new(None) })
    }

    /// The rotation of `seq` slots: at `positions` `[batch, seq]`, or counting on from
    /// `start`.
    pub(crate) fn rotation(
        &self,
        positions: Option<&Tensor>,
        start: i64,
        seq: i64,
        kind: Kind,
    ) -> Result<Rotation> {
        let Some(positions) = positions else {
            let half = self.head_dim / 2;
            let (cos, sin) = self.rows(start + seq, kind)?;
            return Ok(Rotation {
                cos: cos.f_narrow(0, start, seq)?.f_unsqueeze(1)?,
                sin: sin.f_narrow(0, start, seq)?.f_unsqueeze(1)?,
                half,
            });
        };
        let lowest = positions.f_min()?.f_int64_value(&[])?;
        if lowest < 0 {
            return Err(Error::shape("rope", "positions from 0 up", lowest.to_string()));
        }
        let length = positions.f_max()?.f_int64_value(&[])? + 1;
        self.rotation_at(positions, length, kind)
    }

    /// The rotation at `positions` `[batch, seq]`, all from 0 up and below `length`.
    pub(crate) fn rotation_at(
        &self,
        positions: &Tensor,
        length: i64,
        kind: Kind,
    ) -> Result<Rotation> {
        let (batch, seq) = positions.size2()?;
        let (cos, sin) = self.rows(length, kind)?;
        let flat = positions.f_reshape([-1])?;
        let gather = |table: &Tensor| -> Result<Tensor> {
            // [batch, seq, 1, head_dim]
            Ok(table.f_index_select(0, &flat)?.f_view([batch, seq, 1, self.head_dim])?)
        };
        Ok(Rotation { cos: gather(&cos)?, sin: gather(&sin)?, half: self.head_dim / 2 })
    }

    fn rows(&self, length: i64, kind: Kind) -> Result<(Tensor, Tensor)> {
        let mut table = self.table.borrow_mut();
        if let Some(table) = table.as_ref()
            && table.length >= length
            && table.cos.kind() == kind
        {
            return Ok((table.cos.shallow_clone(), table.sin.shallow_clone()));
        }
        let _guard = tch::no_grad_guard();
        let length = (length.max(SHORTEST) as u64).next_power_of_two() as i64;
        let device = self.inverse_frequencies.device();
        // In parts of one size: libtorch computes the last few numbers of an operation, and of
        // each thread's share of it, by another function, so that a table's bits would depend
        // on its length.
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for start in (0..length).step_by(SHORTEST as usize) {
            let positions = Tensor::f_arange_start(start, start + SHORTEST, (Kind::Float, device))?;
            let angles = positions.f_outer(&self.inverse_frequencies)?; // [part, head_dim / 2]
            cos.push(angles.f_cos()?);
            sin.push(angles.f_sin()?);
        }
        let (cos, sin) = (Tensor::f_cat(&cos, 0)?, Tensor::f_cat(&sin, 0)?);
        let made = Table {
            length,
            cos: Tensor::f_cat(&[&cos, &cos], -1)?.f_to_kind(kind)?,
            // The first half takes minus the second: folding the sign in here leaves a
            // plain roll at run time.
            sin: Tensor::f_cat(&[&sin.f_neg()?, &sin], -1)?.f_to_kind(kind)?,
        };
        let rows = (made.cos.shallow_clone(), made.sin.shallow_clone());
        *table = Some(made);
        Ok(rows)
    }
}

impl Rotation {
    /// # Shapes
    /// `[batch, seq, heads, head_dim]` → the same.
    pub(crate) fn apply(&self, heads: &Tensor) -> Result<Tensor> {
        if let Some(rotated) = single_pass::rotate(heads, &self.cos, &self.sin, self.half) {
            return rotated;
        }
        let rolled = heads.f_roll([self.half], [-1])?;
        Ok(heads.f_mul(&self.cos)?.f_addcmul(&rolled, &self.sin)?)
    }
}

/// `base^(-2i/head_dim)` with the setting's scaling, fp32 `[head_dim / 2]`.
///
/// Computed by the same fp32 operations as transformers', so that angles at high
/// positions agree to the last bit.
fn inverse_frequencies(config: &RopeConfig, head_dim: i64) -> Result<Tensor> {
    let options = (Kind::Float, Device::Cpu);
    let exponents =
        Tensor::f_arange_start_step(0, head_dim, 2, options)?.f_div_scalar(head_dim as f64)?;
    let plain = Tensor::f_pow_scalar(config.theta, &exponents)?.f_reciprocal()?;
    Ok(match config.scaling {
        RopeScaling::Default => plain,
        RopeScaling::Linear { factor } => plain.f_div_scalar(factor)?,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings: original,
        } => {
            let wavelengths = plain.f_reciprocal()?.f_mul_scalar(2.0 * std::f64::consts::PI)?;
            // 0 where a wavelength reaches original / low, 1 where it falls to
            // original / high.
            let smooth = wavelengths
                .f_reciprocal()?
                .f_mul_scalar(original)?
                .f_sub_scalar(low_freq_factor)?
                .f_div_scalar(high_freq_factor - low_freq_factor)?
                .f_clamp(0.0, 1.0)?;
            let divided = plain.f_div_scalar(factor)?;
            divided.f_lerp_tensor(&plain, &smooth)?
        }
    })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::{Rope, inverse_frequencies};
    use crate::config::{RopeConfig, RopeScaling};

    const PLAIN: RopeConfig = RopeConfig { theta: 100.0, scaling: RopeScaling::Default };

    fn heads() -> Tensor {
        Tensor::arange(2 * 5 * 3 * 4, (Kind::Float, Device::Cpu)).sin().view([2, 5, 3, 4])
    }

    #[test]
    fn rotates_pairs_by_position_times_frequency() {
        let rope = Rope::new(&PLAIN, 4, Device::Cpu).unwrap();
        let input = heads();
        let output = rope.rotation(None, 2, 5, Kind::Float).unwrap().apply(&input).unwrap();
        for (slot, pair) in [(0, 0), (0, 1), (4, 0), (4, 1)] {
            let angle = (slot + 2) as f64 / [1.0, 10.0][pair as usize];
            let (first, second) = (
                input.double_value(&[1, slot, 2, pair]),
                input.double_value(&[1, slot, 2, pair + 2]),
            );
            let expected = [
                first * angle.cos() - second * angle.sin(),
                second * angle.cos() + first * angle.sin(),
            ];
            for (half, expected) in expected.into_iter().enumerate() {
                let found = output.double_value(&[1, slot, 2, pair + 2 * half as i64]);
                assert!((found - expected).abs() < 1e-5, "{slot} {pair} {half}");
            }
        }
    }

    #[test]
    fn given_positions_equal_counted_ones() {
        let rope = Rope::new(&PLAIN, 4, Device::Cpu).unwrap();
        let counted = rope.rotation(None, 70, 5, Kind::Float).unwrap().apply(&heads()).unwrap();
        let positions = (Tensor::arange(5, (Kind::Int64, Device::Cpu)) + 70).repeat([2, 1]);
        let given = rope.rotation(Some(&positions), 0, 5, Kind::Float).unwrap();
        assert_eq!(given.apply(&heads()).unwrap(), counted);
        assert!(rope.rotation(Some(&(positions - 71)), 0, 5, Kind::Float).is_err());
    }

    #[test]
    fn a_longer_table_has_the_same_bits() {
        let rows = |lengths: &[i64]| {
            let rope = Rope::new(&PLAIN, 6, Device::Cpu).unwrap();
            let all: Vec<Tensor> =
                lengths.iter().map(|&length| rope.rows(length, Kind::Float).unwrap().0).collect();
            all.last().unwrap().narrow(0, 0, 60)
        };
        assert_eq!(rows(&[60]), rows(&[60, 5000]));
        assert_eq!(rows(&[60]), rows(&[300]));
    }

    #[test]
    fn scalings_change_the_frequencies() {
        let of = |scaling| {
            let config = RopeConfig { theta: 1e4, scaling };
            Vec::<f64>::try_from(inverse_frequencies(&config, 8).unwrap()).unwrap()
        };
        let close = |found: &[f64], expected: &[f64]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6 * b), "{found:?}");
        };
        close(&of(RopeScaling::Default), &[1.0, 0.1, 0.01, 0.001]);
        close(&of(RopeScaling::Linear { factor: 4.0 }), &[0.25, 0.025, 0.0025, 0.000_25]);
        // Wavelengths 6, 63, 628 and 6283 against a kept band below 50 and a divided one
        // above 200; 63 lies between, at smooth = (200 / 62.83 - 1) / 3.
        let smooth: f64 = (200.0 / 62.831_853 - 1.0) / 3.0;
        let llama3 = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 200.0,
        };
        let between = 0.1 * ((1.0 - smooth) / 8.0 + smooth);
        close(&of(llama3), &[1.0, between, 0.001_25, 0.000_125]);
    }
}
