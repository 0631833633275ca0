//! Where a configuration key is written: the line of the file, or the command line.

use std::fs;
use std::path::Path;

use toml::Value;
use toml::de::{DeTable, DeValue};

/// `FILE:LINE` where the file holds the key with this value, `--set` where it holds the
/// key with another value or not at all, and the bare name where it is no readable file.
/// A key that is missing altogether (no value) is the file's fault.
pub(crate) fn locate(source_name: &str, key: &str, value: Option<&Value>) -> String {
    let path = Path::new(source_name);
    let Some(text) = path.is_file().then(|| fs::read_to_string(path).ok()).flatten() else {
        return source_name.to_owned();
    };
    let written = text.parse::<toml::Table>().ok().and_then(|table| {
        let mut value = Value::Table(table);
        for part in key.split('.') {
            value = value.as_table_mut()?.remove(part)?;
        }
        Some(value)
    });
    match (value, written, offset_of(&text, key)) {
        (Some(value), Some(written), Some(offset)) if *value == written => {
            format!("{source_name}:{}", text[..offset].matches('\n').count() + 1)
        }
        (None, _, _) => source_name.to_owned(),
        _ => "--set".to_owned(),
    }
}

/// The byte offset of the key's last part.
fn offset_of(text: &str, key: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut table = document.get_ref();
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        let (name, value) = table.iter().find(|(name, _)| name.get_ref().as_ref() == part)?;
        if parts.peek().is_none() {
            return Some(name.span().start);
        }
        match value.get_ref() {
            DeValue::Table(inner) => table = inner,
            _ => return None,
        }
    }
    None
}
