//! How tensors of the same shape become one.

use limbeck_core::seed::{CounterRng, derive};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::CombineConfig;
use crate::Result;

/// Which sign counts at an entry, in TIES.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MajoritySign {
    /// That of the entries' sum.
    #[default]
    Total,
    /// That of most entries.
    Frequency,
}

/// A rule for tensors with weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Their weighted sum.
    Sum,
    /// The largest entries of each, those of the elected sign, their weighted mean.
    Ties,
    /// A random share of each at the inverse scale, then the weighted sum.
    DareSum,
    /// The same, then the elected sign and the weighted mean.
    DareTies,
}

impl Rule {
    /// Applies the rule; `stream` names the random draws.
    pub(super) fn apply(
        self,
        tensors: &[Tensor],
        weights: &[f64],
        config: &CombineConfig,
        stream: &str,
    ) -> Result<Tensor> {
        let thinned = tensors.iter().enumerate().map(|(index, tensor)| match self {
            Self::Sum => Ok(tensor.shallow_clone()),
            Self::Ties => keep_largest(tensor, config.density),
            Self::DareSum | Self::DareTies => {
                let seed = derive(config.seed, stream, index as u64);
                keep_random(tensor, config.density, seed)
            }
        });
        let stacked = Tensor::f_stack(&thinned.collect::<Result<Vec<_>>>()?, 0)?;
        let mut shape = vec![1; stacked.dim()];
        shape[0] = -1;
        let weights = Tensor::f_from_slice(weights)?
            .f_to_kind(Kind::Float)?
            .f_to_device(stacked.device())?
            .f_view(shape.as_slice())?;
        let weighted = stacked.f_mul(&weights)?;
        let sum = |tensor: &Tensor| tensor.f_sum_dim_intlist([0].as_slice(), false, Kind::Float);
        if matches!(self, Self::Sum | Self::DareSum) {
            return Ok(sum(&weighted)?);
        }
        let signs = stacked.f_sign()?;
        let elected = match config.majority_sign {
            MajoritySign::Total => sum(&stacked)?,
            MajoritySign::Frequency => sum(&signs)?,
        };
        // A draw counts as positive.
        let elected = elected.f_ge(0.0)?.f_to_kind(Kind::Float)?.f_mul_scalar(2.0)?;
        let agreeing = signs.f_eq_tensor(&elected.f_sub_scalar(1.0)?)?.f_to_kind(Kind::Float)?;
        let count = sum(&agreeing)?.f_clamp_min(1.0)?;
        Ok(sum(&weighted.f_mul(&agreeing)?)?.f_div(&count)?)
    }
}

/// The share `density` of the entries that are largest by size; the others 0.
fn keep_largest(tensor: &Tensor, density: f64) -> Result<Tensor> {
    let kept = (density * tensor.numel() as f64) as i64;
    let flat = tensor.f_reshape([-1])?;
    let (_, places) = flat.f_abs()?.f_topk(kept, 0, true, false)?;
    let values = flat.f_gather(0, &places, false)?;
    Ok(flat.f_zeros_like()?.f_scatter(0, &places, &values)?.f_view_as(tensor)?)
}

/// Each entry with probability `density`, over `density`; the others 0.
fn keep_random(tensor: &Tensor, density: f64, seed: u64) -> Result<Tensor> {
    let mut stream = CounterRng::new(seed);
    let kept: Vec<f32> = (0..tensor.numel())
        .map(|_| if stream.next_f64() < density { (1.0 / density) as f32 } else { 0.0 })
        .collect();
    let mask = Tensor::f_from_slice(&kept)?.f_to_device(tensor.device())?.f_view_as(tensor)?;
    Ok(tensor.f_mul(&mask)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::combine::CombineMethod;

    fn mixed(rule: Rule, density: f64, majority_sign: MajoritySign) -> Vec<f32> {
        let config = CombineConfig {
            method: CombineMethod::Ties,
            svd_rank: None,
            density,
            majority_sign,
            seed: 1,
        };
        let tensors = [
            Tensor::from_slice(&[4.0f32, -1.0, 3.0, 0.5]),
            Tensor::from_slice(&[-1.0f32, -2.0, -2.0, 1.0]),
            Tensor::from_slice(&[-1.0f32, 5.0, 0.2, 0.4]),
        ];
        let out = rule.apply(&tensors, &[1.0, 0.5, 2.0], &config, "x").unwrap();
        Vec::<f32>::try_from(&out).unwrap()
    }

    #[test]
    fn ties_keeps_the_largest_elects_signs_and_averages_those_that_agree() {
        assert_eq!(mixed(Rule::Sum, 1.0, MajoritySign::Total), [1.5, 8.0, 2.4, 1.8]);
        let all = mixed(Rule::Ties, 1.0, MajoritySign::Total);
        // Sums 2, 2, 1.2, 1.9: all positive.
        let expected = [4.0, 10.0, 1.7, 0.6];
        assert!(all.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{all:?}");
        let frequent = mixed(Rule::Ties, 1.0, MajoritySign::Frequency);
        // Most are negative at the first two places.
        assert_eq!(frequent[..2], [(-0.5 - 2.0) / 2.0, (-1.0 - 1.0) / 2.0]);
        // Half of each: 4 and 3; −2 and −2; 5 and −1.
        let half = mixed(Rule::Ties, 0.5, MajoritySign::Total);
        assert_eq!(half, [4.0, 10.0, 3.0, 0.0]);
    }

    #[test]
    fn dare_keeps_the_mean() {
        let tensor = Tensor::ones([40_000], (Kind::Float, tch::Device::Cpu));
        let thinned = keep_random(&tensor, 0.2, 3).unwrap();
        assert!((thinned.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.05);
        let zeros = thinned.eq(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        assert!((zeros - 0.8).abs() < 0.01, "{zeros}");
        assert_eq!(thinned, keep_random(&tensor, 0.2, 3).unwrap());
    }
}
