//! Adapters come, change and go.

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::{AdapterWeights, Result};

use super::member::Member;
use super::route::Route;
use super::{Entry, State, Tier, TierError, Tiers, lock};

/// An adapter that has been loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// SHA-256 over its matrices and scales.
    pub hash: String,
    /// The adapter that made room for it.
    pub evicted: Option<String>,
}

impl Tiers {
    /// Takes an adapter into a tier, frozen. In a tier that is full the least recently used
    /// adapter that the running batch does not use makes room.
    ///
    /// # Errors
    /// A name that is taken; an adapter that does not fit the model or the tier;
    /// [`crate::Error::Refused`] for one that is no sum of updates (`DoRA`, `modules_to_save`) or
    /// adapts the embedding or the head; [`TierError::Full`]. Nothing has changed then.
    pub fn load(&self, name: &str, tier: Tier, weights: AdapterWeights) -> Result<Loaded> {
        let mut state = lock(&self.state);
        if let Some(entry) = state.adapters.get(name) {
            return Err(TierError::AlreadyLoaded { adapter: name.into(), tier: entry.tier }.into());
        }
        let entry = state.make_entry(name, tier, weights)?;
        let evicted = state.evict_for(tier, &lock(&self.route))?;
        let hash = entry.fingerprint.digest();
        state.adapters.insert(name.to_owned(), entry);
        Ok(Loaded { hash, evicted })
    }

    /// Reads a PEFT folder and loads it.
    ///
    /// # Errors
    /// Those of [`AdapterWeights::read`] and [`Self::load`].
    pub fn load_folder(&self, name: &str, tier: Tier, folder: &Path) -> Result<Loaded> {
        let device = lock(&self.state).device;
        self.load(name, tier, AdapterWeights::read(folder, device)?)
    }

    /// Puts other matrices in an adapter's place: what a user's preferences are after they
    /// were learned anew. A batch that runs goes on with the old ones; the next route takes
    /// the new.
    ///
    /// # Errors
    /// [`TierError::NotLoaded`], [`TierError::Released`], [`TierError::InTraining`]; an
    /// adapter that does not fit. Nothing has changed then.
    pub fn replace(&self, name: &str, weights: AdapterWeights) -> Result<Loaded> {
        let mut state = lock(&self.state);
        let entry = state.entry(name)?;
        let (tier, version) = (entry.tier, entry.version);
        state.refuse_released(name, "replaced")?;
        state.refuse_training_of(name)?;
        let entry = state.make_entry(name, tier, weights)?;
        let hash = entry.fingerprint.digest();
        state.unions.forget(version);
        state.adapters.insert(name.to_owned(), entry);
        Ok(Loaded { hash, evicted: None })
    }

    /// Drops an adapter.
    ///
    /// # Errors
    /// [`TierError::NotLoaded`]; [`TierError::InUse`]; [`TierError::InTraining`].
    pub fn unload(&self, name: &str) -> Result<()> {
        let mut state = lock(&self.state);
        let version = state.entry(name)?.version;
        state.refuse_training_of(name)?;
        if lock(&self.route).uses(version) {
            return Err(TierError::InUse { adapter: name.into(), operation: "unloaded" }.into());
        }
        state.unions.forget(version);
        state.adapters.remove(name);
        Ok(())
    }

    /// Freezes an adapter for good: from now on it is neither trained nor replaced.
    ///
    /// # Errors
    /// [`TierError::NotLoaded`]; [`TierError::InTraining`].
    pub fn release(&self, name: &str) -> Result<()> {
        let mut state = lock(&self.state);
        state.refuse_training_of(name)?;
        state.entry(name)?;
        if let Some(entry) = state.adapters.get_mut(name) {
            entry.released = true;
        }
        Ok(())
    }

    /// An adapter as it is now, with shallow clones of its matrices: such as to write what
    /// was trained.
    ///
    /// # Errors
    /// [`TierError::NotLoaded`].
    pub fn weights(&self, name: &str) -> Result<AdapterWeights> {
        let state = lock(&self.state);
        let member = lock(&state.entry(name)?.member);
        Ok(member.weights())
    }
}

impl State {
    fn make_entry(&mut self, name: &str, tier: Tier, weights: AdapterWeights) -> Result<Entry> {
        let version = self.tick();
        let options = (version, self.compute_dtype, self.device);
        let member = Member::new(name, weights, &self.projections, (tier, &self.limits), options)?;
        let fingerprint = member.fingerprint(&self.projections)?;
        let member = Arc::new(Mutex::new(member));
        Ok(Entry { tier, released: false, used: version, version, fingerprint, member })
    }

    /// Makes room for one more adapter, if the tier is full.
    fn evict_for(&mut self, tier: Tier, route: &Route) -> Result<Option<String>> {
        let Some(capacity) = self.limits.capacity(tier) else { return Ok(None) };
        let in_tier = || self.adapters.iter().filter(|(_, entry)| entry.tier == tier);
        if in_tier().count() < capacity {
            return Ok(None);
        }
        let training = self.training.as_ref().map(|training| training.adapter.as_str());
        let idle = in_tier()
            .filter(|(name, entry)| !route.uses(entry.version) && training != Some(name.as_str()));
        let Some((name, entry)) = idle.min_by_key(|(_, entry)| entry.used) else {
            let adapters = in_tier().map(|(name, _)| name.clone()).collect();
            return Err(TierError::Full { tier, capacity, adapters }.into());
        };
        let (name, version) = (name.clone(), entry.version);
        self.unions.forget(version);
        self.adapters.remove(&name);
        Ok(Some(name))
    }

    pub(super) fn refuse_released(&self, name: &str, operation: &'static str) -> Result<()> {
        if self.entry(name)?.released {
            return Err(TierError::Released { adapter: name.into(), operation }.into());
        }
        Ok(())
    }

    fn refuse_training_of(&self, name: &str) -> Result<()> {
        match &self.training {
            Some(training) if training.adapter == name => self.refuse_in_training(),
            _ => Ok(()),
        }
    }
}
