//! The adapters themselves, each in a folder named by its content: written once, shared
//! by all names that refer to it, checked whenever it is read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::content::Content;
use super::writer::Writer;
use super::{AdapterManifest, ContentHash, Registry, RegistryError};
use crate::{Adapter, AdapterConfig, Result};

impl Registry {
    /// The folder of a stored adapter, which PEFT reads as it is.
    pub fn entry(&self, hash: &ContentHash) -> PathBuf {
        self.store().join(hash.as_str())
    }

    /// Reads a stored adapter's manifest, and the adapter itself to compare it with what was
    /// published.
    ///
    /// # Errors
    /// Files that are missing or damaged.
    pub fn read_entry(&self, hash: &ContentHash) -> Result<AdapterManifest> {
        let folder = self.entry(hash);
        let manifest = AdapterManifest::read(&folder)?;
        let damaged = |path: PathBuf, expected: String, found: String| {
            Err(RegistryError::DamagedEntry { path, expected, found }.into())
        };
        if manifest.hash != *hash {
            let path = folder.join(AdapterManifest::FILE);
            return damaged(path, hash.to_string(), manifest.hash.to_string());
        }
        let content = Content::read(&folder)?;
        for (name, found) in content.files() {
            let expected = manifest.files.get(&name).cloned().unwrap_or_default();
            if found != expected {
                return damaged(folder.join(name), format!("SHA-256 {expected}"), found);
            }
        }
        // Files that fit their manifest under another hash: both were exchanged.
        if content.hash != *hash {
            return damaged(folder, hash.to_string(), content.hash.to_string());
        }
        Ok(manifest)
    }

    /// The hashes of all stored adapters, and what else lies in the store.
    pub(super) fn entries(&self) -> Result<(BTreeSet<ContentHash>, Vec<PathBuf>)> {
        let (mut hashes, mut strangers) = (BTreeSet::new(), Vec::new());
        for path in list_folder(&self.store())? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match ContentHash::try_from(name) {
                Ok(hash) => _ = hashes.insert(hash),
                Err(_) => strangers.push(path),
            }
        }
        Ok((hashes, strangers))
    }
}

/// Stores an adapter. One that is there already gets the scores that it did not have; one
/// that is there but damaged is replaced.
pub(super) fn put(writer: &Writer, content: &Content, manifest: &AdapterManifest) -> Result<()> {
    let registry = writer.registry();
    let target = registry.entry(&content.hash);
    let occupied = target.exists();
    if occupied {
        match registry.read_entry(&content.hash) {
            Ok(stored) => return add_scores(writer, &target, stored, manifest),
            Err(error) => tracing::warn!("{error}: it is replaced"),
        }
    }
    let staged = writer.stage_folder()?;
    let place = |name: &str| staged.path().join(name);
    writer.write_new(&place(AdapterConfig::FILE), &content.config)?;
    writer.write_new(&place(Adapter::TENSORS), &content.tensors)?;
    writer.write_new(&place(AdapterManifest::FILE), &json(manifest, &target)?)?;
    if occupied {
        writer.remove_folder(&target)?;
    }
    writer.put_in_place(&staged, &target)
}

fn add_scores(
    writer: &Writer,
    folder: &Path,
    mut stored: AdapterManifest,
    new: &AdapterManifest,
) -> Result<()> {
    // The same tensors over another base would be another adapter under one hash.
    if stored.base != new.base {
        stored.base.check(&stored.hash.to_string(), &new.base, folder)?;
    }
    let before = stored.scores.clone();
    stored.scores.extend(new.scores.clone());
    if stored.scores == before {
        return Ok(());
    }
    let text = json(&stored, folder)?;
    writer.replace_file(&folder.join(AdapterManifest::FILE), &text)
}

fn json(manifest: &AdapterManifest, folder: &Path) -> Result<Vec<u8>> {
    super::to_json(manifest, &folder.join(AdapterManifest::FILE))
}

/// What a folder holds, by name; nothing where it is not there: version control keeps no
/// empty folders.
pub(super) fn list_folder(path: &Path) -> Result<Vec<PathBuf>> {
    let failed = |source| limbeck_run::Error::read(path, source);
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source).into()),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}
