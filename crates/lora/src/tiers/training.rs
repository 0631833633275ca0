//! One adapter trains on top of the others, which stay as they are.
//!
//! That is checked, not assumed: before and after, the bits of every other adapter and of the
//! base are hashed.

use std::sync::{Arc, Mutex};

use limbeck_model::Decoder;
use tch::Tensor;

use crate::Result;

use super::fingerprint::Fingerprint;
use super::route::Route;
use super::{Stack, State, TierError, Tiers, lock};

/// An adapter in training, and what everything else was before.
#[derive(Debug)]
pub(super) struct Training {
    pub(super) adapter: String,
    frozen: Frozen,
}

/// What must not change.
#[derive(Debug)]
struct Frozen {
    base: Fingerprint,
    adapters: Vec<(String, Fingerprint)>,
}

impl Tiers {
    /// Makes one adapter trainable, in a stack that all batches run with from now on, and
    /// freezes the base and all other adapters. Ends with [`Self::finish_training`]; until
    /// then nothing can be routed.
    ///
    /// Returns shallow clones of the adapter's matrices under PEFT's names, for an optimiser
    /// to change in place.
    ///
    /// # Errors
    /// [`TierError::InTraining`]; [`TierError::Released`]; [`TierError::TrainedAside`];
    /// [`TierError::NotLoaded`].
    pub fn train(
        &self,
        decoder: &Decoder,
        stack: &Stack,
        adapter: &str,
    ) -> Result<Vec<(String, Tensor)>> {
        let mut state = lock(&self.state);
        state.refuse_in_training()?;
        state.refuse_released(adapter, "trained")?;
        if !stack.names().any(|name| name == adapter) {
            return Err(TierError::TrainedAside { adapter: adapter.to_owned() }.into());
        }
        for (name, _) in stack.entries() {
            state.entry(name)?;
        }
        decoder.set_requires_grad(false)?;
        for entry in state.adapters.values() {
            lock(&entry.member).set_requires_grad(false)?;
        }
        let frozen = state.frozen(decoder, adapter)?;
        let member = Arc::clone(&state.entry(adapter)?.member);
        lock(&member).in_training = true;
        let version = state.entry(adapter)?.version;
        state.unions.forget(version);
        let route = state.plan_all(stack)?;
        let member = lock(&member);
        member.set_requires_grad(true)?;
        let parameters = member.parameters(&state.projections);
        state.training = Some(Training { adapter: adapter.to_owned(), frozen });
        *lock(&self.route) = route;
        Ok(parameters)
    }

    /// Ends the training: the adapter is frozen as it has become, and the base alone is
    /// routed.
    ///
    /// Returns the adapter's new hash.
    ///
    /// # Errors
    /// [`TierError::NotInTraining`]; [`TierError::Changed`] if anything but the adapter has
    /// changed: training is over all the same.
    pub fn finish_training(&self, decoder: &Decoder) -> Result<String> {
        let mut state = lock(&self.state);
        let Some(training) = state.training.take() else {
            return Err(TierError::NotInTraining.into());
        };
        *lock(&self.route) = Route::default();
        let Training { adapter, frozen } = training;
        let hash = state.renew(&adapter)?;
        frozen.compare(&state.frozen(decoder, &adapter)?, &adapter)?;
        Ok(hash)
    }
}

impl State {
    /// The bits of everything but `adapter`.
    fn frozen(&self, decoder: &Decoder, adapter: &str) -> Result<Frozen> {
        let others = self.adapters.iter().filter(|(name, _)| *name != adapter);
        let adapters = others
            .map(|(name, entry)| {
                Ok((name.clone(), lock(&entry.member).fingerprint(&self.projections)?))
            })
            .collect::<Result<_>>()?;
        Ok(Frozen { base: Fingerprint::of(&decoder.named_parameters())?, adapters })
    }

    /// Makes a member anew of what an adapter was trained to.
    fn renew(&mut self, adapter: &str) -> Result<String> {
        let (version, kind) = (self.tick(), self.compute_dtype);
        let trained = Arc::clone(&self.entry(adapter)?.member);
        lock(&trained).set_requires_grad(false)?;
        let member = lock(&trained).renewed(version, kind)?;
        let fingerprint = member.fingerprint(&self.projections)?;
        let hash = fingerprint.digest();
        if let Some(entry) = self.adapters.get_mut(adapter) {
            entry.version = version;
            entry.fingerprint = fingerprint;
            entry.member = Arc::new(Mutex::new(member));
        }
        Ok(hash)
    }
}

impl Frozen {
    fn compare(&self, now: &Self, trained: &str) -> Result<()> {
        let changed = |owner: &str, tensor: &str| {
            let (adapter, owner) = (trained.to_owned(), owner.to_owned());
            Err(TierError::Changed { adapter, owner, tensor: tensor.to_owned() }.into())
        };
        if let Some(tensor) = self.base.first_difference(&now.base) {
            return changed("the base", tensor);
        }
        for (name, before) in &self.adapters {
            // One that was unloaded meanwhile has nothing left to compare.
            let after = now.adapters.iter().find(|(other, _)| other == name);
            if let Some(tensor) = after.and_then(|(_, after)| before.first_difference(after)) {
                return changed(&format!("adapter {name}"), tensor);
            }
        }
        Ok(())
    }
}
