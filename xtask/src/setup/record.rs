//! `limbeck-libtorch.json`: size and hash of every provisioned file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use limbeck_run::{Error, Progress, sha256_file, sha256_files, write_file};
use serde::{Deserialize, Serialize};

use crate::setup::TORCH_VERSION;

/// One provisioned file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileEntry {
    /// In bytes.
    pub(crate) size: u64,
    /// In hexadecimal.
    pub(crate) sha256: String,
}

/// What was provisioned, from which wheels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    version: String,
    wheels: Vec<String>,
    files: BTreeMap<String, FileEntry>,
}

impl Record {
    /// Its name in the provisioned folder.
    pub(crate) const FILE: &str = "limbeck-libtorch.json";

    pub(crate) fn new(wheels: Vec<String>, files: BTreeMap<String, FileEntry>) -> Self {
        Self { version: TORCH_VERSION.to_owned(), wheels, files }
    }

    /// The record of a filled folder, hashed now.
    pub(crate) fn of(folder: &Path, wheels: Vec<String>) -> Result<Self> {
        let mut files = BTreeMap::new();
        for (name, sha256) in sha256_files(folder)? {
            let path = folder.join(&name);
            let size = fs::metadata(&path).map_err(|source| Error::read(&path, source))?.len();
            files.insert(name, FileEntry { size, sha256 });
        }
        Ok(Self::new(wheels, files))
    }

    /// The record of a provisioned folder; `None` where there is none or it is unreadable,
    /// which says as little about the files.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(Self::FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs::read(&path).map_err(|source| Error::read(&path, source))?;
        let record = serde_json::from_slice(&text);
        record
            .map(Some)
            .with_context(|| format!("{} is damaged: delete its folder", path.display()))
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("the record")?;
        Ok(write_file(&folder.join(Self::FILE), text.as_bytes())?)
    }

    /// `Ok` where every file is there with its size, and its hash if `hashes`.
    pub(crate) fn check(&self, folder: &Path, hashes: bool) -> Result<(), String> {
        if self.version != TORCH_VERSION {
            return Err(format!("it is version {}", self.version));
        }
        let total = self.files.values().map(|entry| entry.size).sum();
        let progress = hashes.then(|| Progress::new("verify", total, "B"));
        for (name, entry) in &self.files {
            let path = folder.join(name);
            let size = fs::metadata(&path).map_err(|error| format!("{name}: {error}"))?.len();
            if size != entry.size {
                return Err(format!("{name} has {size} bytes, expected {}", entry.size));
            }
            if let Some(progress) = &progress {
                let found = sha256_file(&path).map_err(|error| error.to_string())?;
                if found != entry.sha256 {
                    return Err(format!("{name} has SHA-256 {found}, expected {}", entry.sha256));
                }
                progress.inc(size);
            }
        }
        if let Some(progress) = &progress {
            progress.finish();
        }
        Ok(())
    }
}
