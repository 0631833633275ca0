//! An adapter as the tiers hold it: its matrices, by the projections that they belong to.

use std::path::PathBuf;

use tch::{Device, Kind, Tensor};

use crate::config::ModulePlan;
use crate::target::HEAD;
use crate::{AdapterConfig, AdapterWeights, Error, ModuleWeights, Result};

use super::fingerprint::Fingerprint;
use super::{Tier, TierError, TierLimits};

/// A projection of the decoder that the tiers sit on.
#[derive(Debug)]
pub(super) struct Projection {
    pub(super) name: String,
    pub(super) in_features: i64,
    pub(super) out_features: i64,
}

/// What a batch needs of an adapter. A batch that runs keeps its members: an adapter that is
/// replaced or unloaded meanwhile lives on until that batch is over.
#[derive(Debug)]
pub(super) struct Member {
    /// Differs from that of any other member, and from that of this adapter before a change.
    pub(super) version: u64,
    /// What the adapter's file says of it, and where that is.
    config: AdapterConfig,
    path: PathBuf,
    pub(super) in_training: bool,
    /// By projection, in the decoder's order.
    pub(super) updates: Vec<Option<Update>>,
}

/// The update of one projection.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) plan: ModulePlan,
    /// As loaded, f32: what is trained, compared and saved.
    pub(super) lora_a: Tensor,
    pub(super) lora_b: Tensor,
    /// The same in the decoder's compute dtype: what a forward pass multiplies with.
    pub(super) computed: (Tensor, Tensor),
}

impl Member {
    /// Checks the adapter against the model and its tier.
    pub(super) fn new(
        adapter: &str,
        weights: AdapterWeights,
        projections: &[Projection],
        (tier, limits): (Tier, &TierLimits),
        (version, kind, device): (u64, Kind, Device),
    ) -> Result<Self> {
        require_additive(adapter, &weights)?;
        let mut updates: Vec<Option<Update>> = projections.iter().map(|_| None).collect();
        for module in weights.modules {
            let name = &module.plan.name;
            let place = projections.iter().position(|projection| projection.name == *name);
            let Some(place) = place.filter(|&place| updates[place].is_none()) else {
                let (adapter, module) = (adapter.to_owned(), module.plan.name);
                return Err(TierError::UnknownModule { adapter, module }.into());
            };
            let rank = check(adapter, &module, &projections[place])?;
            if let Some(largest) = limits.largest_rank(tier).filter(|&largest| rank > largest) {
                let (adapter, module) = (adapter.to_owned(), module.plan.name);
                return Err(TierError::RankAbove { adapter, module, rank, tier, largest }.into());
            }
            let matrix = |tensor: &Tensor| -> Result<Tensor> {
                Ok(tensor
                    .f_detach()?
                    .f_to_device(device)?
                    .f_to_kind(Kind::Float)?
                    .f_contiguous()?)
            };
            let (lora_a, lora_b) = (matrix(&module.lora_a)?, matrix(&module.lora_b)?);
            let computed = (lora_a.f_to_kind(kind)?, lora_b.f_to_kind(kind)?);
            updates[place] = Some(Update { plan: module.plan, lora_a, lora_b, computed });
        }
        let (config, path) = (weights.config, weights.path);
        Ok(Self { version, config, path, in_training: false, updates })
    }

    /// Shallow clones of A and B under PEFT's names, in the decoder's order.
    pub(super) fn parameters(&self, projections: &[Projection]) -> Vec<(String, Tensor)> {
        let mut parameters = Vec::new();
        for (projection, update) in projections.iter().zip(&self.updates) {
            if let Some(update) = update {
                for (matrix, tensor) in [("A", &update.lora_a), ("B", &update.lora_b)] {
                    let name = format!("base_model.model.{}.lora_{matrix}.weight", projection.name);
                    parameters.push((name, tensor.shallow_clone()));
                }
            }
        }
        parameters
    }

    /// Tensors and scales, to the bit.
    pub(super) fn fingerprint(&self, projections: &[Projection]) -> Result<Fingerprint> {
        let mut fingerprint = Fingerprint::of(&self.parameters(projections))?;
        for (projection, update) in projections.iter().zip(&self.updates) {
            if let Some(update) = update {
                let name = format!("scale of {}", projection.name);
                fingerprint.add(name, &update.plan.scale.to_le_bytes());
            }
        }
        Ok(fingerprint)
    }

