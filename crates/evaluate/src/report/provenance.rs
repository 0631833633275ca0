//! How an evaluation came about, from its folder's manifest.

use std::collections::BTreeMap;

use limbeck_run::Manifest;
use serde::Serialize;

/// The part of a manifest that a reader of numbers needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Provenance {
    /// Seed of everything random.
    pub seed: u64,
    /// Device that was computed on.
    pub device: String,
    /// The machine, in words; empty where it was not recorded.
    pub hardware: String,
    /// Commit of the sources, where known.
    pub commit: Option<String>,
    /// Version of the program.
    pub version: String,
    /// SHA-256 of each input.
    pub inputs: BTreeMap<String, String>,
    /// What may differ between two runs with the same seed.
    pub nondeterministic: Vec<String>,
}

impl From<Manifest> for Provenance {
    fn from(manifest: Manifest) -> Self {
        Self {
            seed: manifest.seed,
            device: manifest.device,
            hardware: manifest.hardware,
            commit: manifest.commit,
            version: manifest.version,
            inputs: manifest.inputs,
            nondeterministic: manifest.nondeterministic,
        }
    }
}
