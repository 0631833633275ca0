//! Taking typed fields out of a JSON object, with errors that say what was expected and
//! what was found.

use serde_json::{Map, Value};

use crate::error::FieldError;

/// A value as it is quoted in an error: short, with its kind.
pub(crate) fn shown(value: &Value) -> String {
    let kind = match value {
        Value::Null => return "null".to_owned(),
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    let text = value.to_string();
    let short: String = text.chars().take(40).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{kind} {short}{more}")
}

fn full(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// The error for a field that is not what it must be.
pub(crate) fn mismatch(
    parent: &str,
    name: &str,
    expected: &str,
    got: Option<&Value>,
) -> FieldError {
    FieldError {
        field: full(parent, name),
        expected: expected.to_owned(),
        got: got.map_or_else(|| "no such field".to_owned(), shown),
    }
}

/// A required string.
pub(crate) fn text(
    map: &mut Map<String, Value>,
    parent: &str,
    name: &str,
) -> Result<String, FieldError> {
    match map.shift_remove(name) {
        Some(Value::String(text)) => Ok(text),
        other => Err(mismatch(parent, name, "a string", other.as_ref())),
    }
}

/// A required string with something else than white space in it.
pub(crate) fn filled_text(
    map: &mut Map<String, Value>,
    parent: &str,
    name: &str,
) -> Result<String, FieldError> {
    match map.shift_remove(name) {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text),
        other => Err(mismatch(parent, name, "a string that is not empty", other.as_ref())),
    }
}

/// A string, absent or null.
pub(crate) fn optional_text(
    map: &mut Map<String, Value>,
    parent: &str,
    name: &str,
) -> Result<Option<String>, FieldError> {
    match map.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        other => Err(mismatch(parent, name, "a string or nothing", other.as_ref())),
    }
}

/// A required list of strings.
pub(crate) fn texts(
    map: &mut Map<String, Value>,
    parent: &str,
    name: &str,
) -> Result<Vec<String>, FieldError> {
    let value = map.shift_remove(name);
    let strings = match &value {
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        }
        _ => None,
    };
    strings.ok_or_else(|| mismatch(parent, name, "a list of strings", value.as_ref()))
}

/// A required integer from 0.
pub(crate) fn index(
    map: &mut Map<String, Value>,
    parent: &str,
    name: &str,
) -> Result<usize, FieldError> {
    let value = map.shift_remove(name);
    value
        .as_ref()
        .and_then(Value::as_u64)
        .and_then(|number| usize::try_from(number).ok())
        .ok_or_else(|| mismatch(parent, name, "an integer from 0", value.as_ref()))
}

/// A required object.
pub(crate) fn object(
    map: &mut Map<String, Value>,
    parent: &str,
    name: &str,
) -> Result<Map<String, Value>, FieldError> {
    match map.shift_remove(name) {
        Some(Value::Object(object)) => Ok(object),
        other => Err(mismatch(parent, name, "an object", other.as_ref())),
    }
}
