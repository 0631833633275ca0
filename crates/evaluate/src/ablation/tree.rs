//! The folders of an ablation, all of which must be there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The teacher's evaluation within the tree.
const TEACHER: &str = "teacher/evaluation";
/// What the folder of a seed is called, before the seed.
const SEED: &str = "seed-";
/// What everything is held against where nothing is said, if it is there.
const USUAL: [&str; 2] = ["labels", "sequence"];

/// Which parts of a tree make up the ablation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The variants in the order of the table; none: all that are there, by name.
    pub variants: Vec<String>,
    /// The seeds; none: all that are there of any of the variants.
    pub seeds: Vec<u64>,
    /// The variants that the others are held against; none: `labels` and `sequence` where
    /// they are among the variants, or else the first.
    pub against: Vec<String>,
}

/// A tree with everything in it that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    root: PathBuf,
    /// The variants in order.
    pub variants: Vec<String>,
    /// The seeds, the same for all variants.
    pub seeds: Vec<u64>,
    /// The variants that the others are held against.
    pub against: Vec<String>,
}

impl Tree {
    /// Looks for the evaluations of a selection.
    ///
    /// # Errors
    /// [`Error::AblationIncomplete`] with every evaluation that is not there, a variant that
    /// is named twice, one to hold against that is not among the variants, a folder without
    /// any variant.
    pub fn open(root: &Path, selection: &Selection) -> Result<Self> {
        let found = runs(root)?;
        let variants = if selection.variants.is_empty() {
            found.keys().cloned().collect()
        } else {
            selection.variants.clone()
        };
        if let Some(name) = repeated(&variants) {
            return Err(Error::AblationRepeated { name: name.clone() });
        }
        let seeds: Vec<u64> = if selection.seeds.is_empty() {
            let chosen = variants.iter().filter_map(|name| found.get(name));
            chosen.flatten().copied().collect::<BTreeSet<u64>>().into_iter().collect()
        } else {
            selection.seeds.clone()
        };
        if let Some(seed) = repeated(&seeds) {
            return Err(Error::AblationRepeated { name: format!("{SEED}{seed}") });
        }
        let against = against(&variants, &selection.against)?;
        if variants.is_empty() || seeds.is_empty() {
            return Err(Error::Folder {
                path: root.to_owned(),
                expected: format!("folders VARIANT/{SEED}N/evaluation"),
                found: "none".to_owned(),
            });
        }
        let tree = Self { root: root.to_owned(), variants, seeds, against };
        let missing: Vec<String> = tree
            .evaluations()
            .into_iter()
            .filter(|(_, path)| !path.join("evaluation.json").is_file())
            .map(|(name, _)| name)
            .collect();
        if missing.is_empty() {
            Ok(tree)
        } else {
            Err(Error::AblationIncomplete { root: root.to_owned(), missing })
        }
    }

    /// The teacher's evaluation.
    pub fn teacher(&self) -> PathBuf {
        self.root.join(TEACHER)
    }

    /// The evaluation of a variant's student.
    pub fn evaluation(&self, variant: &str, seed: u64) -> PathBuf {
        self.run(variant, seed).join("evaluation")
    }

    /// The folder that its training made; its manifest may be all that is left of it.
    pub fn student(&self, variant: &str, seed: u64) -> PathBuf {
        self.run(variant, seed).join("student")
    }

    /// All evaluations with their names within the tree, the teacher's first.
    pub fn evaluations(&self) -> Vec<(String, PathBuf)> {
        let students = self.variants.iter().flat_map(|variant| {
            self.seeds.iter().map(move |&seed| {
                (format!("{variant}/{SEED}{seed}/evaluation"), self.evaluation(variant, seed))
            })
        });
        [(TEACHER.to_owned(), self.teacher())].into_iter().chain(students).collect()
    }

    fn run(&self, variant: &str, seed: u64) -> PathBuf {
        self.root.join(variant).join(format!("{SEED}{seed}"))
    }
}

/// The variants that are there with their seeds.
fn runs(root: &Path) -> Result<BTreeMap<String, BTreeSet<u64>>> {
    let mut found = BTreeMap::new();
    for name in folders(root)? {
        let seeds: BTreeSet<u64> = folders(&root.join(&name))?
            .iter()
            .filter_map(|name| name.strip_prefix(SEED)?.parse().ok())
            .collect();
        if !seeds.is_empty() {
            found.insert(name, seeds);
        }
    }
    Ok(found)
}

