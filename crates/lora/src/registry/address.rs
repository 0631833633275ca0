//! How adapters are called: `tier/name`, and which of its versions is meant.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::RegistryError;
use crate::Error;
use crate::tiers::Tier;

/// The name of a line of adapters, of which each publication is a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefName {
    tier: Tier,
    name: String,
}

impl RefName {
    /// Lower-case letters, digits and `.`, `_`, `-`, at most 64 and beginning with a letter
    /// or digit, so that a name is a file's name on every system.
    ///
    /// # Errors
    /// [`RegistryError::Address`].
    pub fn new(tier: Tier, name: &str) -> Result<Self, Error> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = name.len() <= 64
            && name.bytes().next().is_some_and(is_plain)
            && name.bytes().all(|byte| is_plain(byte) || b"._-".contains(&byte));
        if !fits {
            return Err(address_error(
                name,
                "a name of at most 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit",
            ));
        }
        Ok(Self { tier, name: name.to_owned() })
    }

    /// Its tier.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Its name within the tier.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for RefName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.tier, self.name)
    }
}

impl FromStr for RefName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (tier, name) = text.split_once('/').ok_or_else(|| address_error(text, "TIER/NAME"))?;
        Self::new(tier.parse()?, name)
    }
}

impl Serialize for RefName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Which version of a name is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// The promoted one.
    Champion,
    /// The one that was published last and is not promoted yet.
    Candidate,
    /// The one that the change with this number was about.
    Generation(u64),
    /// The one whose content hash begins with these digits.
    Hash(String),
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Champion => formatter.write_str("champion"),
            Self::Candidate => formatter.write_str("candidate"),
            Self::Generation(generation) => write!(formatter, "{generation}"),
            Self::Hash(digits) => write!(formatter, "sha256:{digits}"),
        }
    }
}

/// A version of an adapter: `domain/medical`, `domain/medical@candidate`,
/// `domain/medical@7` or `domain/medical@sha256:4f0c91d2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The name.
    pub name: RefName,
    /// The version; the champion where none is given.
    pub selector: Selector,
}

/// Fewer digits of a hash are more likely a slip than a version.
const MIN_HASH_DIGITS: usize = 8;

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (name, selector) = match text.split_once('@') {
            None => (text, Selector::Champion),
            Some((name, selector)) => (name, parse_selector(text, selector)?),
        };
        Ok(Self { name: name.parse()?, selector })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.name, self.selector)
    }
}

fn parse_selector(address: &str, text: &str) -> Result<Selector, Error> {
    let expected = "champion, candidate, a generation or sha256: and 8 to 64 hexadecimal digits \
                    after the `@`";
    match text {
        "champion" => return Ok(Selector::Champion),
        "candidate" => return Ok(Selector::Candidate),
        _ => {}
    }
    if let Some(digits) = text.strip_prefix("sha256:") {
        let is_hash = (MIN_HASH_DIGITS..=64).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hash {
            return Ok(Selector::Hash(digits.to_ascii_lowercase()));
        }
    } else if let Ok(generation) = text.parse() {
        return Ok(Selector::Generation(generation));
    }
    Err(address_error(address, expected))
}

fn address_error(text: &str, expected: &'static str) -> Error {
    RegistryError::Address { text: text.to_owned(), expected }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_back_as_they_are_shown() {
        for (text, shown) in [
            ("domain/medical", "domain/medical@champion"),
            ("domain/medical@champion", "domain/medical@champion"),
            ("user/u-7.v2@candidate", "user/u-7.v2@candidate"),
            ("base-task/reasoning@12", "base-task/reasoning@12"),
            ("domain/law@sha256:4F0C91D2", "domain/law@sha256:4f0c91d2"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse::<Address>().unwrap(), address);
        }
    }

    #[test]
    fn what_is_no_address_is_named() {
        for text in [
            "medical",
            "domain/",
            "team/medical",
            "domain/Medical",
            "domain/../../etc",
            "domain/.hidden",
            "./domain/medical",
            "domain/medical@",
            "domain/medical@latest",
            "domain/medical@sha256:4f0c",
            "domain/medical@-1",
            &format!("domain/{}", "a".repeat(65)),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("expected"), "{text}: {error}");
        }
    }
}
