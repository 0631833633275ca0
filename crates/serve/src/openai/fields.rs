//! The fields of a JSON object, each read with its type and range, so that an error names
//! the parameter and what was found. `null` counts as absent, as OpenAI's clients send it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::{ApiError, ApiResult};

/// An object whose fields are taken out one by one; what is left is not known here.
#[derive(Debug)]
pub struct Fields {
    object: Map<String, Value>,
    /// The place of the object in the request, as a prefix of parameter names.
    within: String,
}

impl Fields {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 for what is not JSON or no object.
    pub fn parse(body: &[u8]) -> ApiResult<Self> {
        // serde_json's message names line and column.
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| ApiError::invalid(format!("the body is not valid JSON: {error}")))?;
        match value {
            Value::Object(object) => Ok(Self { object, within: String::new() }),
            other => Err(ApiError::invalid(format!(
                "the body is expected to be a JSON object, found {}",
                kind(&other)
            ))),
        }
    }

    /// The object at `place` of the request.
    ///
    /// # Errors
    /// 400 for another kind of value.
    pub fn of(value: Value, place: &str) -> ApiResult<Self> {
        match value {
            Value::Object(object) => Ok(Self { object, within: format!("{place}.") }),
            other => Err(wrong(place, "an object", &other)),
        }
    }

    /// A field's full name.
    pub fn name(&self, field: &str) -> String {
        format!("{}{field}", self.within)
    }

    /// A field, unless absent or `null`.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        self.object.remove(field).filter(|value| !value.is_null())
    }

    /// A field that must be there.
    ///
    /// # Errors
    /// 400 if it is not.
    pub fn require(&mut self, field: &str) -> ApiResult<Value> {
        let name = self.name(field);
        self.take(field)
            .ok_or_else(|| ApiError::parameter(name.clone(), format!("`{name}` is missing")))
    }

    /// A string.
    ///
    /// # Errors
    /// 400 for another kind of value.
    pub fn string(&mut self, field: &str) -> ApiResult<Option<String>> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(&self.name(field), "a string", &other)),
        }
    }

    /// A truth value.
    ///
    /// # Errors
    /// 400 for another kind of value.
    pub fn boolean(&mut self, field: &str) -> ApiResult<Option<bool>> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(wrong(&self.name(field), "true or false", &other)),
        }
    }

    /// A number in a range.
    ///
    /// # Errors
    /// 400 for another kind of value or one outside of the range.
    pub fn number(&mut self, field: &str, range: RangeInclusive<f64>) -> ApiResult<Option<f64>> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let name = self.name(field);
        let number = value.as_f64().ok_or_else(|| wrong(&name, "a number", &value))?;
        check_range(&name, number, &range)?;
        Ok(Some(number))
    }

    /// A whole number in a range.
    ///
    /// # Errors
    /// 400 for another kind of value or one outside of the range.
    pub fn integer(&mut self, field: &str, range: RangeInclusive<i64>) -> ApiResult<Option<i64>> {
        let Some(value) = self.take(field) else { return Ok(None) };
        let name = self.name(field);
        let number = integer_of(&value).ok_or_else(|| wrong(&name, "an integer", &value))?;
        check_range(&name, number, &range)?;
        Ok(Some(number))
    }

    /// A count.
    ///
    /// # Errors
    /// 400 for another kind of value or one outside of the range.
    pub fn count(&mut self, field: &str, range: RangeInclusive<usize>) -> ApiResult<Option<usize>> {
        let (low, high) = (*range.start() as i64, i64::try_from(*range.end()).unwrap_or(i64::MAX));
        Ok(self.integer(field, low..=high)?.map(|number| number as usize))
    }

    /// A list of token ids.
    ///
    /// # Errors
    /// 400 for another kind of value.
    pub fn token_ids(&mut self, field: &str) -> ApiResult<Option<Vec<i64>>> {
        let Some(value) = self.take(field) else { return Ok(None) };
        token_ids(&value, &self.name(field)).map(Some)
    }

    /// An object of numbers by token id, as in `logit_bias`.
    ///
    /// # Errors
    /// 400 for keys that are no ids and values outside of the range.
    pub fn token_numbers(
        &mut self,
        field: &str,
        range: &RangeInclusive<f64>,
        vocab_size: i64,
    ) -> ApiResult<BTreeMap<i64, f64>> {
        let name = self.name(field);
        let object = match self.take(field) {
            None => return Ok(BTreeMap::new()),
            Some(Value::Object(object)) => object,
            Some(other) => return Err(wrong(&name, "an object", &other)),
        };
        let mut numbers = BTreeMap::new();
        for (key, value) in object {
            let id = key.parse::<i64>().ok().filter(|id| (0..vocab_size).contains(id));
            let id = id.ok_or_else(|| {
                let expected = format!("`{name}` takes ids from 0 to {}", vocab_size - 1);
                ApiError::parameter(name.clone(), format!("{expected}, found {key:?}"))
            })?;
            let number = value.as_f64().ok_or_else(|| wrong(&name, "numbers", &value))?;
            check_range(&name, number, range)?;
            numbers.insert(id, number);
        }
        Ok(numbers)
    }

    /// Notes what is left: clients send fields of other servers, which is no fault, but worth
    /// knowing where one has no effect.
    pub fn finish(self) {
        for field in self.object.keys() {
            // Only the name, and not all of a long one: the rest may be what people wrote.
            let field: String = self.name(field).chars().take(60).collect();
            tracing::debug!(%field, "an unknown field is ignored");
        }
    }
}

