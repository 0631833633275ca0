//! Which projections an adapter is put on, by PEFT's rules.

use std::collections::BTreeSet;
use std::fmt;

use regex::Regex;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result};

const ALL_LINEAR: &str = "all-linear";

/// The token embedding's name.
pub const EMBEDDING: &str = "model.embed_tokens";
/// The head's name.
pub const HEAD: &str = "lm_head";

/// PEFT's `target_modules`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TargetModules {
    /// `"all-linear"`: every projection of the blocks, without embedding and head.
    #[default]
    AllLinear,
    /// Any other string: a regular expression that must match the whole name.
    Pattern(String),
    /// A list: a name that equals an entry, or ends in a dot and an entry.
    Names(Vec<String>),
}

impl TargetModules {
    /// The names that are targeted: among `linears`, in their order, and, where they are
    /// named, the embedding before them and the head after them.
    ///
    /// # Errors
    /// [`Error::Unmatched`] if nothing, or for a list any entry, has no match;
    /// [`Error::Pattern`].
    pub fn resolve(&self, linears: &[String]) -> Result<Vec<String>> {
        let modules = with_ends(linears);
        let names: Vec<String> = match self {
            Self::AllLinear => linears.to_vec(),
            Self::Pattern(pattern) => {
                let regex = full_match(pattern)?;
                modules.iter().filter(|name| regex.is_match(name)).cloned().collect()
            }
            Self::Names(entries) => resolve_names("target_modules", entries, &modules)?,
        };
        if names.is_empty() {
            return Err(unmatched_targets(vec![self.to_string()], linears));
        }
        Ok(names)
    }

    /// The form that an adapter's file gets: `all-linear` becomes a list, as PEFT writes
    /// it, so that a reader needs no model to know what is meant.
    pub(crate) fn written_out(&self, linears: &[String]) -> Self {
        match self {
            Self::AllLinear => Self::Names(last_parts(linears)),
            other => other.clone(),
        }
    }

    /// Checks what can be checked without a model.
    ///
    /// # Errors
    /// [`Error::Pattern`], or [`Error::Unmatched`] for an empty list.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Pattern(pattern) => full_match(pattern).map(|_| ()),
            Self::Names(entries) if entries.is_empty() => {
                Err(unmatched_targets(vec![self.to_string()], &[]))
            }
            Self::AllLinear | Self::Names(_) => Ok(()),
        }
    }
}

/// The projections between the embedding and the head.
fn with_ends(linears: &[String]) -> Vec<String> {
    let ends = |name: &str| std::iter::once(name.to_owned());
    ends(EMBEDDING).chain(linears.iter().cloned()).chain(ends(HEAD)).collect()
}

/// PEFT's `modules_to_save` among the projections, the embedding and the head.
///
/// # Errors
/// [`Error::Unmatched`].
pub(crate) fn resolve_saved(entries: &[String], linears: &[String]) -> Result<Vec<String>> {
    resolve_names("modules_to_save", entries, &with_ends(linears))
}

/// The modules that equal an entry or end in a dot and an entry.
fn resolve_names(
    what: &'static str,
    entries: &[String],
    modules: &[String],
) -> Result<Vec<String>> {
    let unmatched: Vec<String> = entries
        .iter()
        .filter(|entry| !modules.iter().any(|name| ends_in(name, entry)))
        .cloned()
        .collect();
    if !unmatched.is_empty() {
        return Err(Error::Unmatched { what, unmatched, available: last_parts(modules) });
    }
    let matches = |name: &&String| entries.iter().any(|entry| ends_in(name, entry));
    Ok(modules.iter().filter(matches).cloned().collect())
}

/// Values for modules whose names match a pattern: PEFT's `rank_pattern` and
/// `alpha_pattern`, whose first matching entry counts.
#[derive(Debug)]
pub(crate) struct PatternTable<'a, T> {
    what: &'static str,
    entries: Vec<(Regex, &'a (String, T))>,
}

