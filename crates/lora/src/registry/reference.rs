//! The state behind a name: which versions it has had, and which of them are champion,
//! candidate and pinned. Pure state: [`super::changes`] brings it to the disk.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::address::{RefName, Selector};
use super::{ContentHash, RegistryError, Timestamp};
use crate::Result;

/// How many changes a name's file records. Live updates of a user's adapter would make it
/// grow for ever.
const HISTORY: usize = 1000;

/// The file of a name, `refs/TIER/NAME.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference {
    /// Number of changes so far: it tells writers whether another one was there.
    pub generation: u64,
    /// The version in use.
    pub champion: Option<ContentHash>,
    /// The version that was published last, until it is promoted.
    pub candidate: Option<ContentHash>,
    /// Earlier champions, the latest last: where `rollback` goes.
    pub previous_champions: Vec<ContentHash>,
    /// Versions that garbage collection keeps in any case.
    pub pinned: BTreeSet<ContentHash>,
    /// The latest changes, the last one last.
    pub history: Vec<Change>,
}

/// What can be done to a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Makes a version the candidate.
    Publish {
        /// The version.
        hash: ContentHash,
        /// Whether to pin it, too.
        pin: bool,
    },
    /// Makes the candidate the champion.
    Promote,
    /// Makes an earlier champion the champion again.
    Rollback {
        /// How many champions to go back.
        steps: usize,
    },
    /// Keeps a version from garbage collection.
    Pin {
        /// The version.
        hash: ContentHash,
    },
    /// Leaves a version to garbage collection.
    Unpin {
        /// The version.
        hash: ContentHash,
    },
}

impl Operation {
    /// Its name in messages.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Publish { .. } => "publish",
            Self::Promote => "promote",
            Self::Rollback { .. } => "rollback",
            Self::Pin { .. } => "pin",
            Self::Unpin { .. } => "unpin",
        }
    }
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The generation that it led to.
    pub generation: u64,
    /// What was done.
    pub operation: Operation,
    /// The version that it was about: the one published, promoted, gone back to, pinned.
    pub hash: ContentHash,
    /// When.
    pub at: Timestamp,
}

