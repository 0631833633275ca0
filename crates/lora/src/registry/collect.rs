//! Garbage collection and verification: what no name needs any more, and what is no
//! longer as it was published.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use super::store::list_folder;
use super::writer::Writer;
use super::{ContentHash, Registry, RegistryError};
use crate::{Error, Result};

/// What garbage collection removed, or would remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Stored adapters.
    pub removed: Vec<ContentHash>,
    /// What killed writers left.
    pub debris: Vec<PathBuf>,
    /// Stored adapters that are left.
    pub kept: usize,
}

/// What verification found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Names and stored adapters that are as they should be.
    pub sound: usize,
    /// Stored adapters that no name refers to: no damage, the next collection removes them.
    pub unreferenced: Vec<ContentHash>,
    /// Everything that is wrong.
    pub damage: Vec<Error>,
}

impl Registry {
    /// Removes the stored adapters that no name needs: it keeps what is champion, candidate
    /// or pinned, and the latest `keep` published versions and earlier champions of each
    /// name. Removes what killed writers left, too: no writer is at work while the lock is
    /// held here, so that nothing in `staging/` is anyone's.
    ///
    /// # Errors
    /// A name's file that cannot be read: nothing is removed then, as nobody knows what that
    /// name needs. Write errors.
    pub fn collect_garbage(&self, keep: usize, dry_run: bool) -> Result<Collected> {
        let writer = Writer::begin(self)?;
        let mut kept = BTreeSet::new();
        for (_, reference) in self.references()? {
            kept.extend(reference.kept(keep).into_iter().cloned());
        }
        let (stored, _) = self.entries()?;
        let removed: Vec<ContentHash> = stored.difference(&kept).cloned().collect();
        let debris = list_folder(&self.staging())?;
        if !dry_run {
            for hash in &removed {
                writer.remove_folder(&self.entry(hash))?;
            }
            writer.remove_debris(&debris)?;
        }
        let kept = stored.len() - removed.len();
        Ok(Collected { removed, debris, kept })
    }

    /// Reads every name and every stored adapter, and compares all files with what was
    /// published.
    ///
    /// # Errors
    /// A folder that cannot be listed. Damage is not an error but the result.
    pub fn verify(&self) -> Result<Verified> {
        let mut verified = Verified::default();
        let (stored, strangers) = self.entries()?;
        for path in strangers {
            let (expected, found) = ("a folder named by a SHA-256", "another name");
            verified.damage.push(
                RegistryError::DamagedEntry {
                    path,
                    expected: expected.to_owned(),
                    found: found.to_owned(),
                }
                .into(),
            );
        }
        for hash in &stored {
            verified.count(self.read_entry(hash).map(|_| ()));
        }
        let mut referenced = BTreeSet::new();
        for name in self.names()? {
            match self.reference(&name) {
                Err(error) => verified.damage.push(error),
                Ok(reference) => {
                    verified.sound += 1;
                    referenced.extend(reference.kept(usize::MAX).into_iter().cloned());
                    let missing: BTreeSet<&ContentHash> =
                        reference.aliased().filter(|hash| !stored.contains(hash)).collect();
                    for hash in missing {
                        let (name, path) = (name.to_string(), self.entry(hash));
                        let hash = hash.clone();
                        let error = RegistryError::MissingEntry { name, hash, path };
                        verified.damage.push(error.into());
                    }
                }
            }
        }
        verified.unreferenced = stored.difference(&referenced).cloned().collect();
        Ok(verified)
    }
}

impl Verified {
    fn count(&mut self, result: Result<()>) {
        match result {
            Ok(()) => self.sound += 1,
            Err(error) => self.damage.push(error),
        }
    }
}
