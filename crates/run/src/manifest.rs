//! The record that each stage leaves of itself: what it ran with, on and into.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, Result, write_file};

/// `manifest.json` of a stage's output folder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Manifest {
    /// The stage's name.
    pub stage: String,
    /// Hash of everything that decides the output; a stage whose fingerprint is
    /// unchanged need not run again. Empty where no orchestrator gave one.
    pub fingerprint: String,
    /// The resolved configuration.
    pub config: Value,
    /// SHA-256 of each input, by path.
    pub inputs: BTreeMap<String, String>,
    /// SHA-256 of each output file, by name relative to the folder.
    pub outputs: BTreeMap<String, String>,
    /// What was measured: losses, accuracies, rates.
    pub metrics: Map<String, Value>,
    /// Wall-clock time.
    pub seconds: f64,
    /// Highest resident memory of the process.
    pub peak_memory_bytes: Option<u64>,
    /// Commit of the sources, where known.
    pub commit: Option<String>,
    /// Version of the program.
    pub version: String,
    /// Device the stage computed on.
    pub device: String,
    /// The machine, in words: its processor, cores and memory.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hardware: String,
    /// Seed of everything random.
    pub seed: u64,
    /// What may differ between two runs with the same seed; empty when nothing does.
    pub nondeterministic: Vec<String>,
}

impl Manifest {
    /// Its name in every output folder.
    pub const FILE: &str = "manifest.json";

    /// The manifest of a folder, `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Json`].
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(Self::FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error)
                if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) =>
            {
                return Ok(None);
            }
            Err(source) => return Err(Error::read(&path, source)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| Error::Json {
            path,
            expected: "the manifest of a stage",
            source,
        })
    }

    /// Writes the manifest into a folder.
    ///
    /// # Errors
    /// Write errors.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(Self::FILE);
        let mut text = serde_json::to_string_pretty(self).map_err(|source| Error::Json {
            path: path.clone(),
            expected: "a manifest that can be written as JSON",
            source,
        })?;
        text.push('\n');
        write_file(&path, text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_survives_the_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), None);
        let mut manifest = Manifest {
            stage: "distill".to_owned(),
            config: serde_json::json!({ "temperature": 2.0 }),
            seconds: 0.1,
            peak_memory_bytes: Some(1 << 40),
            seed: u64::MAX,
            ..Manifest::default()
        };
        manifest.outputs.insert("model.safetensors".to_owned(), "00ff".to_owned());
        manifest.metrics.insert("loss".to_owned(), 0.3.into());
        manifest.write(folder.path()).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), Some(manifest));
    }

    #[test]
    fn a_damaged_manifest_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(Manifest::FILE), "{\n\"stage\": 3}").unwrap();
        let error = Manifest::read(folder.path()).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.to_string().contains("manifest.json: expected the manifest"), "{error}");
        assert!(cause.contains("line 2"), "{cause}");
    }
}
