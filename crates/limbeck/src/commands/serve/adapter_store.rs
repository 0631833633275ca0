//! The server's adapters: tiers on the served decoder.

use std::path::Path;
use std::sync::Arc;

use limbeck_lora::tiers::{LiveRouter, Stack, Tier};
use limbeck_serve::AdapterStore;
use limbeck_serve::adapters::{AdapterError, AdapterInfo, LoadedAdapter};

/// Adapters behind the router that the engine asks.
#[derive(Debug)]
pub(super) struct TierStore(pub(super) Arc<LiveRouter>);

impl AdapterStore for TierStore {
    fn list(&self) -> Vec<AdapterInfo> {
        let adapters = self.0.tiers().adapters().into_iter();
        adapters
            .map(|adapter| AdapterInfo {
                name: adapter.name,
                tier: adapter.tier.as_str().to_owned(),
                hash: adapter.hash,
            })
            .collect()
    }

    fn load(&self, name: &str, tier: &str, folder: &Path) -> Result<LoadedAdapter, AdapterError> {
        let tier: Tier = tier.parse().map_err(refused)?;
        let loaded = self.0.tiers().load_folder(name, tier, folder).map_err(refused)?;
        Ok(LoadedAdapter { hash: loaded.hash, evicted: loaded.evicted })
    }

    fn unload(&self, name: &str) -> Result<(), AdapterError> {
        self.0.tiers().unload(name).map_err(refused)
    }

    fn key(&self, stack: &[(String, f64)]) -> Result<u64, AdapterError> {
        let stack = Stack::new(stack.iter().cloned()).map_err(refused)?;
        self.0.key(&stack).map_err(refused)
    }
}

fn refused(error: impl std::fmt::Display) -> AdapterError {
    AdapterError(error.to_string())
}