/// A list of token ids.
pub(super) fn token_ids(value: &Value, name: &str) -> ApiResult<Vec<i64>> {
    let Value::Array(items) = value else {
        return Err(wrong(name, "a list of token ids", value));
    };
    items
        .iter()
        .map(|item| {
            let id = integer_of(item).filter(|id| *id >= 0);
            id.ok_or_else(|| wrong(name, "token ids, whole numbers from 0 up,", item))
        })
        .collect()
}

/// JSON does not tell whole numbers from others: `1.0` is one too.
fn integer_of(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
    })
}

fn check_range<T: PartialOrd + Display + Copy>(
    name: &str,
    number: T,
    range: &RangeInclusive<T>,
) -> ApiResult<()> {
    if range.contains(&number) {
        return Ok(());
    }
    let expected = format!("`{name}` is expected from {} to {}", range.start(), range.end());
    Err(ApiError::parameter(name, format!("{expected}, found {number}")))
}

/// 400: a value of another kind.
pub(super) fn wrong(name: &str, expected: &str, found: &Value) -> ApiError {
    let found = match found {
        Value::Bool(_) | Value::Number(_) => found.to_string(),
        other => kind(other).to_owned(),
    };
    ApiError::parameter(name, format!("`{name}` is expected to be {expected}, found {found}"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn values_have_types_and_ranges() {
        let mut body = fields(r#"{"a": 1.0, "b": "x", "c": null, "d": 3, "e": [1, 2], "f": true}"#);
        assert_eq!(body.integer("a", 0..=5).unwrap(), Some(1));
        assert_eq!(body.string("b").unwrap().as_deref(), Some("x"));
        assert_eq!(body.number("c", 0.0..=1.0).unwrap(), None);
        let error = body.number("d", 0.0..=2.0).unwrap_err();
        assert_eq!(error.message(), "`d` is expected from 0 to 2, found 3");
        assert_eq!(body.token_ids("e").unwrap(), Some(vec![1, 2]));
        assert_eq!(body.boolean("f").unwrap(), Some(true));
        assert_eq!(body.boolean("f").unwrap(), None);
        assert_eq!(body.require("g").unwrap_err().message(), "`g` is missing");
    }

    #[test]
    fn errors_name_the_parameter_and_what_was_found() {
        let error = fields(r#"{"n": "two"}"#).integer("n", 1..=8).unwrap_err();
        assert_eq!(error.message(), "`n` is expected to be an integer, found a string");
        assert_eq!(error.body()["error"]["param"], "n");
        let error = fields(r#"{"n": 1.5}"#).integer("n", 1..=8).unwrap_err();
        assert_eq!(error.message(), "`n` is expected to be an integer, found 1.5");
        let error = fields(r#"{"t": [1, -2]}"#).token_ids("t").unwrap_err();
        assert!(error.message().contains("found -2"), "{}", error.message());
        let bias = |text: &str| fields(text).token_numbers("b", &(-100.0..=100.0), 10);
        assert_eq!(bias(r#"{"b": {"3": 1.5}}"#).unwrap(), BTreeMap::from([(3, 1.5)]));
        assert!(bias(r#"{"b": {"10": 1}}"#).unwrap_err().message().contains("from 0 to 9"));
        assert!(bias(r#"{"b": {"x": 1}}"#).is_err());
        assert!(bias(r#"{"b": {"1": 101}}"#).is_err());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in ["", "[]", "3", "{\"a\":", "nul", "\u{feff}{}"] {
            assert_eq!(Fields::parse(body.as_bytes()).unwrap_err().status(), 400, "{body}");
        }
        assert_eq!(Fields::parse(b"{\"a\": \"\xff\"}").unwrap_err().status(), 400);
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        assert_eq!(Fields::parse(deep.as_bytes()).unwrap_err().status(), 400);
    }
}
