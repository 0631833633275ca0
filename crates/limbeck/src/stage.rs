//! What all commands that make a folder share: a temporary folder that is renamed at the
//! end, and the manifest that says how it came about.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use limbeck_run::{Manifest, OutputDir, sha256_bytes, sha256_files, sha256_path};
use serde_json::{Map, Value};

use crate::cli::StageOptions;

/// A folder in the making.
pub(crate) struct Stage {
    output: OutputDir,
    manifest: Manifest,
    started: Instant,
}

impl Stage {
    /// Opens the temporary folder of `options.output`, keeping what a killed run of the
    /// same configuration and inputs left there, and records both.
    pub(crate) fn begin(
        name: &str,
        options: &StageOptions,
        config: Value,
        inputs: &[(&str, &Path)],
    ) -> Result<Self> {
        let mut hashes = BTreeMap::new();
        for (name, path) in inputs {
            let hash = sha256_path(path).with_context(|| format!("input {name}"))?;
            hashes.insert((*name).to_owned(), hash);
        }
        let fingerprint = options.fingerprint.clone().unwrap_or_else(|| {
            let identity = serde_json::json!([name, config, hashes, options.seed]).to_string();
            sha256_bytes(identity.as_bytes())
        });
        let manifest = Manifest {
            stage: name.to_owned(),
            fingerprint,
            config,
            inputs: hashes,
            outputs: BTreeMap::new(),
            metrics: Map::new(),
            seconds: 0.0,
            peak_memory_bytes: None,
            commit: std::env::var("LIMBECK_COMMIT").ok(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: options.device.to_string(),
            hardware: limbeck_run::hardware(),
            seed: options.seed,
            nondeterministic: Vec::new(),
        };
        let output = OutputDir::resume_for(&options.output, &manifest.fingerprint)?;
        Ok(Self { output, manifest, started: Instant::now() })
    }

    /// The temporary folder to write into.
    pub(crate) fn folder(&self) -> &Path {
        self.output.path()
    }

    /// Identifies configuration and inputs.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.manifest.fingerprint
    }

    /// Records a hash of something that went into the output, beside those of the inputs.
    pub(crate) fn record_input(&mut self, name: &str, hash: String) {
        self.manifest.inputs.insert(name.to_owned(), hash);
    }

    /// Records a figure for the manifest.
    pub(crate) fn metric(&mut self, name: &str, value: impl Into<Value>) {
        self.manifest.metrics.insert(name.to_owned(), value.into());
    }

    /// Hashes what was written, writes the manifest and renames the folder.
    pub(crate) fn finish(mut self) -> Result<Manifest> {
        let folder = self.output.path().to_owned();
        self.manifest.outputs = sha256_files(&folder)?;
        self.manifest.seconds = self.started.elapsed().as_secs_f64();
        self.manifest.peak_memory_bytes = limbeck_run::peak_memory_bytes();
        self.manifest.write(&folder)?;
        self.output.commit()?;
        Ok(self.manifest)
    }
}