impl Reference {
    /// Reads a name's file, `None` where there is none.
    ///
    /// # Errors
    /// A file that cannot be read or contradicts itself.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(limbeck_run::Error::read(path, source).into()),
        };
        let reference: Self = serde_json::from_slice(&bytes).map_err(|source| {
            let path = path.to_owned();
            RegistryError::Json { path, expected: "the versions of an adapter", source }
        })?;
        let numbers = reference.history.iter().map(|change| change.generation);
        let expected = reference.first_on_record()..=reference.generation;
        if reference.generation == 0 || !numbers.eq(expected) {
            return Err(RegistryError::DamagedRef {
                path: path.to_owned(),
                expected: "a history that counts up to the generation",
                found: format!(
                    "{} changes at generation {}",
                    reference.history.len(),
                    reference.generation
                ),
            }
            .into());
        }
        Ok(Some(reference))
    }

    fn first_on_record(&self) -> u64 {
        self.generation.saturating_sub(self.history.len() as u64) + 1
    }

    /// Whether there is nothing to do: the state is what the operation would make of it, or
    /// the caller's own earlier attempt was cut off after it had taken effect.
    ///
    /// # Errors
    /// [`RegistryError::Conflict`] where somebody else has made a change since `expected`.
    pub(super) fn is_done(
        &self,
        name: &RefName,
        operation: &Operation,
        expected: Option<u64>,
    ) -> Result<bool> {
        let last = self.history.last();
        if let Some(expected) = expected
            && expected != self.generation
        {
            let is_ours = last.is_some_and(|change| change.operation == *operation);
            if is_ours && expected + 1 == self.generation {
                return Ok(true);
            }
            let last = last.map_or_else(
                || "nothing was published yet".to_owned(),
                |Change { operation, hash, at, .. }| {
                    format!(
                        "the last change was {} of {} at {at}",
                        operation.as_str(),
                        hash.short()
                    )
                },
            );
            let (name, found) = (name.to_string(), self.generation);
            return Err(RegistryError::Conflict { name, expected, found, last }.into());
        }
        Ok(match operation {
            Operation::Publish { hash, pin } => {
                self.candidate.as_ref() == Some(hash) && (!pin || self.pinned.contains(hash))
            }
            Operation::Pin { hash } => self.pinned.contains(hash),
            Operation::Unpin { hash } => !self.pinned.contains(hash),
            Operation::Promote | Operation::Rollback { .. } => false,
        })
    }

    /// Carries an operation out and records it.
    ///
    /// # Errors
    /// [`RegistryError::NoAlias`] without a candidate to promote,
    /// [`RegistryError::NoPrevious`] without a champion to go back to.
    pub(super) fn apply(
        &mut self,
        name: &RefName,
        operation: Operation,
        at: Timestamp,
    ) -> Result<&Change> {
        let hash = match &operation {
            Operation::Publish { hash, pin } => {
                self.candidate = Some(hash.clone());
                if *pin {
                    self.pinned.insert(hash.clone());
                }
                hash.clone()
            }
            Operation::Promote => {
                let candidate = self.select(name, &Selector::Candidate)?;
                self.candidate = None;
                if let Some(previous) = self.champion.replace(candidate.clone())
                    && previous != candidate
                {
                    self.previous_champions.push(previous);
                }
                candidate
            }
            Operation::Rollback { steps } => {
                let available = self.previous_champions.len();
                let (name, steps) = (name.to_string(), *steps);
                let place = available.checked_sub(steps).filter(|&place| place < available);
                let place = place.ok_or(RegistryError::NoPrevious { name, steps, available })?;
                let target = self.previous_champions[place].clone();
                self.previous_champions.truncate(place);
                self.champion = Some(target.clone());
                target
            }
            Operation::Pin { hash } => {
                self.pinned.insert(hash.clone());
                hash.clone()
            }
            Operation::Unpin { hash } => {
                self.pinned.remove(hash);
                hash.clone()
            }
        };
        self.generation += 1;
        drop_oldest(&mut self.history, HISTORY - 1);
        drop_oldest(&mut self.previous_champions, HISTORY);
        let change = Change { generation: self.generation, operation, hash, at };
        self.history.push(change);
        Ok(&self.history[self.history.len() - 1])
    }

    /// The version that a selector means.
    ///
    /// # Errors
    /// [`RegistryError::NoAlias`], [`RegistryError::NoGeneration`],
    /// [`RegistryError::NoHash`].
    pub fn select(&self, name: &RefName, selector: &Selector) -> Result<ContentHash> {
        let no_alias = |alias, other: &str, stands_for: &Option<ContentHash>| {
            let stands_for = stands_for.as_ref().map_or("nothing", ContentHash::short);
            let (name, other) = (name.to_string(), format!("its {other} is {stands_for}"));
            RegistryError::NoAlias { name, alias, other }
        };
        let (champion, candidate) = (&self.champion, &self.candidate);
        Ok(match selector {
            Selector::Champion => {
                champion.clone().ok_or_else(|| no_alias("champion", "candidate", candidate))?
            }
            Selector::Candidate => {
                candidate.clone().ok_or_else(|| no_alias("candidate", "champion", champion))?
            }
            Selector::Generation(generation) => {
                let change = self.history.iter().find(|change| change.generation == *generation);
                let change = change.ok_or_else(|| RegistryError::NoGeneration {
                    name: name.to_string(),
                    generation: *generation,
                    oldest: self.first_on_record(),
                    newest: self.generation,
                })?;
                change.hash.clone()
            }
            Selector::Hash(digits) => {
                let fitting: BTreeSet<&ContentHash> =
                    self.versions().filter(|hash| hash.as_str().starts_with(digits)).collect();
                match fitting.first() {
                    Some(&hash) if fitting.len() == 1 => hash.clone(),
                    _ => {
                        let (name, digits) = (name.to_string(), digits.clone());
                        let found = fitting.len();
                        return Err(RegistryError::NoHash { name, digits, found }.into());
                    }
                }
            }
        })
    }

    /// All versions on record, some of them several times.
    fn versions(&self) -> impl Iterator<Item = &ContentHash> {
        let changed = self.history.iter().map(|change| &change.hash);
        changed.chain(self.aliased()).chain(&self.previous_champions)
    }

    /// What stands behind an alias or is pinned.
    pub(super) fn aliased(&self) -> impl Iterator<Item = &ContentHash> {
        self.champion.iter().chain(&self.candidate).chain(&self.pinned)
    }

    /// The versions that garbage collection keeps: those with an alias, the pinned ones, and
    /// the latest `keep` each of the published ones and of the earlier champions.
    pub(super) fn kept(&self, keep: usize) -> BTreeSet<&ContentHash> {
        let mut kept: BTreeSet<&ContentHash> = self.aliased().collect();
        let published = self.history.iter().rev().filter_map(|change| {
            matches!(change.operation, Operation::Publish { .. }).then_some(&change.hash)
        });
        kept.extend(latest(published, keep));
        kept.extend(latest(self.previous_champions.iter().rev(), keep));
        kept
    }
}

