//! Adapters that requests choose: `--adapter NAME=DIR` gives them names, and a line of the
//! input says which it uses.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use limbeck_lora::tiers::{Stack, Tier, TierLimits, Tiers};
use limbeck_model::Decoder;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::cli::UsageError;

/// The values of `--adapter`.
#[derive(Debug)]
pub(crate) struct AdapterArguments {
    /// `DIR`: attached for all requests.
    pub(crate) everywhere: Vec<PathBuf>,
    /// `NAME=DIR`: for requests that name it.
    named: Vec<(String, PathBuf)>,
}

impl AdapterArguments {
    /// Tells names from folders. What stands before the first `=` is a name if it is made of
    /// letters, digits, `-`, `_`, `.` and `:`.
    pub(crate) fn parse(values: &[PathBuf]) -> Result<Self> {
        let mut arguments = Self { everywhere: Vec::new(), named: Vec::new() };
        for value in values {
            let named = value.to_str().and_then(|text| text.split_once('='));
            match named.filter(|(name, _)| is_name(name)) {
                None => arguments.everywhere.push(value.clone()),
                Some((name, _)) if arguments.named.iter().any(|(other, _)| other == name) => {
                    return Err(UsageError {
                        message: format!("--adapter: two adapters are named {name}"),
                        hint: "give each adapter a name of its own".to_owned(),
                    }
                    .into());
                }
                Some((name, folder)) => arguments.named.push((name.to_owned(), folder.into())),
            }
        }
        Ok(arguments)
    }

    /// Loads the named adapters, each beside the others: no line needs one that another made
    /// room for.
    pub(crate) fn load(&self, decoder: &mut Decoder) -> Result<RequestAdapters> {
        if self.named.is_empty() {
            return Ok(RequestAdapters { tiers: None });
        }
        let limits = TierLimits { domain_capacity: self.named.len(), ..TierLimits::default() };
        let tiers = Tiers::install(decoder, limits)?;
        self.load_into(&tiers, Tier::Domain)?;
        Ok(RequestAdapters { tiers: Some(tiers) })
    }

    /// Loads the named adapters into a tier.
    pub(crate) fn load_into(&self, tiers: &Tiers, tier: Tier) -> Result<()> {
        for (name, folder) in &self.named {
            let loaded = tiers
                .load_folder(name, tier, folder)
                .with_context(|| format!("adapter {name} ({})", folder.display()))?;
            tracing::debug!("adapter {name}: {}", loaded.hash);
        }
        Ok(())
    }

    /// Names and folders of `NAME=DIR`.
    pub(crate) fn named(&self) -> &[(String, PathBuf)] {
        &self.named
    }
}

fn is_name(text: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || "-_.:".contains(letter);
    !text.is_empty() && text.chars().all(is_part)
}

/// The named adapters, loaded, if there are any.
#[derive(Debug)]
pub(crate) struct RequestAdapters {
    pub(crate) tiers: Option<Tiers>,
}

impl RequestAdapters {
    /// The stacks of the lines; `None` is the base.
    ///
    /// # Errors
    /// A name that `--adapter` did not give, by the line that uses it.
    pub(crate) fn stacks<'a>(
        &self,
        lines: impl Iterator<Item = Option<&'a Gates>>,
        path: &Path,
    ) -> Result<Vec<Stack>> {
        let names: Vec<String> = self
            .tiers
            .iter()
            .flat_map(Tiers::adapters)
            .map(|adapter| format!("{:?}", adapter.name))
            .collect();
        let stack = |(index, gates): (usize, Option<&Gates>)| {
            let entries = gates.map_or(&[][..], |gates| gates.0.as_slice());
            let unknown = entries.iter().find(|(name, _)| !names.contains(&format!("{name:?}")));
            if let Some((name, _)) = unknown {
                let expected = if names.is_empty() {
                    "no adapters, as --adapter NAME=DIR gives none,".to_owned()
                } else {
                    format!("adapters among {}", names.join(", "))
                };
                let found = format!("{name:?}");
                return Err(crate::commands::line_error(path, index, &expected, &found));
            }
            Stack::new(entries.iter().cloned()).map_err(|error| {
                crate::commands::line_error(path, index, "possible adapters", &error.to_string())
            })
        };
        lines.enumerate().map(stack).collect()
    }
}

/// `adapters` of a line: a list of names, or an object from names to gates.
#[derive(Debug)]
pub(crate) struct Gates(Vec<(String, f64)>);

impl<'de> Deserialize<'de> for Gates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GatesVisitor)
    }
}

struct GatesVisitor;

impl<'de> Visitor<'de> for GatesVisitor {
    type Value = Gates;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of adapters' names, or an object from names to gates")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Gates, A::Error> {
        let mut entries = Vec::new();
        while let Some(name) = names.next_element()? {
            entries.push((name, 1.0));
        }
        Ok(Gates(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut gates: A) -> Result<Gates, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = gates.next_entry()? {
            entries.push(entry);
        }
        Ok(Gates(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_from_a_folder() {
        let values = ["adapters/a", "medical=b=c", "./x=y", "user:7=/d", "=e"].map(PathBuf::from);
        let arguments = AdapterArguments::parse(&values).unwrap();
        assert_eq!(arguments.everywhere, ["adapters/a", "./x=y", "=e"].map(PathBuf::from));
        let named = [("medical", "b=c"), ("user:7", "/d")];
        assert_eq!(arguments.named, named.map(|(name, folder)| (name.to_owned(), folder.into())));
        let error = AdapterArguments::parse(&["a=b".into(), "a=c".into()]).unwrap_err();
        assert!(error.to_string().contains("two adapters are named a"), "{error}");
    }

    #[test]
    fn gates_are_a_list_or_an_object() {
        let gates = |text: &str| serde_json::from_str::<Gates>(text).map(|gates| gates.0);
        assert_eq!(gates(r#"["a"]"#).unwrap(), [("a".to_owned(), 1.0)]);
        assert_eq!(gates(r#"{"a": 0.5, "b": 1}"#).unwrap()[1], ("b".to_owned(), 1.0));
        let error = gates(r#""a""#).unwrap_err().to_string();
        assert!(error.contains("a list of adapters' names"), "{error}");
        assert!(gates(r#"{"a": "much"}"#).is_err());
    }
}
