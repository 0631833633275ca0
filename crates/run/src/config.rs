//! Typed configuration from TOML: a file, overrides from the command line, and errors
//! that name the file, the line and the key.
//!
//! A configuration struct derives `Deserialize` with `deny_unknown_fields` and `default`,
//! implements [`Validate`], and is read by [`parse`] (a file that is one stage's table) or
//! [`parse_section`] (one table of a pipeline file).

use std::fmt::Display;
use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::config_location::locate;
use crate::{Error, Result};

/// A value that is well-formed but impossible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The field, dotted where it is nested.
    pub field: String,
    /// What would be accepted.
    pub expected: String,
    /// The value found.
    pub got: String,
}

impl Invalid {
    /// The field, what would be accepted and what was found.
    pub fn new(field: impl Display, expected: impl Display, got: impl Display) -> Self {
        Self { field: field.to_string(), expected: expected.to_string(), got: got.to_string() }
    }

    /// The same, seen from the table that holds `table`.
    #[must_use]
    pub fn within(self, table: &str) -> Self {
        Self { field: format!("{table}.{}", self.field), ..self }
    }
}

/// The checks of a configuration that its types do not make, run before any work.
pub trait Validate {
    /// Whether every value is possible.
    ///
    /// # Errors
    /// The first field that is not.
    fn validate(&self) -> std::result::Result<(), Invalid>;
}

/// The table of a TOML file; an empty one without a file.
///
/// # Errors
/// [`Error::Config`] where the file cannot be read, [`Error::Syntax`] where it is no TOML.
pub fn load_table(file: Option<&Path>) -> Result<Table> {
    let Some(file) = file else { return Ok(Table::new()) };
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|source| Error::Config {
        location: name.clone(),
        key: "configuration file".to_owned(),
        message: format!("cannot be read: {source}"),
    })?;
    text.parse::<Table>().map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |index| index + 1);
        Error::Syntax {
            file: name,
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: error.message().to_owned(),
        }
    })
}

/// Applies overrides of the form `table.key=value`. The value is read as TOML; a bare
/// word, or anything else that is no TOML value, is a string.
///
/// # Errors
/// [`Error::Override`] for one without `=` or key, or through something that is no table.
pub fn apply_overrides(table: &mut Table, overrides: &[String]) -> Result<()> {
    for text in overrides {
        let failed = |message: String| Error::Override { text: text.clone(), message };
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| failed("expected key=value, found no '='".to_owned()))?;
        let value = parse_value(value.trim());
        let parts: Vec<&str> = key.split('.').map(str::trim).collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(failed(format!("the key {key:?} has an empty part")));
        }
        let (last, tables) = parts.split_last().ok_or_else(|| failed("no key".to_owned()))?;
        let mut current = &mut *table;
        for part in tables {
            let entry =
                current.entry((*part).to_owned()).or_insert_with(|| Value::Table(Table::new()));
            let found = entry.type_str();
            current = entry
                .as_table_mut()
                .ok_or_else(|| failed(format!("{part} is no table but of type {found}")))?;
        }
        current.insert((*last).to_owned(), value);
    }
    Ok(())
}

/// The typed, validated form of a table. `source_name` is the file that the table came
/// from (then errors name the line too) or any other name for it.
///
/// # Errors
/// [`Error::Config`] for an unknown or missing key, a wrong type or an impossible value.
pub fn parse<T: DeserializeOwned + Validate>(table: &Table, source_name: &str) -> Result<T> {
    parse_at(table, "", source_name)
}

/// As [`parse`], for one table of a larger file; a missing table counts as an empty one,
/// and errors name keys as `section.key`.
///
/// # Errors
/// As [`parse`].
pub fn parse_section<T: DeserializeOwned + Validate>(
    table: &Table,
    section: &str,
    source_name: &str,
) -> Result<T> {
    match table.get(section) {
        None => parse_at(&Table::new(), section, source_name),
        Some(Value::Table(inner)) => parse_at(inner, section, source_name),
        Some(other) => Err(config_error(
            section,
            &format!("expected a table, found type {}", other.type_str()),
            Some(other),
            source_name,
        )),
    }
}

fn parse_at<T: DeserializeOwned + Validate>(
    table: &Table,
    section: &str,
    source_name: &str,
) -> Result<T> {
    let failed = |field: &str, message: &str| {
        let key = if section.is_empty() || field.is_empty() {
            format!("{section}{field}")
        } else {
            format!("{section}.{field}")
        };
        config_error(&key, message, value_at(table, field), source_name)
    };
    let parsed: T = Value::Table(table.clone()).try_into().map_err(|error| {
        let (field, message) = describe(&error);
        failed(&field, &message)
    })?;
    parsed.validate().map_err(|invalid| {
        failed(&invalid.field, &format!("expected {}, found {}", invalid.expected, invalid.got))
    })?;
    Ok(parsed)
}

fn config_error(key: &str, message: &str, value: Option<&Value>, source_name: &str) -> Error {
    Error::Config {
        location: locate(source_name, key, value),
        key: if key.is_empty() { "configuration".to_owned() } else { key.to_owned() },
        message: message.to_owned(),
    }
}

fn parse_value(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>().ok();
    // More than one key means that the text held a line break: no single value.
    parsed
        .filter(|table| table.len() == 1)
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn value_at<'a>(table: &'a Table, dotted: &str) -> Option<&'a Value> {
    let mut parts = dotted.split('.');
    let mut value = table.get(parts.next()?)?;
    for part in parts {
        value = value.get(part)?;
    }
    Some(value)
}

