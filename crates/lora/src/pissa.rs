//! PiSSA: an adapter that begins as the base's principal part (Meng et al. 2024,
//! arXiv:2404.02948, section 3).
//!
//! With `W = U·S·Vᵀ`, `A₀ = √(S_r/s)·V_rᵀ` and `B₀ = U_r·√(S_r/s)`, so that `s·B₀·A₀` is W's
//! best approximation of rank r. The paper trains A and B over the rest `W − s·B₀·A₀`. Here W
//! stays as it is and the update is `s·(B·A − B₀·A₀)`, the same function: it needs no second
//! base, works over packed weights, and is a plain adapter of twice the rank,
//! `s·[B | −B₀]·[A; A₀]`, which is what is saved and what every reader understands.

use tch::{Kind, Tensor, no_grad};

use crate::config::AdapterConfig;
use crate::layer::Origin;
use crate::scalar::{Alpha, Rank};
use crate::{Error, Result};

/// The first `rank` singular vectors of a weight, f32 `[out_features, in_features]`.
///
/// # Errors
/// [`Error::Value`] for a rank above the weight's; libtorch's.
pub(crate) fn principal(weight: &Tensor, rank: Rank, scale: f64) -> Result<Origin> {
    no_grad(|| {
        let (out_features, in_features) = weight.size2()?;
        let rank = rank.get();
        if rank > out_features.min(in_features) {
            let expected = "at most the smaller side of every adapted weight, for PiSSA";
            return Err(Error::Value { what: "rank", expected, found: rank.to_string() });
        }
        let weight = weight.f_to_kind(Kind::Float)?;
        let (left, values, right) = weight.f_svd(true, true)?;
        let roots = values.f_narrow(0, 0, rank)?.f_div_scalar(scale)?.f_sqrt()?; // [rank]
        let right = right.f_narrow(1, 0, rank)?.f_tr()?; // [rank, in_features]
        let left = left.f_narrow(1, 0, rank)?; // [out_features, rank]
        Ok(Origin {
            lora_a: right.f_mul(&roots.f_unsqueeze(1)?)?.f_contiguous()?,
            lora_b: left.f_mul(&roots)?.f_contiguous()?,
        })
    })
}

/// The configuration of the same update with its origin in it: twice the ranks at the same
/// scales.
pub(crate) fn with_origin(config: &AdapterConfig) -> Result<AdapterConfig> {
    let double = |rank: Rank| Rank::new(2 * rank.get());
    // alpha/rank must stay, or alpha/√rank.
    let factor = if config.use_rslora { 2.0_f64.sqrt() } else { 2.0 };
    let scaled = |alpha: Alpha| Alpha::new(factor * alpha.get());
    let ranks = config.rank_pattern.iter();
    let alphas = config.alpha_pattern.iter();
    Ok(AdapterConfig {
        rank: double(config.rank)?,
        alpha: scaled(config.alpha)?,
        init: crate::config::Init::Default,
        rank_pattern: ranks
            .map(|(pattern, rank)| Ok((pattern.clone(), double(*rank)?)))
            .collect::<Result<_>>()?,
        alpha_pattern: alphas
            .map(|(pattern, alpha)| Ok((pattern.clone(), scaled(*alpha)?)))
            .collect::<Result<_>>()?,
        ..config.clone()
    })
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn the_origin_is_the_best_approximation() {
        tch::manual_seed(1);
        let weight = Tensor::randn([6, 4], (Kind::Float, Device::Cpu));
        let (_, values, _) = weight.svd(true, true);
        let Origin { lora_a, lora_b } = principal(&weight, Rank::new(2).unwrap(), 1.5).unwrap();
        let rest = &weight - lora_b.matmul(&lora_a) * 1.5;
        // What is left over has the other singular values.
        let expected = values.narrow(0, 2, 2).square().sum(Kind::Float).sqrt();
        assert!((rest.norm() - expected).abs().double_value(&[]) < 1e-5);
        let error = principal(&weight, Rank::new(5).unwrap(), 1.0).err().unwrap();
        assert!(error.to_string().contains("PiSSA"), "{error}");
    }

    #[test]
    fn ranks_double_and_scales_stay() {
        for use_rslora in [false, true] {
            let config = AdapterConfig {
                use_rslora,
                rank_pattern: vec![("a".to_owned(), Rank::new(3).unwrap())],
                alpha_pattern: vec![("a".to_owned(), Alpha::new(5.0).unwrap())],
                ..AdapterConfig::default()
            };
            let names = ["a".to_owned(), "b".to_owned()];
            let before = config.resolve(&names).unwrap();
            let after = with_origin(&config).unwrap().resolve(&names).unwrap();
            for (before, after) in before.iter().zip(&after) {
                assert_eq!(after.rank.get(), 2 * before.rank.get());
                assert!((after.scale - before.scale).abs() < 1e-12);
            }
        }
    }
}
