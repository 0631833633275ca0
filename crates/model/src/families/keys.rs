//! Typed reading of a configuration object, with errors that name the key.

use serde_json::{Map, Value};

use crate::config::{Activation, LayerConfig};
use crate::error::{Error, Result};

/// A JSON object and the dotted path that leads to it. A `null` counts as absent, as it
/// does in transformers.
pub(super) struct Keys<'a> {
    object: &'a Map<String, Value>,
    path: String,
}

impl<'a> Keys<'a> {
    pub(super) fn root(value: &'a Value) -> Result<Self> {
        let object = value
            .as_object()
            .ok_or_else(|| Error::config("(root)", "a JSON object", describe(value)))?;
        Ok(Self { object, path: String::new() })
    }

    pub(super) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match read(value) {
            Some(typed) => Ok(Some(typed)),
            None => Err(Error::config(self.path(key), expected, describe(value))),
        }
    }

    fn required<T>(&self, key: &str, expected: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| Error::config(self.path(key), expected, "nothing"))
    }

    pub(super) fn optional_string(&self, key: &str) -> Result<Option<&'a str>> {
        self.typed(key, "a string", Value::as_str)
    }

    pub(super) fn string(&self, key: &str) -> Result<&'a str> {
        let value = self.optional_string(key)?;
        self.required(key, "a string", value)
    }

    pub(super) fn optional_integer(&self, key: &str) -> Result<Option<i64>> {
        self.typed(key, "an integer", Value::as_i64)
    }

    pub(super) fn integer(&self, key: &str) -> Result<i64> {
        let value = self.optional_integer(key)?;
        self.required(key, "an integer", value)
    }

    /// A size, a count or a length: an integer above zero.
    pub(super) fn size(&self, key: &str) -> Result<i64> {
        self.positive(key, self.integer(key)?)
    }

    pub(super) fn size_or(&self, key: &str, default: i64) -> Result<i64> {
        self.positive(key, self.optional_integer(key)?.unwrap_or(default))
    }

    fn positive(&self, key: &str, value: i64) -> Result<i64> {
        // Far above any real model, and low enough that products of two do not overflow.
        if (1..=1 << 31).contains(&value) {
            Ok(value)
        } else {
            Err(Error::config(self.path(key), "a positive integer below 2^31", value.to_string()))
        }
    }

    pub(super) fn optional_number(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a number", Value::as_f64)
    }

    pub(super) fn number(&self, key: &str) -> Result<f64> {
        let value = self.optional_number(key)?;
        self.required(key, "a number", value)
    }

    pub(super) fn number_or(&self, key: &str, default: f64) -> Result<f64> {
        Ok(self.optional_number(key)?.unwrap_or(default))
    }

    pub(super) fn flag_or(&self, key: &str, default: bool) -> Result<bool> {
        Ok(self.typed(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    pub(super) fn object(&self, key: &str) -> Result<Option<Self>> {
        let object = self.typed(key, "an object", Value::as_object)?;
        Ok(object.map(|object| Self { object, path: self.path(key) }))
    }

    /// Refuses a switch whose other setting is not implemented.
    pub(super) fn must_be_absent_or_false(&self, key: &'static str) -> Result<()> {
        match self.get(key) {
            None | Some(Value::Bool(false)) => Ok(()),
            Some(value) => Err(Error::config(
                self.path(key),
                "null or false (not implemented)",
                describe(value),
            )),
        }
    }

    pub(super) fn activation(&self, key: &str, default: Activation) -> Result<Activation> {
        match self.optional_string(key)? {
            None => Ok(default),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Activation::GeluTanh),
            Some("gelu") => Ok(Activation::Gelu),
            Some(other) => Err(Error::Unsupported {
                what: "hidden_act",
                found: other.to_owned(),
                supported: &["silu", "gelu_pytorch_tanh", "gelu"],
            }),
        }
    }

    /// `head_dim`, or the even share of the hidden size.
    pub(super) fn head_dim(&self, hidden_size: i64, num_attention_heads: i64) -> Result<i64> {
        if let Some(head_dim) = self.optional_integer("head_dim")? {
            return self.positive("head_dim", head_dim);
        }
        if hidden_size % num_attention_heads != 0 {
            return Err(Error::config(
                self.path("hidden_size"),
                format!("a multiple of num_attention_heads ({num_attention_heads})"),
                hidden_size.to_string(),
            ));
        }
        Ok(hidden_size / num_attention_heads)
    }

    /// Reads `layer_types`: whether each layer slides. `None` when the key is absent.
    pub(super) fn layer_types(&self, num_hidden_layers: i64) -> Result<Option<Vec<bool>>> {
        let Some(types) = self.typed("layer_types", "an array", Value::as_array)? else {
            return Ok(None);
        };
        if types.len() as i64 != num_hidden_layers {
            return Err(Error::config(
                self.path("layer_types"),
                format!("num_hidden_layers = {num_hidden_layers} entries"),
                types.len().to_string(),
            ));
        }
        types
            .iter()
            .enumerate()
            .map(|(index, layer)| match layer.as_str() {
                Some("full_attention") => Ok(false),
                Some("sliding_attention") => Ok(true),
                _ => Err(Error::config(
                    format!("{}[{index}]", self.path("layer_types")),
                    "\"full_attention\" or \"sliding_attention\"",
                    describe(layer),
                )),
            })
            .collect::<Result<Vec<bool>>>()
            .map(Some)
    }

    /// Qwen's layers: `layer_types`, or `max_window_layers` full ones before sliding ones.
    pub(super) fn qwen_layers(
        &self,
        num_hidden_layers: i64,
        default_window: i64,
    ) -> Result<Vec<LayerConfig>> {
        let window = if self.flag_or("use_sliding_window", false)? {
            Some(self.size_or("sliding_window", default_window)?)
        } else {
            None
        };
        let slides = if let Some(slides) = self.layer_types(num_hidden_layers)? {
            if window.is_none() && slides.contains(&true) {
                return Err(Error::config(
                    self.path("layer_types"),
                    "no sliding_attention while use_sliding_window is false",
                    "sliding_attention",
                ));
            }
            slides
        } else {
            let first = self.optional_integer("max_window_layers")?.unwrap_or(28);
            (0..num_hidden_layers).map(|index| index >= first).collect()
        };
        Ok(slides
            .into_iter()
            .map(|slides| LayerConfig {
                sliding_window: if slides { window } else { None },
                rope: 0,
            })
            .collect())
    }
}

pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => other.to_string(),
    }
}