/// The dotted key that a deserialisation error is about, and its message. The library
/// keeps the key of the enclosing table for its display alone, and the field's own name in
/// serde's message alone.
fn describe(error: &toml::de::Error) -> (String, String) {
    let message = error.message().trim().to_owned();
    let display = error.to_string();
    let parents = display
        .trim_end()
        .rsplit_once("\nin `")
        .and_then(|(_, rest)| rest.strip_suffix('`'))
        .unwrap_or_default();
    let own = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix))
        .and_then(|rest| rest.split('`').next());
    let key = match (parents, own) {
        ("", own) => own.unwrap_or_default().to_owned(),
        (parents, None) => parents.to_owned(),
        (parents, Some(own)) => format!("{parents}.{own}"),
    };
    (key, message)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{Diagnose as _, Exit};

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Example {
        steps: u64,
        learning_rate: f64,
        device: String,
        data: Data,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Data {
        count: u32,
        families: Vec<String>,
    }

    impl Default for Example {
        fn default() -> Self {
            Self {
                steps: 10,
                learning_rate: 1e-3,
                device: "auto".to_owned(),
                data: Data::default(),
            }
        }
    }

    impl Validate for Example {
        fn validate(&self) -> std::result::Result<(), Invalid> {
            if self.learning_rate > 0.0 {
                Ok(())
            } else {
                Err(Invalid::new("learning_rate", "a number above 0", self.learning_rate))
            }
        }
    }

    /// Writes `text` as `c.toml`, applies the overrides, and gives the outcome with the
    /// folder's name taken out of an error.
    fn check(text: &str, overrides: &[&str]) -> std::result::Result<Example, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("c.toml");
        fs::write(&file, text).unwrap();
        let outcome = (|| {
            let mut table = load_table(Some(&file))?;
            let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
            apply_overrides(&mut table, &overrides)?;
            parse::<Example>(&table, &file.display().to_string())
        })();
        outcome.map_err(|error| {
            assert_eq!(error.exit(), Exit::Usage);
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        })
    }

    #[test]
    fn defaults_and_overrides_meet() {
        let overrides = ["steps=20", "device=cuda:0", "data.families=[\"logic\", \"spatial\"]"];
        let example = check("learning_rate = 0.5\n[data]\ncount = 3", &overrides).unwrap();
        let data = Data { count: 3, families: vec!["logic".to_owned(), "spatial".to_owned()] };
        let expected = Example { steps: 20, learning_rate: 0.5, device: "cuda:0".to_owned(), data };
        assert_eq!(example, expected);
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = check("steps = 1\nstep = 2\n", &[]).unwrap_err();
        assert!(error.starts_with("c.toml:2: step: unknown field `step`, expected"), "{error}");
        let error = check("\n[data]\n\ncuont = 2\n", &[]).unwrap_err();
        assert!(error.starts_with("c.toml:4: data.cuont: unknown field"), "{error}");
    }

    #[test]
    fn a_wrong_type_is_named_with_its_line() {
        let error = check("steps = 1\ndata = { count = \"many\" }\n", &[]).unwrap_err();
        assert!(
            error.starts_with("c.toml:2: data.count: invalid type: string \"many\""),
            "{error}"
        );
        let error = check("steps = -1\n", &[]).unwrap_err();
        assert!(error.starts_with("c.toml:1: steps: invalid value"), "{error}");
    }

    #[test]
    fn an_impossible_value_is_named_with_its_line() {
        let error = check("steps = 1\nlearning_rate = -1.5", &[]).unwrap_err();
        assert_eq!(error, "c.toml:2: learning_rate: expected a number above 0, found -1.5");
    }

    #[test]
    fn a_bad_override_is_blamed_on_the_command_line() {
        let error = check("learning_rate = 1.0", &["learning_rate=-1.0"]).unwrap_err();
        assert_eq!(error, "--set: learning_rate: expected a number above 0, found -1");
        let error = check("", &["data.nonsense=1"]).unwrap_err();
        assert!(error.starts_with("--set: data.nonsense: unknown field"), "{error}");
        let error = check("", &["steps"]).unwrap_err();
        assert_eq!(error, "--set steps: expected key=value, found no '='");
        let error = check("steps = 1", &["steps.deep=1"]).unwrap_err();
        assert_eq!(error, "--set steps.deep=1: steps is no table but of type integer");
        let error = check("", &[".x=1"]).unwrap_err();
        assert!(error.contains("has an empty part"), "{error}");
    }

    #[test]
    fn broken_toml_is_named_with_line_and_column() {
        let error = check("steps = 1\nlearning_rate = = 2", &[]).unwrap_err();
        assert!(error.starts_with("c.toml:2:17: "), "{error}");
        assert!(check("", &["device=a \"quoted\nword"]).is_ok());
    }

    #[test]
    fn a_missing_file_is_wrong_usage() {
        let error = load_table(Some(Path::new("no/such.toml"))).unwrap_err();
        assert!(error.to_string().starts_with("no/such.toml: configuration file: cannot be read"));
        assert_eq!(error.exit(), Exit::Usage);
    }

    #[test]
    fn a_section_is_named_in_its_keys() {
        let table: Table = "[train]\nlearning_rate = 0.0".parse().unwrap();
        let error = parse_section::<Example>(&table, "train", "defaults").unwrap_err();
        assert_eq!(
            error.to_string(),
            "defaults: train.learning_rate: expected a number above 0, found 0"
        );
        assert_eq!(parse_section::<Example>(&table, "absent", "x").unwrap(), Example::default());
        let table: Table = "train = 3".parse().unwrap();
        let error = parse_section::<Example>(&table, "train", "x").unwrap_err();
        assert_eq!(error.to_string(), "x: train: expected a table, found type integer");
    }
}