impl<'a, T: Copy> PatternTable<'a, T> {
    pub(crate) fn new(what: &'static str, entries: &'a [(String, T)]) -> Result<Self> {
        let entries = entries
            .iter()
            .map(|entry| {
                Ok((compile(what, &entry.0, &format!("^(?:.*\\.)?(?:{})$", entry.0))?, entry))
            })
            .collect::<Result<_>>()?;
        Ok(Self { what, entries })
    }

    /// The value of the first entry that matches.
    pub(crate) fn get(&self, name: &str) -> Option<T> {
        self.entries.iter().find(|(regex, _)| regex.is_match(name)).map(|(_, (_, value))| *value)
    }

    /// An entry without any effect is a mistake that would else go unnoticed.
    pub(crate) fn require_matches(&self, names: &[String]) -> Result<()> {
        let unmatched: Vec<String> = self
            .entries
            .iter()
            .filter(|(regex, _)| !names.iter().any(|name| regex.is_match(name)))
            .map(|(_, (pattern, _))| pattern.clone())
            .collect();
        if unmatched.is_empty() {
            return Ok(());
        }
        Err(Error::Unmatched { what: self.what, unmatched, available: last_parts(names) })
    }
}

fn full_match(pattern: &str) -> Result<Regex> {
    compile("target_modules", pattern, &format!("^(?:{pattern})$"))
}

fn compile(what: &'static str, pattern: &str, anchored: &str) -> Result<Regex> {
    Regex::new(anchored).map_err(|source| Error::Pattern {
        what,
        pattern: pattern.to_owned(),
        source: Box::new(source),
    })
}

/// Equal, or a suffix that begins after a dot.
fn ends_in(name: &str, entry: &str) -> bool {
    name.strip_suffix(entry).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn last_parts(names: &[String]) -> Vec<String> {
    let parts: BTreeSet<&str> = names
        .iter()
        .map(|name| name.rsplit_once('.').map_or(name.as_str(), |(_, last)| last))
        .collect();
    parts.into_iter().map(str::to_owned).collect()
}

fn unmatched_targets(unmatched: Vec<String>, linears: &[String]) -> Error {
    Error::Unmatched { what: "target_modules", unmatched, available: last_parts(linears) }
}

impl From<&str> for TargetModules {
    fn from(text: &str) -> Self {
        if text.eq_ignore_ascii_case(ALL_LINEAR) {
            Self::AllLinear
        } else {
            Self::Pattern(text.to_owned())
        }
    }
}

impl fmt::Display for TargetModules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllLinear => formatter.write_str(ALL_LINEAR),
            Self::Pattern(pattern) => formatter.write_str(pattern),
            Self::Names(names) => write!(formatter, "[{}]", names.join(", ")),
        }
    }
}

impl Serialize for TargetModules {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::AllLinear => serializer.serialize_str(ALL_LINEAR),
            Self::Pattern(pattern) => serializer.serialize_str(pattern),
            Self::Names(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for TargetModules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct StringOrList;

        impl<'de> Visitor<'de> for StringOrList {
            type Value = TargetModules;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("\"all-linear\", a pattern or a list of module names")
            }

            fn visit_str<E>(self, text: &str) -> std::result::Result<TargetModules, E> {
                Ok(text.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut sequence: A,
            ) -> std::result::Result<TargetModules, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = sequence.next_element()? {
                    names.push(name);
                }
                Ok(TargetModules::Names(names))
            }
        }

        deserializer.deserialize_any(StringOrList)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linears() -> Vec<String> {
        (0..2)
            .flat_map(|layer| {
                ["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"]
                    .map(|name| format!("model.layers.{layer}.{name}"))
            })
            .collect()
    }

    fn names(entries: &[&str]) -> TargetModules {
        TargetModules::Names(entries.iter().map(|&entry| entry.to_owned()).collect())
    }

