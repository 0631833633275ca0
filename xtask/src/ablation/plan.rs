//! The table `[ablation]`: which variants, with which seeds, of which pipeline.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use limbeck_run::config::{self, Invalid, Validate};
use limbeck_run::{Error, Exit};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Folders of the ablation that are no variant's.
const RESERVED: [&str; 4] = ["ablation", "config", "data", "teacher"];

/// Keys of `[ablation]`. Paths are relative to the repository's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Plan {
    /// The pipeline file that the variants change. Default `configs/default.toml`.
    pub(crate) base: String,
    /// Folder of the ablation. Default `runs/ablation`.
    pub(crate) output: String,
    /// Seeds of initialisation and order of each variant's students. Default 42, 43 and 44.
    pub(crate) seeds: Vec<u64>,
    /// The variants, in the order of the table.
    pub(crate) variant: Vec<Variant>,
}

/// Keys of `[[ablation.variant]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Variant {
    /// Name of the variant and of its folder. No default.
    pub(crate) name: String,
    /// What it changes, as `distill.key=value`: data and evaluation are the same for all.
    /// Default nothing.
    pub(crate) set: Vec<String>,
    /// Whether the student learns from the labels alone. Default false.
    pub(crate) without_teacher: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            base: "configs/default.toml".to_owned(),
            output: "runs/ablation".to_owned(),
            seeds: vec![42, 43, 44],
            variant: Vec::new(),
        }
    }
}

impl Validate for Plan {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        for (field, value) in [("base", &self.base), ("output", &self.output)] {
            if value.trim().is_empty() {
                return Err(Invalid::new(field, "a path", "an empty one"));
            }
        }
        let mut seeds = HashSet::new();
        if let Some(seed) = self.seeds.iter().find(|seed| !seeds.insert(**seed)) {
            return Err(Invalid::new("seeds", "seeds that differ", format!("{seed} twice")));
        }
        if self.seeds.is_empty() || self.variant.is_empty() {
            let field = if self.seeds.is_empty() { "seeds" } else { "variant" };
            return Err(Invalid::new(field, "at least one", "none"));
        }
        let mut names = HashSet::new();
        for variant in &self.variant {
            let name = variant.name.as_str();
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
            if name.is_empty() || name.starts_with(['.', '-']) || !name.chars().all(plain) {
                let expected = "a folder's name of letters, digits, '-', '_' and '.'";
                return Err(Invalid::new("variant.name", expected, format!("{name:?}")));
            }
            if RESERVED.contains(&name) {
                let expected = format!("another name than {}", RESERVED.join(", "));
                return Err(Invalid::new("variant.name", expected, name));
            }
            if !names.insert(name) {
                let found = format!("{name} twice");
                return Err(Invalid::new("variant.name", "names that differ", found));
            }
            if let Some(text) = variant.set.iter().find(|text| !text.starts_with("distill.")) {
                return Err(Invalid::new("variant.set", "distill.key=value", text));
            }
        }
        Ok(())
    }
}

impl Plan {
    /// Reads the file. Of the overrides those of `ablation.…` are its own; the others are
    /// for the base, and come back.
    ///
    /// # Errors
    /// A file that cannot be read, another table in it, an impossible value.
    pub(crate) fn read(file: &Path, overrides: &[String]) -> Result<(Self, Vec<String>)> {
        let mut table = config::load_table(Some(file))?;
        if let Some(key) = table.keys().find(|key| *key != "ablation") {
            return Err(Error::Config {
                location: file.display().to_string(),
                key: key.clone(),
                message: "expected the table [ablation] alone; other keys belong into its base"
                    .to_owned(),
            }
            .into());
        }
        let (own, base): (Vec<String>, Vec<String>) =
            overrides.iter().cloned().partition(|text| text.starts_with("ablation."));
        config::apply_overrides(&mut table, &own)?;
        let plan = config::parse_section(&table, "ablation", &file.display().to_string())?;
        Ok((plan, base))
    }

