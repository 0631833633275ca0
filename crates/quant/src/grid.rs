//! The levels that the weights of one group are rounded to, and how they are chosen.
//!
//! A level is `(code − zero) · scale`. Scales are rounded to the dtype they are stored in
//! before anything is rounded with them: GPTQ's error feedback then compensates the error of
//! the stored value.

use half::{bf16, f16};

use crate::bits::Bits;

/// Shrinkage steps of the search for the scale of least error, and the share of the full
/// range at the last one (80 steps of 1%, as in GPTQ's reference implementation).
const SEARCH_STEPS: u16 = 80;
/// Exponent of the error that the search minimises (ibid.): between absolute and squared.
const SEARCH_NORM: f32 = 2.4;

/// Weights that are looked at side by side.
const LANES: usize = 16;

/// 1.5 · 2²³: adding it to a number below 2²² in magnitude rounds it to an integer, ties
/// to even, in one vector instruction, where `round_ties_even` is a call on processors
/// that the compiler takes for old.
const ROUNDER: f32 = 12_582_912.0;

/// `value` rounded to an integer, ties to even; right below 2²² in magnitude.
#[inline]
pub(crate) fn round_small(value: f32) -> f32 {
    (value + ROUNDER) - ROUNDER
}

/// Levels of one group: `(code − zero) · scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Distance of neighbouring levels, exact in the dtype it is stored in; negative where the
    /// codes run downwards.
    pub scale: f32,
    /// The code of 0.
    pub zero: u8,
}

impl Grid {
    /// The code of the level nearest to `weight`, ties to even.
    pub fn code(self, weight: f32, bits: Bits) -> u8 {
        (self.steps(weight, bits) + f32::from(self.zero)) as u8
    }

    /// The level of `code`. Exact: a product of two numbers of at most 11 bits.
    pub fn weight(self, code: u8) -> f32 {
        (f32::from(code) - f32::from(self.zero)) * self.scale
    }

    /// `weight` rounded to the nearest level.
    pub fn round(self, weight: f32, bits: Bits) -> f32 {
        self.steps(weight, bits) * self.scale
    }

    /// How many levels the nearest one lies above 0.
    #[inline]
    fn steps(self, weight: f32, bits: Bits) -> f32 {
        let lowest = -f32::from(self.zero);
        let highest = f32::from(bits.max_code()) + lowest;
        round_small((weight / self.scale).clamp(lowest, highest))
    }
}

/// How the grid of a group is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridRule {
    /// Width of the codes.
    pub bits: Bits,
    /// Zero in the middle of the codes, so that it need not be stored.
    pub symmetric: bool,
    /// Symmetric only: the weight of largest magnitude gets the outermost code, 0, and
    /// the scale its opposite sign. The plain rule (scale = 2·max|w| / highest code)
    /// wastes half a level at either end.
    pub signed_scale: bool,
    /// Also tries narrower ranges and takes that of least Σ|error|^2.4.
    pub mse_search: bool,
    /// Asymmetric only: the lowest zero allowed; 1 for files that store `zero − 1`.
    pub min_zero: u8,
    /// The dtype that scales are stored in.
    pub scale_dtype: ScaleDtype,
}

/// A dtype of stored scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScaleDtype {
    /// What GPTQ and AWQ files hold.
    #[default]
    Float16,
    /// What compressed-tensors files of a bfloat16 model hold.
    BFloat16,
}

impl ScaleDtype {
    /// The scale as stored. One of a group of zeros is 1; one too small for the dtype is its
    /// least number, so that no division by 0 follows; `None` for one too large.
    pub(crate) fn store(self, scale: f32) -> Option<f32> {
        if scale == 0.0 {
            return Some(1.0);
        }
        let (rounded, least) = match self {
            Self::Float16 => (f16::from_f32(scale).to_f32(), f16::from_bits(1).to_f32()),
            Self::BFloat16 => (bf16::from_f32(scale).to_f32(), bf16::MIN_POSITIVE.to_f32()),
        };
        if !rounded.is_finite() {
            return None;
        }
        Some(if rounded.abs() < least { least.copysign(scale) } else { rounded })
    }
}