/// Names of the folders in a folder.
fn folders(path: &Path) -> Result<Vec<String>> {
    let failed = |source| limbeck_run::Error::read(path, source);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

fn against(variants: &[String], asked: &[String]) -> Result<Vec<String>> {
    if let Some(name) = asked.iter().find(|name| !variants.contains(name)) {
        return Err(Error::UnknownVariant { name: name.clone(), known: variants.to_vec() });
    }
    if !asked.is_empty() {
        return Ok(asked.to_vec());
    }
    let usual = USUAL.map(str::to_owned).into_iter();
    let usual: Vec<String> = usual.filter(|name| variants.contains(name)).collect();
    Ok(if usual.is_empty() { variants.iter().take(1).cloned().collect() } else { usual })
}

fn repeated<T: Ord>(values: &[T]) -> Option<&T> {
    let mut seen = BTreeSet::new();
    values.iter().find(|value| !seen.insert(*value))
}

#[cfg(test)]
mod tests {
    use limbeck_run::{Diagnose, Exit};

    use super::*;

    /// A tree with these evaluations.
    fn tree(evaluations: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for name in evaluations {
            let folder = root.path().join(name).join("evaluation");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("evaluation.json"), "{}").unwrap();
        }
        root
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_is_there_is_taken_where_nothing_is_asked_for() {
        let root = tree(&["teacher", "b/seed-10", "b/seed-9", "a/seed-9", "a/seed-10", "data"]);
        let tree = Tree::open(root.path(), &Selection::default()).unwrap();
        assert_eq!(tree.variants, ["a", "b"]);
        assert_eq!(tree.seeds, [9, 10]);
        assert_eq!(tree.against, ["a"]);
        assert_eq!(tree.evaluations().len(), 5);
    }

    #[test]
    fn labels_and_sequence_are_what_others_are_held_against() {
        let root = tree(&["teacher", "kl/seed-1", "labels/seed-1", "sequence/seed-1"]);
        let variants = names(&["labels", "sequence", "kl"]);
        let selection = Selection { variants: variants.clone(), ..Selection::default() };
        assert_eq!(Tree::open(root.path(), &selection).unwrap().against, ["labels", "sequence"]);
        let asked = Selection { variants, against: names(&["kl"]), ..Selection::default() };
        assert_eq!(Tree::open(root.path(), &asked).unwrap().against, ["kl"]);
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let root = tree(&["labels/seed-1", "labels/seed-2", "kl/seed-2"]);
        let variants = names(&["labels", "kl", "kl-hidden"]);
        let selection = Selection { variants, ..Selection::default() };
        let error = Tree::open(root.path(), &selection).unwrap_err();
        let text = error.to_string();
        for name in [
            "4 evaluations are missing: teacher/evaluation",
            "kl/seed-1/evaluation",
            "kl-hidden/seed-1/evaluation",
            "kl-hidden/seed-2/evaluation",
        ] {
            assert!(text.contains(name), "{text}");
        }
        assert_eq!(error.exit(), Exit::BadInput);
        assert!(error.hint().is_some());
    }

    #[test]
    fn selections_that_make_no_sense_are_told_apart() {
        let root = tree(&["teacher", "a/seed-1"]);
        let said = |selection: &Selection| Tree::open(root.path(), selection).unwrap_err();
        let twice = Selection { variants: names(&["a", "a"]), ..Selection::default() };
        assert_eq!(said(&twice).to_string(), "\"a\" is named twice");
        let twice = Selection { seeds: vec![1, 1], ..Selection::default() };
        assert_eq!(said(&twice).to_string(), "\"seed-1\" is named twice");
        let unknown = Selection { against: names(&["b"]), ..Selection::default() };
        assert_eq!(said(&unknown).to_string(), "expected one of the variants a, found \"b\"");
        assert_eq!(said(&unknown).exit(), Exit::Usage);
        let empty = tempfile::tempdir().unwrap();
        let error = Tree::open(empty.path(), &Selection::default()).unwrap_err();
        assert!(error.to_string().contains("folders VARIANT/seed-N/evaluation"), "{error}");
        assert!(Tree::open(&empty.path().join("none"), &Selection::default()).is_err());
    }
}