    /// The variants with these names, in the plan's order; all for no name.
    ///
    /// # Errors
    /// A name that no variant has.
    pub(crate) fn select(&self, names: &[String]) -> Result<Vec<&Variant>> {
        let known = |name: &String| self.variant.iter().any(|variant| variant.name == *name);
        if let Some(name) = names.iter().find(|name| !known(name)) {
            let names: Vec<&str> =
                self.variant.iter().map(|variant| variant.name.as_str()).collect();
            let message = format!("--only {name}: there is no such variant");
            let hint = format!("the variants are {}", names.join(", "));
            return Err(Failure::new(Exit::Usage, message).hint(hint).into());
        }
        let wanted = |variant: &&Variant| names.is_empty() || names.contains(&variant.name);
        Ok(self.variant.iter().filter(wanted).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::diagnose;

    fn read(text: &str, overrides: &[&str]) -> Result<(Plan, Vec<String>)> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ablation.toml");
        std::fs::write(&file, text).unwrap();
        let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
        Plan::read(&file, &overrides)
    }

    #[test]
    fn the_committed_plan_has_these_variants() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/ablation.toml");
        let (plan, base) = Plan::read(&file, &[]).unwrap();
        let names: Vec<&str> = plan.variant.iter().map(|variant| variant.name.as_str()).collect();
        let expected = [
            "labels",
            "sequence",
            "kl",
            "kl-hidden",
            "kl-hidden-attention",
            "cot-weights",
            "key-heads",
            "relations",
            "on-policy",
            "width-sliced",
            "captured",
        ];
        assert_eq!(names, expected);
        assert_eq!(plan.seeds, [42, 43, 44]);
        assert!(base.is_empty() && plan.variant[0].without_teacher);
    }

    #[test]
    fn overrides_go_to_the_plan_or_to_its_base() {
        let text = "[[ablation.variant]]\nname = \"kl\"\n";
        let (plan, base) =
            read(text, &["ablation.seeds=[1]", "distill.train.steps=5", "ablation.output=o"])
                .unwrap();
        assert_eq!((plan.seeds.as_slice(), plan.output.as_str()), (&[1][..], "o"));
        assert_eq!(base, ["distill.train.steps=5"]);
        assert_eq!(plan.base, "configs/default.toml");
    }

    #[test]
    fn what_is_no_plan_is_named_with_its_key() {
        let named = |name: &str| format!("[[ablation.variant]]\nname = {name:?}\n");
        let cases = [
            (String::new(), "ablation.variant: expected at least one"),
            (named("a/b"), "ablation.variant.name: expected a folder's name"),
            (named(".a"), "ablation.variant.name: expected a folder's name"),
            (named("teacher"), "expected another name than ablation, config, data, teacher"),
            (named("a") + &named("a"), "expected names that differ, found a twice"),
            (named("a") + "set = [\"data.num_test=5\"]", "expected distill.key=value"),
            (named("a") + "[ablation2]\n", "ablation2: expected the table [ablation] alone"),
            ("[ablation]\nseeds = [1, 1]\n".to_owned(), "found 1 twice"),
            ("[ablation]\nseeds = []\n".to_owned(), "ablation.seeds: expected at least one"),
            (named("a") + "sets = []", "unknown field `sets`"),
        ];
        for (text, said) in cases {
            let error = read(&text, &[]).unwrap_err();
            assert!(format!("{error:#}").contains(said), "{text}: {error:#}");
            assert_eq!(diagnose(&error).0, 2, "{text}");
        }
    }

    #[test]
    fn variants_are_chosen_by_name_in_their_own_order() {
        let text = "[[ablation.variant]]\nname = \"a\"\n[[ablation.variant]]\nname = \"b\"\n";
        let (plan, _) = read(text, &[]).unwrap();
        let names = |only: &[&str]| -> Result<Vec<String>> {
            let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
            let chosen = plan.select(&only)?;
            Ok(chosen.into_iter().map(|variant| variant.name.clone()).collect())
        };
        assert_eq!(names(&[]).unwrap(), ["a", "b"]);
        assert_eq!(names(&["b", "a"]).unwrap(), ["a", "b"]);
        assert_eq!(names(&["b"]).unwrap(), ["b"]);
        let error = names(&["c"]).unwrap_err();
        let hint = "the variants are a, b".to_owned();
        assert_eq!(diagnose(&error), (2, Some(hint)));
    }
}
