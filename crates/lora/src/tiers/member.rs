//! An adapter as the tiers hold it: its matrices, by the projections that they belong to.

use tch::{Device, Kind, Tensor};

use crate::Result;

use super::fingerprint::Fingerprint;
use super::{Tier, TierError, TierLimits};

/// An adapter that adds low-rank updates to projections, and does nothing else.
#[derive(Debug)]
pub struct TierAdapter {
    /// The updates.
    pub modules: Vec<TierModule>,
    /// Probability with which an input of the updates is dropped in training.
    pub dropout: f64,
}

/// The update `s·B·A` of one projection.
#[derive(Debug)]
pub struct TierModule {
    /// The projection's name, such as `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// f32 `[rank, in_features]`.
    pub lora_a: Tensor,
    /// f32 `[out_features, rank]`.
    pub lora_b: Tensor,
    /// `s`.
    pub scale: f64,
}

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
    pub(super) dropout: f64,
    pub(super) in_training: bool,
    /// By projection, in the decoder's order.
    pub(super) updates: Vec<Option<Update>>,
}

/// The update of one projection.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) scale: f64,
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
        weights: TierAdapter,
        projections: &[Projection],
        (tier, limits): (Tier, &TierLimits),
        (version, kind, device): (u64, Kind, Device),
    ) -> Result<Self> {
        let mut updates: Vec<Option<Update>> = projections.iter().map(|_| None).collect();
        for module in weights.modules {
            let place = projections.iter().position(|projection| projection.name == module.name);
            let Some(place) = place.filter(|&place| updates[place].is_none()) else {
                let (adapter, module) = (adapter.to_owned(), module.name);
                return Err(TierError::UnknownModule { adapter, module }.into());
            };
            let rank = check(adapter, &module, &projections[place])?;
            if let Some(largest) = limits.largest_rank(tier).filter(|&largest| rank > largest) {
                let (adapter, module) = (adapter.to_owned(), module.name);
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
            updates[place] = Some(Update { scale: module.scale, lora_a, lora_b, computed });
        }
        Ok(Self { version, dropout: weights.dropout, in_training: false, updates })
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
                fingerprint.add(name, &update.scale.to_le_bytes());
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
            Ok(Update { scale: update.scale, lora_a, lora_b, computed })
        };
        let updates = self.updates.iter().map(|update| update.as_ref().map(renew).transpose());
        let updates = updates.collect::<Result<_>>()?;
        Ok(Self { version, dropout: self.dropout, in_training: false, updates })
    }

    /// Shallow clones of the updates by the projections' names.
    pub(super) fn weights(&self, projections: &[Projection]) -> TierAdapter {
        let module = |(projection, update): (&Projection, &Option<Update>)| {
            update.as_ref().map(|update| TierModule {
                name: projection.name.clone(),
                lora_a: update.lora_a.shallow_clone(),
                lora_b: update.lora_b.shallow_clone(),
                scale: update.scale,
            })
        };
        let modules = projections.iter().zip(&self.updates).filter_map(module).collect();
        TierAdapter { modules, dropout: self.dropout }
    }
}

/// The rank, if both matrices fit the projection and each other.
fn check(adapter: &str, module: &TierModule, projection: &Projection) -> Result<i64> {
    let rank = module.lora_a.size().first().copied().unwrap_or_default();
    let expected = [
        ("lora_A", &module.lora_a, [rank, projection.in_features]),
        ("lora_B", &module.lora_b, [projection.out_features, rank]),
    ];
    for (matrix, tensor, expected) in expected {
        let found = tensor.size();
        if found != expected {
            let (adapter, module) = (adapter.to_owned(), module.name.clone());
            return Err(TierError::Shape { adapter, module, matrix, expected, found }.into());
        }
    }
    Ok(rank)
}
