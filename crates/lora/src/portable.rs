//! Adapters that every consumer computes alike.
//!
//! Readers differ in what they make of scales: some know no rsLoRA, some no patterns, some
//! want one rank. A portable adapter leaves nothing to know: the scale is in B, alpha equals
//! the rank everywhere, and ranks are filled up with zeros to the largest. The update is the
//! same to the last rounding.

use tch::Tensor;

use crate::config::{Init, ModulePlan};
use crate::scalar::{Alpha, Rank};
use crate::weights::{AdapterWeights, ModuleWeights};
use crate::{AdapterConfig, Error, Result, TargetModules};

impl AdapterWeights {
    /// The same update with scale 1, one rank and no patterns.
    ///
    /// # Errors
    /// [`Error::Refused`] for what no plain update can say: DoRA, modules saved whole, and an
    /// adapter over PiSSA's remainder of its base.
    pub fn portable(&self) -> Result<Self> {
        self.require_plain("made portable")?;
        let modules = self.modules.iter().map(|module| {
            let ModuleWeights { plan, lora_a, lora_b, .. } = module;
            let lora_b = lora_b.f_detach()?.f_mul_scalar(plan.scale)?;
            Ok((plan.name.clone(), lora_a.f_detach()?, lora_b))
        });
        uniform(&self.config, modules.collect::<Result<_>>()?)
    }

    /// An error for an adapter that is more than a sum of `s·B·A`.
    pub(crate) fn require_plain(&self, operation: &'static str) -> Result<()> {
        let reason = if self.config.use_dora {
            "DoRA's lengths of rows are no sum of updates: merge it into its base instead"
        } else if !self.saved.is_empty() {
            "it keeps modules whole (modules_to_save): merge it into its base instead"
        } else if self.config.init == Init::Pissa {
            "it stands on what PiSSA left of its base: convert it first, by reading it with the \
             base's folder given"
        } else {
            return Ok(());
        };
        let folder = self.path.parent().unwrap_or(&self.path).display().to_string();
        Err(Error::Refused { what: format!("adapter {folder}"), operation, reason })
    }
}

/// An adapter of updates `B·A`, without scales: what `config` says of the base is kept.
///
/// # Shapes
/// Of each module its name, A `[rank, in]` and B `[out, rank]`; ranks may differ.
pub(crate) fn uniform(
    config: &AdapterConfig,
    modules: Vec<(String, Tensor, Tensor)>,
) -> Result<AdapterWeights> {
    let ranks = modules.iter().map(|(_, lora_a, _)| lora_a.size()[0]);
    let rank = Rank::new(ranks.max().unwrap_or(1))?;
    let modules = modules
        .into_iter()
        .map(|(name, lora_a, lora_b)| {
            let missing = rank.get() - lora_a.size()[0];
            let plan = ModulePlan { name, rank, scale: 1.0 };
            let lora_a = lora_a.f_constant_pad_nd([0, 0, 0, missing])?;
            let lora_b = lora_b.f_constant_pad_nd([0, missing])?;
            Ok(ModuleWeights { plan, lora_a, lora_b, magnitude: None })
        })
        .collect::<Result<Vec<_>>>()?;
    let config = AdapterConfig {
        rank,
        alpha: Alpha::new(rank.get() as f64)?,
        target_modules: targets_of(&modules),
        base_model: config.base_model.clone(),
        revision: config.revision.clone(),
        ..AdapterConfig::default()
    };
    let path = AdapterWeights::FILE.into();
    Ok(AdapterWeights { config, modules, saved: Vec::new(), base_layers: Vec::new(), path })
}

/// The modules' own names: what they are the last parts of may be more in the model.
fn targets_of(modules: &[ModuleWeights]) -> TargetModules {
    TargetModules::Names(modules.iter().map(|module| module.plan.name.clone()).collect())
}
