//! Adapters on disk: a store by content, and names that stand for versions.
//!
//! ```text
//! REGISTRY/
//!   registry.json                    the format of all this
//!   lock                             held by whoever changes something
//!   store/sha256/HASH/               a PEFT folder, and where it comes from
//!     adapter_config.json  adapter_model.safetensors  manifest.json
//!   refs/TIER/NAME.json              champion, candidate, pins, generation, history
//!   staging/                         what is being written
//! ```
//!
//! An adapter is published as its name's candidate, promoted to champion, and rolled back
//! to the champion before. A stored adapter is never changed (but for the scores in its
//! manifest) and belongs to no name: going back moves a name and nothing else.
//!
//! What must stay true:
//! - A reader sees whole files without taking the lock, as everything takes its place by
//!   a rename.
//! - A name refers to nothing that is not in the store: content is stored before its name
//!   is written, and collection reads the names under the same lock.
//! - Whoever expects a generation and finds another one changes nothing.
//! - A process may die anywhere: the name is as before or as after, and the same call
//!   again gives the same result. (`kill_tests` stops a process at every step.)
//!
//! Reading order: [`address`](self::Address) is what versions are called, `content` what is
//! hashed, [`BaseIdentity`] and [`AdapterManifest`] where an adapter belongs, [`Reference`]
//! the state behind a name, `writer` the lock and the renames, then `store`, `changes` and
//! `collect`.

mod address;
mod changes;
mod collect;
mod content;
mod error;
mod identity;
#[cfg(test)]
mod kill_tests;
mod manifest;
mod reference;
mod store;
#[cfg(test)]
mod tests;
mod timestamp;
mod writer;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use address::{Address, RefName, Selector};
pub use changes::{Changed, Publication};
pub use collect::{Collected, Verified};
pub use content::ContentHash;
pub use error::RegistryError;
pub use identity::BaseIdentity;
pub use manifest::AdapterManifest;
pub use reference::{Change, Operation, Reference};
pub use timestamp::Timestamp;

use crate::Result;
use crate::tiers::Tier;
use store::list_folder;
use writer::Writer;

/// A registry's folder.
#[derive(Debug, Clone)]
pub struct Registry {
    root: PathBuf,
    /// Called between the steps of a change: tests stop the process there.
    on_step: fn(&'static str),
}

/// A version that an address stands for, read and compared with what was published.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Its hash.
    pub hash: ContentHash,
    /// Its folder, as PEFT reads it.
    pub folder: PathBuf,
    /// Its manifest.
    pub manifest: AdapterManifest,
}

/// The content of `registry.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format: u32,
}

const MARKER: &str = "registry.json";
const FORMAT: u32 = 1;

impl Registry {
    /// Opens a registry.
    ///
    /// # Errors
    /// [`RegistryError::NotARegistry`], [`RegistryError::Format`].
    pub fn open(root: &Path) -> Result<Self> {
        let path = root.join(MARKER);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error)
                if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) =>
            {
                return Err(RegistryError::NotARegistry { path: root.to_owned() }.into());
            }
            Err(source) => return Err(limbeck_run::Error::read(&path, source).into()),
        };
        let Marker { format } = serde_json::from_slice(&bytes).map_err(|source| {
            let path = path.clone();
            RegistryError::Json { path, expected: "the format of a registry", source }
        })?;
        if format != FORMAT {
            return Err(RegistryError::Format { path, expected: FORMAT, found: format }.into());
        }
        Ok(Self::at(root))
    }

    /// Opens a registry, or makes one of a folder that is empty or not there.
    ///
    /// # Errors
    /// Those of [`Registry::open`]; [`RegistryError::Occupied`]; write errors.
    pub fn create(root: &Path) -> Result<Self> {
        Self::at(root).make()?;
        Self::open(root)
    }

    fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), on_step: |_| {} }
    }

    fn make(&self) -> Result<()> {
        let marker = self.root.join(MARKER);
        if marker.exists() {
            return Ok(());
        }
        // What a process that was killed while it made a registry can have left.
        let ours = ["lock", "refs", "staging", "store", MARKER];
        let is_strange = |path: &PathBuf| !ours.iter().any(|name| path.ends_with(name));
        if let Some(path) = list_folder(&self.root)?.into_iter().find(is_strange) {
            let found = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(RegistryError::Occupied { path: self.root.clone(), found }.into());
        }
        fs::create_dir_all(&self.root)
            .map_err(|source| limbeck_run::Error::write(&self.root, source))?;
        let writer = Writer::begin(self)?;
        writer.replace_file(&marker, &to_json(&Marker { format: FORMAT }, &marker)?)
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn store(&self) -> PathBuf {
        self.root.join("store/sha256")
    }

    fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    fn tier_folder(&self, tier: Tier) -> PathBuf {
        self.root.join("refs").join(tier.as_str())
    }

    fn folders(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.staging(), self.store()];
        folders.extend(Tier::ALL.map(|tier| self.tier_folder(tier)));
        folders
    }

    fn reference_path(&self, name: &RefName) -> PathBuf {
        self.tier_folder(name.tier()).join(format!("{}.json", name.name()))
    }

    /// All names, by tier.
    ///
    /// # Errors
    /// Folders that cannot be read.
    pub fn names(&self) -> Result<Vec<RefName>> {
        let mut names = Vec::new();
        for tier in Tier::ALL {
            for path in list_folder(&self.tier_folder(tier))? {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                // Editors and file managers leave files of their own.
                let name = file.strip_suffix(".json").map(|name| RefName::new(tier, name));
                names.extend(name.and_then(Result::ok));
            }
        }
        Ok(names)
    }

    /// The state of a name.
    ///
    /// # Errors
    /// [`RegistryError::MissingRef`]; a damaged file.
    pub fn reference(&self, name: &RefName) -> Result<Reference> {
        if let Some(reference) = Reference::read(&self.reference_path(name))? {
            return Ok(reference);
        }
        let available = self.names()?.iter().map(ToString::to_string).collect();
        Err(RegistryError::missing_ref(&self.root, name.to_string(), available).into())
    }

    fn reference_or_new(&self, name: &RefName) -> Result<Reference> {
        Ok(Reference::read(&self.reference_path(name))?.unwrap_or_default())
    }

    /// All names with their states.
    ///
    /// # Errors
    /// The first file that cannot be read.
    pub fn references(&self) -> Result<Vec<(RefName, Reference)>> {
        let names = self.names()?;
        names.into_iter().map(|name| self.reference(&name).map(|state| (name, state))).collect()
    }

    /// Finds a version and checks its files. Its folder is to be loaded at once: when other
    /// versions have taken its place, garbage collection may remove it.
    ///
    /// # Errors
    /// A name, alias, generation or hash that does not exist; files that are missing or
    /// damaged.
    pub fn resolve(&self, address: &Address) -> Result<Resolved> {
        let hash = self.reference(&address.name)?.select(&address.name, &address.selector)?;
        let folder = self.entry(&hash);
        if !folder.is_dir() {
            let name = address.to_string();
            return Err(RegistryError::MissingEntry { name, hash, path: folder }.into());
        }
        let manifest = self.read_entry(&hash)?;
        Ok(Resolved { hash, folder, manifest })
    }
}

/// Indented JSON, as all files of a registry are.
fn to_json(value: &impl Serialize, path: &Path) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|source| RegistryError::Json {
        path: path.to_owned(),
        expected: "values that can be written as JSON",
        source,
    })?;
    text.push(b'\n');
    Ok(text)
}