impl GridRule {
    /// The plain rule of a width: symmetric with a signed scale, without the search.
    pub fn symmetric(bits: Bits) -> Self {
        Self {
            bits,
            symmetric: true,
            signed_scale: true,
            mse_search: false,
            min_zero: 0,
            scale_dtype: ScaleDtype::Float16,
        }
    }

    /// The grid of a group of weights; `None` where a weight is not finite or the scale
    /// exceeds the dtype it is stored in.
    pub fn fit(self, weights: &[f32]) -> Option<Grid> {
        // Lane by lane, so that vector instructions serve.
        let mut lows = [0.0_f32; LANES];
        let mut highs = [0.0_f32; LANES];
        let mut finite = true;
        for weights in weights.chunks(LANES) {
            for ((&weight, low), high) in weights.iter().zip(&mut lows).zip(&mut highs) {
                finite &= weight.is_finite();
                *low = if weight < *low { weight } else { *low };
                *high = if weight > *high { weight } else { *high };
            }
        }
        if !finite {
            return None;
        }
        let low = lows.into_iter().fold(0.0, f32::min);
        let high = highs.into_iter().fold(0.0, f32::max);
        let full = self.grid_of_range(low, high)?;
        if !self.mse_search || high - low <= 0.0 {
            return Some(full);
        }
        let mut best = (self.error(full, weights, f32::INFINITY), full);
        for step in 1..SEARCH_STEPS {
            let share = 1.0 - f32::from(step) / 100.0;
            let grid = self.grid_of_range(low * share, high * share)?;
            let error = self.error(grid, weights, best.0);
            if error < best.0 {
                best = (error, grid);
            }
        }
        Some(best.1)
    }

    /// The grid whose levels span `low ≤ 0` to `high ≥ 0`.
    fn grid_of_range(self, low: f32, high: f32) -> Option<Grid> {
        let max_code = f32::from(self.bits.max_code());
        if self.symmetric {
            let zero = self.bits.middle();
            let scale = if self.signed_scale {
                let extreme = if high > -low { high } else { low };
                -extreme / f32::from(zero)
            } else {
                2.0 * high.max(-low) / max_code
            };
            return Some(Grid { scale: self.scale_dtype.store(scale)?, zero });
        }
        let scale = self.scale_dtype.store((high - low) / max_code)?;
        let zero = (-low / scale).round_ties_even().clamp(0.0, max_code) as u8;
        if zero >= self.min_zero {
            return Some(Grid { scale, zero });
        }
        // Moving the zero up takes levels from the positive side, so they must be wider.
        let levels_above = f32::from(self.bits.max_code() - self.min_zero);
        Some(Grid { scale: self.scale_dtype.store(high / levels_above)?, zero: self.min_zero })
    }

