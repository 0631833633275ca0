//! Publishing and everything else that changes a name.
//!
//! Each change runs under the registry's lock, in this order: compare the generation with
//! the one that the caller expects, store what is new, write the name's file. The last
//! rename makes the change; killed before it, the name is as it was, killed after it, the
//! change is made and the same call again says so instead of making another.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::address::RefName;
use super::content::Content;
use super::reference::{Operation, Reference};
use super::writer::Writer;
use super::{AdapterManifest, ContentHash, Registry, RegistryError, Timestamp, store};
use crate::Result;

/// An adapter to publish.
#[derive(Debug, Clone)]
pub struct Publication<'a> {
    /// Its folder, as PEFT writes it.
    pub adapter: &'a Path,
    /// The folder of the base that it was trained on.
    pub model: &'a Path,
    /// Evaluation scores by name.
    pub scores: BTreeMap<String, f64>,
    /// The stored adapter that its training went on from.
    pub parent: Option<ContentHash>,
    /// Keep it from garbage collection.
    pub pin: bool,
}

/// What a change led to.
#[derive(Debug, Clone, Serialize)]
pub struct Changed {
    /// The name.
    #[serde(rename = "ref")]
    pub name: RefName,
    /// The version that the change was about.
    pub hash: ContentHash,
    /// Whether there was anything to do.
    pub changed: bool,
    /// The name's state.
    pub state: Reference,
}

impl Registry {
    /// Stores an adapter and makes it the candidate of `name`. The registry's folder must be
    /// one already ([`Registry::create`]).
    ///
    /// With `expected`, only if the name is at that generation (0: not there yet).
    ///
    /// # Errors
    /// An adapter or a base that is missing, damaged or does not belong to the other;
    /// [`RegistryError::Conflict`]; write errors.
    pub fn publish(
        &self,
        name: &RefName,
        publication: &Publication,
        expected: Option<u64>,
    ) -> Result<Changed> {
        // All that takes long comes before the lock.
        let content = Content::read(publication.adapter)?;
        let manifest = AdapterManifest::describe(publication, &content)?;
        let operation = Operation::Publish { hash: content.hash.clone(), pin: publication.pin };
        let writer = Writer::begin(self)?;
        let mut state = self.reference_or_new(name)?;
        let is_done = state.is_done(name, &operation, expected)?;
        store::put(&writer, &content, &manifest)?;
        if is_done {
            let (name, hash) = (name.clone(), content.hash);
            return Ok(Changed { name, hash, changed: false, state });
        }
        let hash = state.apply(name, operation, Timestamp::now())?.hash.clone();
        self.write_reference(&writer, name, &state)?;
        Ok(Changed { name: name.clone(), hash, changed: true, state })
    }

    /// Makes the candidate the champion.
    ///
    /// # Errors
    /// No candidate; [`RegistryError::Conflict`]; write errors.
    pub fn promote(&self, name: &RefName, expected: Option<u64>) -> Result<Changed> {
        self.change(name, Operation::Promote, expected)
    }

    /// Makes the champion of `steps` promotions ago the champion again.
    ///
    /// # Errors
    /// No such champion, or its files are gone; [`RegistryError::Conflict`]; write errors.
    pub fn rollback(&self, name: &RefName, steps: usize, expected: Option<u64>) -> Result<Changed> {
        self.change(name, Operation::Rollback { steps }, expected)
    }

    /// Keeps a version from garbage collection.
    ///
    /// # Errors
    /// No such version; write errors.
    pub fn pin(&self, name: &RefName, hash: ContentHash) -> Result<Changed> {
        self.change(name, Operation::Pin { hash }, None)
    }

    /// Leaves a version to garbage collection.
    ///
    /// # Errors
    /// Write errors.
    pub fn unpin(&self, name: &RefName, hash: ContentHash) -> Result<Changed> {
        self.change(name, Operation::Unpin { hash }, None)
    }

    fn change(
        &self,
        name: &RefName,
        operation: Operation,
        expected: Option<u64>,
    ) -> Result<Changed> {
        let writer = Writer::begin(self)?;
        let mut state = self.reference(name)?;
        if state.is_done(name, &operation, expected)? {
            let hash = match operation {
                Operation::Publish { hash, .. }
                | Operation::Pin { hash }
                | Operation::Unpin { hash } => hash,
                // Done already means that the last change was this one.
                Operation::Promote | Operation::Rollback { .. } => {
                    state.select(name, &super::Selector::Champion)?
                }
            };
            return Ok(Changed { name: name.clone(), hash, changed: false, state });
        }
        let releases = matches!(operation, Operation::Unpin { .. });
        let hash = state.apply(name, operation, Timestamp::now())?.hash.clone();
        let path = self.entry(&hash);
        if !releases && !path.is_dir() {
            return Err(RegistryError::MissingEntry { name: name.to_string(), hash, path }.into());
        }
        self.write_reference(&writer, name, &state)?;
        Ok(Changed { name: name.clone(), hash, changed: true, state })
    }

    fn write_reference(&self, writer: &Writer, name: &RefName, state: &Reference) -> Result<()> {
        let path = self.reference_path(name);
        writer.replace_file(&path, &super::to_json(state, &path)?)
    }
}
