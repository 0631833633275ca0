//! A piece of text as a JSON object.

use serde_json::{Map, Value};

use crate::field::shown;
use crate::input::{At, Fault};
use crate::rejects::{Reason, excerpt, excerpt_of_bytes};

/// The object that a piece holds, or why it holds none. An entry that waits for its key
/// gets it.
pub(super) fn object(at: At, bytes: &[u8]) -> (At, Result<Map<String, Value>, Fault>) {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let detail = format!(
                "expected UTF-8 text, found other bytes after byte {}",
                error.valid_up_to()
            );
            let excerpt = excerpt_of_bytes(bytes.trim_ascii());
            return (at, Err(Fault { reason: Reason::NotUtf8, detail, excerpt }));
        }
    };
    // A byte order mark may open a file.
    let text = text.trim_start_matches('\u{feff}').trim_ascii();
    match at {
        At::Entry { index, key: Some(_) } => {
            if let Some((key, value)) = key_and_value(text) {
                return (At::Entry { index, key: Some(key) }, value_of(value));
            }
            let at = At::Entry { index, key: None };
            let detail = "expected a key in quotes, a colon and an object, found no such thing";
            (at, Err(refused(Reason::NotJson, detail.to_owned(), text)))
        }
        at => (at, value_of(text)),
    }
}

fn key_and_value(text: &str) -> Option<(String, &str)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let key = values.next()?.ok()?;
    let value = text[values.byte_offset()..].trim_ascii_start().strip_prefix(':')?;
    Some((key, value))
}

fn value_of(text: &str) -> Result<Map<String, Value>, Fault> {
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => {
            let detail = format!("expected a JSON object, found {}", shown(&other));
            Err(refused(Reason::NotAnObject, detail, text))
        }
        Err(error) => {
            let detail = format!("expected a JSON object, found text that is no JSON: {error}");
            Err(refused(Reason::NotJson, detail, text))
        }
    }
}

fn refused(reason: Reason, detail: String, text: &str) -> Fault {
    Fault { reason, detail, excerpt: excerpt(text) }
}