    /// Σ|error|^2.4, or any value above `bound` once it is exceeded.
    fn error(self, grid: Grid, weights: &[f32], bound: f32) -> f32 {
        let mut sum = 0.0;
        for &weight in weights {
            sum += (grid.round(weight, self.bits) - weight).abs().powf(SEARCH_NORM);
            if sum > bound {
                break;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::CounterRng;

    use super::*;

    fn all_rules() -> Vec<GridRule> {
        let mut rules = Vec::new();
        for bits in [Bits::Four, Bits::Eight] {
            for mse_search in [false, true] {
                let base = GridRule { mse_search, ..GridRule::symmetric(bits) };
                rules.push(base);
                rules.push(GridRule { signed_scale: false, ..base });
                rules.push(GridRule { symmetric: false, ..base });
                rules.push(GridRule { symmetric: false, min_zero: 1, ..base });
            }
        }
        rules
    }

    #[test]
    fn ties_are_rounded_to_even() {
        for (value, expected) in
            [(0.5, 0.0), (1.5, 2.0), (-2.5, -2.0), (254.5, 254.0), (-7.49, -7.0), (0.0, 0.0)]
        {
            assert_eq!(round_small(value), expected);
        }
    }

    #[test]
    fn hand_computed_grids() {
        let four = GridRule::symmetric(Bits::Four);
        // The largest magnitude, 4, gets code 0: (0 − 8) · −0.5.
        let grid = four.fit(&[-1.0, 4.0, 0.4]).unwrap();
        assert_eq!((grid.scale, grid.zero), (-0.5, 8));
        assert_eq!([-1.0, 4.0, 0.4, -9.0].map(|w| grid.code(w, Bits::Four)), [10, 0, 7, 15]);
        assert_eq!(grid.weight(15), -3.5);

        let plain = GridRule { signed_scale: false, ..four };
        assert_eq!(plain.fit(&[-3.0, 7.5]).unwrap().scale, 1.0);

        let asymmetric = GridRule { symmetric: false, ..four };
        let grid = asymmetric.fit(&[-1.0, 6.5]).unwrap();
        assert_eq!((grid.scale, grid.zero), (0.5, 2));
        // All weights positive: the range still includes 0.
        assert_eq!(asymmetric.fit(&[7.5, 3.0]).unwrap().zero, 0);
        let stored_less_one = GridRule { min_zero: 1, ..asymmetric };
        let grid = stored_less_one.fit(&[7.0, 3.0]).unwrap();
        assert_eq!((grid.scale, grid.zero), (0.5, 1));
        assert_eq!(grid.round(7.0, Bits::Four), 7.0);
    }

    #[test]
    fn rounding_errs_by_at_most_half_a_step_within_the_range() {
        let mut rng = CounterRng::new(1);
        for rule in all_rules() {
            for offset in [-2.0, 0.0, 0.3, 2.0] {
                let weights: Vec<f32> =
                    rng.normals(64).iter().map(|weight| (weight + offset) * 0.02).collect();
                let grid = rule.fit(&weights).unwrap();
                let ends = [grid.weight(0), grid.weight(rule.bits.max_code())];
                let (low, high) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
                let half_step = grid.scale.abs() / 2.0;
                for &weight in &weights {
                    let inside = weight.clamp(low, high);
                    let error = (inside - grid.round(weight, rule.bits)).abs();
                    assert!(error <= half_step * 1.000_001, "{rule:?}: {weight} errs by {error}");
                }
                assert_eq!(grid.round(0.0, rule.bits), 0.0, "{rule:?} has no level at 0");
            }
        }
    }

    #[test]
    fn the_full_range_is_covered_to_half_a_step_without_the_search() {
        let mut rng = CounterRng::new(2);
        for rule in all_rules() {
            // A signed scale covers its own side fully and the other but for one step.
            let slack = if rule.symmetric && rule.signed_scale { 1.0 } else { 0.51 };
            let weights = rng.normals(128);
            if rule.mse_search {
                continue;
            }
            let grid = rule.fit(&weights).unwrap();
            for &weight in &weights {
                let error = (weight - grid.round(weight, rule.bits)).abs();
                assert!(error <= slack * grid.scale.abs(), "{rule:?}: {weight}, {error}");
            }
        }
    }

    #[test]
    fn signed_scales_and_the_search_lower_the_error_of_gaussian_weights() {
        let mut rng = CounterRng::new(3);
        let mut sums = [0.0_f64; 3];
        for _ in 0..400 {
            let weights = rng.normals(32);
            let signed = GridRule::symmetric(Bits::Four);
            let rules = [
                GridRule { signed_scale: false, ..signed },
                signed,
                GridRule { mse_search: true, ..signed },
            ];
            for (sum, rule) in sums.iter_mut().zip(rules) {
                let grid = rule.fit(&weights).unwrap();
                *sum += weights
                    .iter()
                    .map(|&weight| f64::from(grid.round(weight, Bits::Four) - weight).powi(2))
                    .sum::<f64>();
            }
        }
        let [plain, signed, searched] = sums;
        assert!(signed < 0.95 * plain, "signed {signed}, plain {plain}");
        assert!(searched < signed, "searched {searched}, signed {signed}");
    }

    #[test]
    fn extreme_groups_have_a_grid_or_are_refused() {
        for rule in all_rules() {
            let zeros = rule.fit(&[0.0; 32]).unwrap();
            assert_eq!(zeros.round(0.0, rule.bits), 0.0);
            let tiny = rule.fit(&[1e-30, -1e-30]).unwrap();
            assert!(tiny.scale != 0.0);
            assert_eq!(rule.fit(&[f32::NAN, 1.0]), None);
            assert_eq!(rule.fit(&[f32::INFINITY, 1.0]), None);
            assert_eq!(rule.fit(&[1e30, 1.0]), None);
        }
    }
}