    /// Lets gradients flow into the matrices, or stops them.
    pub(super) fn set_requires_grad(&self, requires_grad: bool) -> Result<()> {
        for update in self.updates.iter().flatten() {
            let _ = update.lora_a.f_set_requires_grad(requires_grad)?;
            let _ = update.lora_b.f_set_requires_grad(requires_grad)?;
        }
        Ok(())
    }

    /// A copy of its own of what this member holds, such as after it was trained in place.
    pub(super) fn renewed(&self, version: u64, kind: Kind) -> Result<Self> {
        let renew = |update: &Update| -> Result<Update> {
            let matrix = |tensor: &Tensor| -> Result<Tensor> {
                let mut copy = tensor.f_detach()?.f_empty_like()?;
                copy.f_copy_(&tensor.f_detach()?)?;
                Ok(copy)
            };
            let (lora_a, lora_b) = (matrix(&update.lora_a)?, matrix(&update.lora_b)?);
            let computed = (lora_a.f_to_kind(kind)?, lora_b.f_to_kind(kind)?);
            Ok(Update { plan: update.plan.clone(), lora_a, lora_b, computed })
        };
        let updates = self.updates.iter().map(|update| update.as_ref().map(renew).transpose());
        let updates = updates.collect::<Result<_>>()?;
        let (config, path) = (self.config.clone(), self.path.clone());
        Ok(Self { version, config, path, in_training: false, updates })
    }

    /// The adapter, with shallow clones of its matrices.
    pub(super) fn weights(&self) -> AdapterWeights {
        let module = |update: &Update| ModuleWeights {
            plan: update.plan.clone(),
            lora_a: update.lora_a.shallow_clone(),
            lora_b: update.lora_b.shallow_clone(),
            magnitude: None,
        };
        AdapterWeights {
            config: self.config.clone(),
            modules: self.updates.iter().flatten().map(module).collect(),
            saved: Vec::new(),
            base_layers: Vec::new(),
            path: self.path.clone(),
        }
    }

    #[cfg(test)]
    pub(super) fn empty(version: u64, config: AdapterConfig) -> Self {
        Self { version, config, path: PathBuf::new(), in_training: false, updates: Vec::new() }
    }

    /// Probability with which an input of the updates is dropped in training.
    pub(super) fn dropout(&self) -> f64 {
        self.config.dropout
    }
}

/// Refuses what is no sum of updates of the blocks' projections.
fn require_additive(adapter: &str, weights: &AdapterWeights) -> Result<()> {
    let refused = |kind: String, reason: &'static str| {
        let what = format!("adapter {adapter}, which {kind},");
        Err(Error::Refused { what, operation: "put in a tier", reason })
    };
    let is_dora = |module: &ModuleWeights| module.magnitude.is_some();
    if weights.config.use_dora || weights.modules.iter().any(is_dora) {
        return refused(
            "uses DoRA".to_owned(),
            "DoRA rescales the whole weight, so that the updates of several adapters do not add \
             up; merge it into the base instead",
        );
    }
    if let Some(module) = weights.saved.first() {
        return refused(
            format!("keeps {} whole", module.name),
            "that takes the base's place, which only one adapter can; merge it into the base instead",
        );
    }
    let outside = |module: &&ModuleWeights| module.plan.is_embedding() || module.plan.name == HEAD;
    if let Some(module) = weights.modules.iter().find(outside) {
        return refused(
            format!("adapts {}", module.plan.name),
            "tiers are on the projections of the blocks alone; merge it into the base instead",
        );
    }
    Ok(())
}

/// The rank, if both matrices fit the projection and each other.
fn check(adapter: &str, module: &ModuleWeights, projection: &Projection) -> Result<i64> {
    let rank = module.lora_a.size().first().copied().unwrap_or_default();
    let expected = [
        ("lora_A", &module.lora_a, [rank, projection.in_features]),
        ("lora_B", &module.lora_b, [projection.out_features, rank]),
    ];
    for (matrix, tensor, expected) in expected {
        let found = tensor.size();
        if found != expected {
            let (adapter, module) = (adapter.to_owned(), module.plan.name.clone());
            return Err(TierError::Shape { adapter, module, matrix, expected, found }.into());
        }
    }
    Ok(rank)
}