    #[track_caller]
    fn resolves(targets: &TargetModules, expected: &[&str]) {
        assert_eq!(targets.resolve(&linears()).unwrap(), expected, "{targets}");
    }

    #[test]
    fn a_list_matches_whole_names_and_suffixes_after_a_dot() {
        let (first, second) =
            ("model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj");
        resolves(&names(&["q_proj"]), &[first, second]);
        resolves(&names(&["self_attn.q_proj"]), &[first, second]);
        resolves(&names(&[second]), &[second]);
        resolves(&names(&["1.self_attn.q_proj"]), &[second]);
        let ends = ["model.embed_tokens", first, second, "lm_head"];
        resolves(&names(&["lm_head", "q_proj", "embed_tokens"]), &ends);
    }

    #[test]
    fn a_string_matches_the_whole_name_as_a_pattern() {
        resolves(
            &r".*\.0\.self_attn\..*".into(),
            &["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj"],
        );
        resolves(
            &r".*(q|v)_proj".into(),
            &[
                "model.layers.0.self_attn.q_proj",
                "model.layers.0.self_attn.v_proj",
                "model.layers.1.self_attn.q_proj",
                "model.layers.1.self_attn.v_proj",
            ],
        );
        assert!(TargetModules::from("q_proj").resolve(&linears()).is_err());
    }

    #[test]
    fn all_linear_is_everything_and_is_written_out_as_names() {
        let all = TargetModules::from("All-Linear");
        assert_eq!(all, TargetModules::AllLinear);
        assert_eq!(all.resolve(&linears()).unwrap(), linears());
        assert_eq!(all.written_out(&linears()), names(&["down_proj", "q_proj", "v_proj"]));
        assert_eq!(all.written_out(&linears()).resolve(&linears()).unwrap(), linears());
    }

    #[test]
    fn an_entry_without_a_match_is_an_error_that_names_it() {
        let error =
            names(&["q_proj", "c_attn", "proj"]).resolve(&linears()).unwrap_err().to_string();
        assert!(error.contains("matches c_attn, proj; its modules end in down_proj"), "{error}");
        assert!(names(&[]).resolve(&linears()).is_err());
        assert!(names(&[]).validate().is_err());
    }

    #[test]
    fn a_saved_module_is_named_like_a_target() {
        let saved = |entries: &[&str]| {
            resolve_saved(
                &entries.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>(),
                &linears(),
            )
        };
        assert_eq!(
            saved(&["lm_head", "1.mlp.down_proj"]).unwrap(),
            ["model.layers.1.mlp.down_proj", "lm_head"]
        );
        let error = saved(&["score"]).unwrap_err().to_string();
        assert!(error.contains("modules_to_save") && error.contains("matches score;"), "{error}");
    }

    #[test]
    fn a_broken_pattern_is_an_error_with_its_cause() {
        let targets = TargetModules::from("(q_proj");
        assert!(
            matches!(targets.validate(), Err(Error::Pattern { pattern, .. }) if pattern == "(q_proj")
        );
        assert!(TargetModules::from("(?!x).*").resolve(&linears()).is_err());
    }

    #[test]
    fn the_first_pattern_that_matches_after_a_dot_wins() {
        let entries = vec![
            (r"layers\.1\.self_attn\.q_proj".to_owned(), 1),
            ("q_proj|down_proj".to_owned(), 2),
            ("q_proj".to_owned(), 3),
            ("proj".to_owned(), 4),
        ];
        let table = PatternTable::new("rank_pattern", &entries).unwrap();
        assert_eq!(table.get("model.layers.1.self_attn.q_proj"), Some(1));
        assert_eq!(table.get("model.layers.0.self_attn.q_proj"), Some(2));
        assert_eq!(table.get("model.layers.0.self_attn.v_proj"), None);
        let error = table.require_matches(&linears()).unwrap_err().to_string();
        assert!(error.contains("rank_pattern") && error.contains("matches proj;"), "{error}");
    }
}
