//! Several adapters of one base as one.
//!
//! The methods are PEFT's `add_weighted_adapter`'s, by its names. An adapter's update is
//! `ΔW = s·B·A`; those of `cat` and `svd` are of the update itself. `linear`, `ties` and
//! `dare_*` work on A and B apart, each times `√|w·s|`, which leaves products of one
//! adapter's A with another's B: on unlike adapters the result is far from the weighted sum.
//! Their forms in `_svd` work on the updates. The result is always portable
//! ([`crate::portable`]): PEFT keeps the first adapter's rsLoRA flag beside an alpha that
//! equals the rank, and thereby a scale of √rank.

mod rule;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tch::{Tensor, no_grad};

pub use rule::{MajoritySign, Rule};

use crate::portable::uniform;
use crate::weights::{AdapterWeights, ModuleWeights};
use crate::{Error, Rank, Result};

/// How adapters are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CombineMethod {
    /// A's and B's side by side: the weighted sum exactly, at the sum of the ranks.
    Cat,
    /// The weighted sum's best approximation of a rank.
    Svd,
    /// Weighted sums of A and of B.
    Linear,
    /// TIES (Yadav et al. 2023, arXiv:2306.01708) of A and of B.
    Ties,
    /// TIES of the updates, approximated.
    TiesSvd,
    /// DARE (Yu et al. 2023, arXiv:2311.03099) of A and of B, then their weighted sums.
    DareLinear,
    /// DARE of A and of B, then TIES's elected signs.
    DareTies,
    /// DARE of the updates, then their weighted sum, approximated.
    DareLinearSvd,
    /// DARE of the updates, then TIES's elected signs, approximated.
    DareTiesSvd,
}

/// What a combination takes beside the adapters.
#[derive(Debug, Clone, Copy)]
pub struct CombineConfig {
    /// How.
    pub method: CombineMethod,
    /// Rank of the result for the methods that approximate; that of the largest where it is
    /// not given.
    pub svd_rank: Option<Rank>,
    /// Share of the entries that TIES keeps, and DARE.
    pub density: f64,
    /// Which sign TIES elects.
    pub majority_sign: MajoritySign,
    /// Decides which entries DARE drops.
    pub seed: u64,
}

/// One adapter of `adapters`, each with its weight, in their order.
///
/// # Errors
/// [`Error::Refused`] for fewer than one adapter, adapters of different bases, and what is no
/// sum of updates (DoRA, `modules_to_save`, PiSSA's remainder); [`Error::Value`] for a weight
/// or a density out of range; [`Error::Tensor`] for ranks that differ where a method needs
/// one, and for shapes that belong to different models.
pub fn combine(
    adapters: &[(AdapterWeights, f64)],
    config: &CombineConfig,
) -> Result<AdapterWeights> {
    no_grad(|| {
        let Some((first, _)) = adapters.first() else {
            let (what, reason) = ("no adapter".to_owned(), "at least one is needed");
            return Err(Error::Refused { what, operation: "combined", reason });
        };
        check(adapters, config)?;
        let names: BTreeSet<&str> = adapters
            .iter()
            .flat_map(|(adapter, _)| adapter.modules.iter())
            .map(|module| module.plan.name.as_str())
            .collect();
        let modules = names.into_iter().map(|name| {
            let of_module: Vec<(&AdapterWeights, &ModuleWeights, f64)> = adapters
                .iter()
                .filter_map(|(adapter, weight)| Some((adapter, adapter.module(name)?, *weight)))
                .collect();
            check_shapes(&of_module)?;
            let (lora_a, lora_b) = combine_module(&of_module, config, name)?;
            Ok((name.to_owned(), lora_a, lora_b))
        });
        uniform(&first.config, modules.collect::<Result<_>>()?)
    })
}

fn check(adapters: &[(AdapterWeights, f64)], config: &CombineConfig) -> Result<()> {
    if !(config.density > 0.0 && config.density <= 1.0) {
        let (what, expected) = ("density", "a number above 0 and at most 1");
        return Err(Error::Value { what, expected, found: config.density.to_string() });
    }
    let mut bases = BTreeSet::new();
    for (adapter, weight) in adapters {
        adapter.require_plain("combined")?;
        if !weight.is_finite() || *weight == 0.0 {
            let (what, expected) = ("weight of an adapter", "a finite number other than 0");
            return Err(Error::Value { what, expected, found: weight.to_string() });
        }
        bases.extend(adapter.config.base_model.as_deref());
    }
    if bases.len() > 1 {
        let bases: Vec<&str> = bases.into_iter().collect();
        return Err(Error::Refused {
            what: format!("adapters of {}", bases.join(" and ")),
            operation: "combined",
            reason: "their updates are for different weights; where the two names mean one \
                     model, put one in base_model_name_or_path of both",
        });
    }
    Ok(())
}

fn check_shapes(modules: &[(&AdapterWeights, &ModuleWeights, f64)]) -> Result<()> {
    let shape = |module: &ModuleWeights| (module.lora_a.size()[1], module.lora_b.size()[0]);
    for (adapter, module, _) in &modules[1..] {
        let (expected, found) = (shape(modules[0].1), shape(module));
        if expected != found {
            let name = format!("{}.lora_A.weight", module.plan.name);
            let text = |(input, output): (i64, i64)| format!("{input} inputs, {output} outputs");
            return Err(adapter.misfit(&name, text(expected), text(found)));
        }
    }
    Ok(())
}

