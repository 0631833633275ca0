//! The items of a benchmark's file, in the formats that benchmarks come in.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, FieldError, Result};

/// Names of the field that holds an item's text, in any case, the first present wins.
const TEXT_FIELDS: [&str; 5] = ["question", "problem", "input", "prompt", "text"];

/// A benchmark.
#[derive(Clone, Debug)]
pub(crate) struct Benchmark {
    /// Folder and name of the file without its ending: files are often just `test`.
    pub(crate) name: String,
    /// The text of each item.
    pub(crate) items: Vec<String>,
}

impl Benchmark {
    /// Reads a file: `.jsonl` holds an object a line; `.json` a list of objects, or an
    /// object whose values are objects, or one with such a list in `examples` (BIG-Bench
    /// Hard) or `data`; any other an item a line.
    ///
    /// # Errors
    /// A file that cannot be read, or an item without a text.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let read_error = |source| Error::Read { path: path.to_owned(), source };
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let items = match ending {
            "json" => {
                let bytes = fs::read(path).map_err(read_error)?;
                let value = parse(path, 1, &bytes)?;
                objects(&value)
                    .into_iter()
                    .enumerate()
                    .map(|(place, item)| item_text(path, place + 1, item))
                    .collect::<Result<Vec<String>>>()?
            }
            "jsonl" => {
                let bytes = fs::read(path).map_err(read_error)?;
                bytes
                    .split(|byte| *byte == b'\n')
                    .enumerate()
                    .filter(|(_, line)| !line.trim_ascii().is_empty())
                    .map(|(place, line)| item_text(path, place + 1, &parse(path, place + 1, line)?))
                    .collect::<Result<Vec<String>>>()?
            }
            _ => {
                let text = fs::read_to_string(path).map_err(read_error)?;
                text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect()
            }
        };
        if items.is_empty() {
            let problem = FieldError {
                field: "benchmarks".to_owned(),
                expected: "items with a text".to_owned(),
                got: "none".to_owned(),
            };
            return Err(Error::Record { path: path.to_owned(), line: 1, problem });
        }
        Ok(Self { name: name(path), items })
    }
}

fn name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    match path.parent().and_then(Path::file_name) {
        Some(folder) => format!("{}/{stem}", folder.to_string_lossy()),
        None => stem.into_owned(),
    }
}

fn parse(path: &Path, line: usize, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|source| Error::Json {
        path: path.to_owned(),
        line,
        source,
    })
}

/// The items of a whole JSON file.
fn objects(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => match map.get("examples").or_else(|| map.get("data")) {
            Some(Value::Array(items)) => items.iter().collect(),
            _ => map.values().collect(),
        },
        _ => Vec::new(),
    }
}

fn item_text(path: &Path, number: usize, item: &Value) -> Result<String> {
    let empty = Map::new();
    let map = item.as_object().unwrap_or(&empty);
    TEXT_FIELDS
        .iter()
        .find_map(|name| {
            let (_, value) = map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
            value.as_str().map(str::to_owned)
        })
        .ok_or_else(|| {
            let problem = FieldError {
                field: TEXT_FIELDS.join("|"),
                expected: "a string in one of these fields".to_owned(),
                got: crate::field::shown(item),
            };
            Error::Record { path: path.to_owned(), line: number, problem }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str, text: &str) -> Result<Benchmark> {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("bench");
        fs::create_dir(&inner).unwrap();
        let path = inner.join(file);
        fs::write(&path, text).unwrap();
        Benchmark::read(&path)
    }

    #[test]
    fn every_format_gives_its_items() {
        for (file, text) in [
            ("test.jsonl", "{\"question\":\"a b\",\"answer\":\"1\"}\n\n{\"problem\":\"c d\"}\n"),
            ("test.txt", "a b\n\nc d\n"),
            ("test.json", r#"{"canary":"x","examples":[{"input":"a b"},{"input":"c d"}]}"#),
            ("test.json", r#"[{"text":"a b"},{"prompt":"c d"}]"#),
            ("test.json", r#"{"17":{"QUESTION":"a b"},"18":{"QUESTION":"c d"}}"#),
        ] {
            let benchmark = read(file, text).unwrap();
            assert_eq!(benchmark.items, ["a b", "c d"], "{text}");
            assert_eq!(benchmark.name, "bench/test");
        }
    }

    #[test]
    fn an_item_without_a_text_is_named() {
        let error = read("test.jsonl", "{\"question\":\"a\"}\n{\"q\":\"b\"}").unwrap_err();
        assert!(error.to_string().contains("test.jsonl:2"), "{error}");
        assert!(error.to_string().contains("question|problem"), "{error}");
        assert!(read("test.txt", "\n").is_err());
        assert!(read("test.json", "{").is_err());
    }
}