/// The first `count` that differ.
fn latest<'a>(
    hashes: impl Iterator<Item = &'a ContentHash>,
    count: usize,
) -> BTreeSet<&'a ContentHash> {
    let mut found = BTreeSet::new();
    for hash in hashes {
        if found.len() == count {
            break;
        }
        found.insert(hash);
    }
    found
}

fn drop_oldest<T>(items: &mut Vec<T>, most: usize) {
    items.drain(..items.len().saturating_sub(most));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::tiers::Tier;

    fn name() -> RefName {
        RefName::new(Tier::Domain, "medical").unwrap()
    }

    fn hash(digit: char) -> ContentHash {
        digit.to_string().repeat(64).try_into().unwrap()
    }

    fn publish(digit: char) -> Operation {
        Operation::Publish { hash: hash(digit), pin: false }
    }

    fn after(operations: &[Operation]) -> Reference {
        let mut reference = Reference::default();
        for operation in operations {
            reference.apply(&name(), operation.clone(), Timestamp::now()).unwrap();
        }
        reference
    }

    fn error(reference: &Reference, operation: Operation) -> RegistryError {
        match reference.clone().apply(&name(), operation, Timestamp::now()) {
            Err(Error::Registry(error)) => error,
            other => panic!("expected an error of the registry, found {other:?}"),
        }
    }

    #[test]
    fn champions_come_and_go_in_order() {
        use Operation::{Promote, Rollback};
        let promoted = [publish('a'), Promote, publish('b'), Promote, publish('c'), Promote];
        let mut reference = after(&promoted);
        assert_eq!((reference.generation, reference.champion.clone()), (6, Some(hash('c'))));
        assert_eq!(reference.candidate, None);

        let one = Rollback { steps: 1 };
        assert_eq!(reference.apply(&name(), one, Timestamp::now()).unwrap().hash, hash('b'));
        assert_eq!(reference.previous_champions, [hash('a')]);
        let far = error(&reference, Rollback { steps: 2 });
        assert!(matches!(far, RegistryError::NoPrevious { available: 1, .. }), "{far}");

        let two = [&promoted[..], &[Rollback { steps: 2 }]].concat();
        assert_eq!(after(&two).champion, Some(hash('a')));
        // What was gone back from can come again, and is gone back to in its turn.
        let again = [&two[..], &[publish('c'), Promote, Rollback { steps: 1 }]].concat();
        assert_eq!(after(&again).champion, Some(hash('a')));
        let none = error(&reference, Operation::Rollback { steps: 0 });
        assert!(matches!(none, RegistryError::NoPrevious { .. }), "{none}");
    }

    #[test]
    fn without_a_candidate_nothing_is_promoted() {
        let reference = after(&[publish('a'), Operation::Promote]);
        let said = error(&reference, Operation::Promote).to_string();
        assert_eq!(said, "domain/medical has no candidate: its champion is aaaaaaaaaaaa");
    }

    #[test]
    fn promoting_the_champion_again_leaves_the_way_back_as_it_was() {
        use Operation::Promote;
        let reference =
            after(&[publish('a'), Promote, publish('b'), Promote, publish('b'), Promote]);
        assert_eq!(reference.previous_champions, [hash('a')]);
    }

    #[test]
    fn a_stale_expectation_is_a_conflict_unless_the_change_is_the_callers_own() {
        let reference = after(&[publish('a'), publish('b')]);
        let is_done =
            |operation: &Operation, expected| reference.is_done(&name(), operation, Some(expected));
        assert!(is_done(&publish('b'), 1).unwrap());
        assert!(!is_done(&publish('c'), 2).unwrap());
        let conflict = is_done(&publish('c'), 1).unwrap_err().to_string();
        assert!(conflict.contains("is at generation 2, expected 1"), "{conflict}");
        assert!(conflict.contains("publish of bbbbbbbbbbbb"), "{conflict}");
        // The same content, but another change was made before it.
        assert!(is_done(&publish('b'), 0).is_err());
        assert!(is_done(&publish('b'), 7).is_err());
    }

    #[test]
    fn versions_are_found_by_alias_generation_and_hash() {
        let reference = after(&[publish('a'), Operation::Promote, publish('b')]);
        let select = |selector| reference.select(&name(), &selector);
        assert_eq!(select(Selector::Champion).unwrap(), hash('a'));
        assert_eq!(select(Selector::Candidate).unwrap(), hash('b'));
        assert_eq!(select(Selector::Generation(1)).unwrap(), hash('a'));
        assert_eq!(select(Selector::Generation(3)).unwrap(), hash('b'));
        assert_eq!(select(Selector::Hash("bbbbbbbb".into())).unwrap(), hash('b'));
        let error = select(Selector::Generation(4)).unwrap_err().to_string();
        assert!(error.ends_with("its record holds 1 to 3"), "{error}");
        assert!(select(Selector::Hash("cccccccc".into())).is_err());
        let none = after(&[publish('a')]).select(&name(), &Selector::Champion).unwrap_err();
        assert!(none.to_string().ends_with("its candidate is aaaaaaaaaaaa"), "{none}");
    }

    #[test]
    fn collection_keeps_aliases_pins_and_the_latest() {
        use Operation::{Pin, Promote, Unpin};
        let pin = Pin { hash: hash('a') };
        let published = [publish('a'), pin, publish('b'), Promote, publish('c'), publish('d')];
        let reference = after(&[&published[..], &[Promote, publish('e')]].concat());
        let kept = |keep| -> String {
            reference.kept(keep).iter().map(|hash| &hash.as_str()[..1]).collect()
        };
        assert_eq!(kept(0), "ade");
        assert_eq!(kept(1), "abde");
        assert_eq!(kept(3), "abcde");
        let mut unpinned = reference.clone();
        unpinned.apply(&name(), Unpin { hash: hash('a') }, Timestamp::now()).unwrap();
        assert!(!unpinned.kept(0).contains(&hash('a')));
    }

    #[test]
    fn a_long_history_is_cut_and_stays_readable() {
        let mut reference = Reference::default();
        for index in 0..HISTORY + 5 {
            let digit = if index % 2 == 0 { 'a' } else { 'b' };
            reference.apply(&name(), publish(digit), Timestamp::now()).unwrap();
        }
        assert_eq!(reference.history.len(), HISTORY);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("medical.json");
        fs::write(&path, serde_json::to_vec(&reference).unwrap()).unwrap();
        assert_eq!(Reference::read(&path).unwrap().unwrap(), reference);
        let error = reference.select(&name(), &Selector::Generation(3)).unwrap_err().to_string();
        assert!(error.ends_with("holds 6 to 1005"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("medical.json");
        assert_eq!(Reference::read(&path).unwrap(), None);
        let mut reference = after(&[publish('a'), publish('b')]);
        reference.history.remove(1);
        for damaged in [&serde_json::to_vec(&reference).unwrap()[..], b"{\"generation\": 1", b""] {
            fs::write(&path, damaged).unwrap();
            let error = Reference::read(&path).unwrap_err();
            assert!(error.to_string().contains("medical.json"), "{error}");
        }
    }
}
