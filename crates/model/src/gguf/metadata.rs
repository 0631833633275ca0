//! Typed reading of a GGUF file's key-value pairs.

use std::collections::HashMap;
use std::path::Path;

use candle_core::quantized::gguf_file::Value;

use super::damaged;
use crate::error::{Error, Result};

/// The pairs of one file; errors name the file and the key.
pub(super) struct Metadata<'a> {
    path: &'a Path,
    pairs: &'a HashMap<String, Value>,
}

impl<'a> Metadata<'a> {
    pub(super) fn new(path: &'a Path, pairs: &'a HashMap<String, Value>) -> Self {
        Self { path, pairs }
    }

    pub(super) fn error(&self, key: &str, expected: &str, got: impl Into<String>) -> Error {
        damaged(self.path, format!("{expected} under `{key}`"), got)
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.pairs.get(key) else { return Ok(None) };
        match read(value) {
            Some(typed) => Ok(Some(typed)),
            None => Err(self.error(key, expected, format!("{:?}", value.value_type()))),
        }
    }

    fn required<T>(&self, key: &str, expected: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| self.error(key, expected, "nothing"))
    }

    pub(super) fn optional_string(&self, key: &str) -> Result<Option<&'a str>> {
        self.typed(key, "a string", as_string)
    }

    pub(super) fn string(&self, key: &str) -> Result<&'a str> {
        let value = self.optional_string(key)?;
        self.required(key, "a string", value)
    }

    pub(super) fn optional_integer(&self, key: &str) -> Result<Option<i64>> {
        self.typed(key, "an integer", as_integer)
    }

    pub(super) fn integer(&self, key: &str) -> Result<i64> {
        let value = self.optional_integer(key)?;
        self.required(key, "an integer", value)
    }

    pub(super) fn optional_number(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", as_number)
    }

    pub(super) fn number(&self, key: &str) -> Result<f64> {
        let value = self.optional_number(key)?;
        self.required(key, "a number", value)
    }

    pub(super) fn optional_flag(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a bool", |value| value.to_bool().ok())
    }

    pub(super) fn optional_strings(&self, key: &str) -> Result<Option<Vec<&'a str>>> {
        self.array(key, "an array of strings", as_string)
    }

    pub(super) fn strings(&self, key: &str) -> Result<Vec<&'a str>> {
        let value = self.optional_strings(key)?;
        self.required(key, "an array of strings", value)
    }

    pub(super) fn numbers(&self, key: &str) -> Result<Vec<f64>> {
        let value = self.array(key, "an array of numbers", as_number)?;
        self.required(key, "an array of numbers", value)
    }

    pub(super) fn optional_integers(&self, key: &str) -> Result<Option<Vec<i64>>> {
        self.array(key, "an array of integers", as_integer)
    }

    fn array<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>> {
        self.typed(key, expected, |value| match value {
            Value::Array(values) => values.iter().map(&read).collect(),
            _ => None,
        })
    }
}

fn as_string(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn as_integer(value: &Value) -> Option<i64> {
    match *value {
        Value::U8(number) => Some(number.into()),
        Value::I8(number) => Some(number.into()),
        Value::U16(number) => Some(number.into()),
        Value::I16(number) => Some(number.into()),
        Value::U32(number) => Some(number.into()),
        Value::I32(number) => Some(number.into()),
        Value::U64(number) => i64::try_from(number).ok(),
        Value::I64(number) => Some(number),
        _ => None,
    }
}

fn as_number(value: &Value) -> Option<f64> {
    match *value {
        // The shortest decimal that gives the same fp32: 1e-6, not 9.999999974752427e-7.
        Value::F32(number) => number.to_string().parse().ok(),
        Value::F64(number) => Some(number),
        _ => as_integer(value).map(|number| number as f64),
    }
}