/// A and B of one module, without a scale.
fn combine_module(
    modules: &[(&AdapterWeights, &ModuleWeights, f64)],
    config: &CombineConfig,
    name: &str,
) -> Result<(Tensor, Tensor)> {
    let svd_rank = || {
        let largest = modules.iter().map(|(_, module, _)| module.plan.rank).max();
        config.svd_rank.or(largest).unwrap_or_default()
    };
    let on_factors = |rule: Rule| factors(modules, rule, config, name);
    let on_updates = |rule: Rule| {
        let deltas =
            modules.iter().map(|(_, module, _)| module.delta()).collect::<Result<Vec<_>>>()?;
        let weights: Vec<f64> = modules.iter().map(|(_, _, weight)| *weight).collect();
        let mixed = rule.apply(&deltas, &weights, config, name)?;
        truncate(&mixed, svd_rank())
    };
    match config.method {
        CombineMethod::Cat => concatenate(modules),
        CombineMethod::Svd => {
            let (lora_a, lora_b) = concatenate(modules)?;
            truncate_product(&lora_a, &lora_b, svd_rank())
        }
        CombineMethod::Linear => on_factors(Rule::Sum),
        CombineMethod::Ties => on_factors(Rule::Ties),
        CombineMethod::DareLinear => on_factors(Rule::DareSum),
        CombineMethod::DareTies => on_factors(Rule::DareTies),
        CombineMethod::TiesSvd => on_updates(Rule::Ties),
        CombineMethod::DareLinearSvd => on_updates(Rule::DareSum),
        CombineMethod::DareTiesSvd => on_updates(Rule::DareTies),
    }
}

/// `[wᵢsᵢAᵢ]` and `[Bᵢ]`, whose product is the weighted sum.
fn concatenate(modules: &[(&AdapterWeights, &ModuleWeights, f64)]) -> Result<(Tensor, Tensor)> {
    let lora_a = modules.iter().map(|(_, module, weight)| {
        Ok(module.lora_a.f_detach()?.f_mul_scalar(weight * module.plan.scale)?)
    });
    let lora_a = lora_a.collect::<Result<Vec<_>>>()?;
    let lora_b: Vec<&Tensor> = modules.iter().map(|(_, module, _)| &module.lora_b).collect();
    Ok((Tensor::f_cat(&lora_a, 0)?, Tensor::f_cat(&lora_b, 1)?.f_detach()?))
}

fn factors(
    modules: &[(&AdapterWeights, &ModuleWeights, f64)],
    rule: Rule,
    config: &CombineConfig,
    name: &str,
) -> Result<(Tensor, Tensor)> {
    let rank = modules[0].1.plan.rank;
    if let Some((adapter, module, _)) = modules.iter().find(|(_, m, _)| m.plan.rank != rank) {
        let tensor = format!("{name}.lora_A.weight");
        let expected = format!("rank {}, as the first adapter's, for this method", rank.get());
        let found = format!("rank {}", module.plan.rank.get());
        return Err(adapter.misfit(&tensor, expected, found));
    }
    let root = |sign: bool| -> Vec<f64> {
        let product = modules.iter().map(|(_, module, weight)| weight * module.plan.scale);
        // A negative weight turns B alone, so that it turns the product.
        product.map(|p| if sign { p.signum() * p.abs().sqrt() } else { p.abs().sqrt() }).collect()
    };
    let of = |tensor: fn(&ModuleWeights) -> &Tensor| -> Vec<Tensor> {
        modules.iter().map(|(_, module, _)| tensor(module).detach()).collect()
    };
    let lora_a = rule.apply(&of(|m| &m.lora_a), &root(false), config, &format!("{name} A"))?;
    let lora_b = rule.apply(&of(|m| &m.lora_b), &root(true), config, &format!("{name} B"))?;
    Ok((lora_a, lora_b))
}

/// The best approximation of `rank` to an update `[out, in]`.
fn truncate(delta: &Tensor, rank: Rank) -> Result<(Tensor, Tensor)> {
    let (left, values, right) = delta.f_svd(true, true)?;
    cut(&left, &values, &right, rank)
}

/// The best approximation of `rank` to `B·A`, without ever holding that product: with
/// `B = Q·R` and `Aᵀ = P·T`, it is that of the small `R·Tᵀ`.
fn truncate_product(lora_a: &Tensor, lora_b: &Tensor, rank: Rank) -> Result<(Tensor, Tensor)> {
    let (q, r) = Tensor::f_linalg_qr(lora_b, "reduced")?;
    let (p, t) = Tensor::f_linalg_qr(&lora_a.f_tr()?, "reduced")?;
    let (left, values, right) = r.f_matmul(&t.f_tr()?)?.f_svd(true, true)?;
    cut(&q.f_matmul(&left)?, &values, &p.f_matmul(&right)?, rank)
}

/// `left` `[out, n]`, `values` `[n]`, `right` `[in, n]` down to `rank`: the values go to B.
fn cut(left: &Tensor, values: &Tensor, right: &Tensor, rank: Rank) -> Result<(Tensor, Tensor)> {
    let rank = rank.get().min(values.size1()?);
    let lora_b = left.f_narrow(1, 0, rank)?.f_mul(&values.f_narrow(0, 0, rank)?)?;
    Ok((right.f_narrow(1, 0, rank)?.f_tr()?.f_contiguous()?, lora_b))
}
