//! What `quantization_config` says, whatever the format.

use std::path::Path;

use regex::Regex;
use serde_json::{Value, json};

use super::{Format, awq, compressed_tensors, gptq, rules};
use crate::bits::Bits;
use crate::config::QuantizeConfig;
use crate::error::{Error, Result};
use crate::order::Order;

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSettings {
    /// Width of the codes.
    pub bits: Bits,
    /// Input features of a group; `None` = all of a layer.
    pub group_size: Option<usize>,
    /// Whether every zero is the middle code.
    pub symmetric: bool,
}

/// Layers that are packed otherwise than the rest.
#[derive(Debug, Clone)]
pub struct Override {
    /// What their names match from the first letter on.
    pub layers: Regex,
    /// How they are packed; `None` where they are dense.
    pub settings: Option<LayerSettings>,
}

impl PartialEq for Override {
    fn eq(&self, other: &Self) -> bool {
        self.layers.as_str() == other.layers.as_str() && self.settings == other.settings
    }
}

/// What `quantization_config` says about a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointSettings {
    /// The format of all packed layers.
    pub format: Format,
    /// How a layer is packed that no override names.
    pub layer: LayerSettings,
    /// The first that matches a layer counts.
    pub overrides: Vec<Override>,
    /// Whether the head is packed: its own matrix, or the embedding that it is tied to.
    pub head: bool,
}

impl CheckpointSettings {
    /// How the layer `name` is packed; `None` for a dense one.
    pub fn of(&self, name: &str) -> Option<LayerSettings> {
        let matching = self
            .overrides
            .iter()
            .find(|layers| layers.layers.find(name).is_some_and(|found| found.start() == 0));
        matching.map_or(Some(self.layer), |layers| layers.settings)
    }

    /// The settings that a configuration asks for, for all layers alike.
    ///
    /// # Errors
    /// A width that the format has not, or none.
    pub fn of_config(config: &QuantizeConfig) -> Result<Self> {
        let layer = LayerSettings {
            bits: config.bits()?,
            group_size: usize::try_from(config.group_size).ok(),
            symmetric: config.is_symmetric(),
        };
        rules::check_width(config.format, layer)?;
        Ok(Self { format: config.format, layer, overrides: Vec::new(), head: false })
    }

    /// The `quantization_config` object. What only we need to know of `config` is recorded
    /// under a key that loaders ignore.
    pub fn to_json(&self, config: &QuantizeConfig) -> Value {
        match self.format {
            Format::Gptq | Format::GptqV2 => gptq::to_json(self, config),
            Format::Awq => awq::to_json(self, config),
            Format::CompressedTensors => compressed_tensors::to_json(self, config),
            // The file's blocks say it all; this is for the record only.
            Format::Gguf => json!({ "quant_method": "gguf", "meta": meta(self, config) }),
        }
    }

    /// Reads a `quantization_config` object of the file `path`.
    ///
    /// # Errors
    /// [`Error::QuantizationConfig`] for a method, width or setting that is not supported.
    pub fn from_json(value: &Value, path: &Path) -> Result<Self> {
        let file = ConfigFile { path };
        match value["quant_method"].as_str() {
            Some("awq") => awq::from_json(value, file),
            None if !value["w_bit"].is_null() => awq::from_json(value, file),
            // Files written before the key existed are GPTQ's.
            None | Some("gptq") => gptq::from_json(value, file),
            Some("compressed-tensors") => compressed_tensors::from_json(value, file),
            Some(_) => {
                let expected = "\"gptq\", \"awq\" or \"compressed-tensors\"";
                Err(file.wrong("quant_method", expected, &value["quant_method"]))
            }
        }
    }
}

/// What loaders ignore, and we want to know: how the codes were chosen.
pub(crate) fn meta(settings: &CheckpointSettings, config: &QuantizeConfig) -> Value {
    json!({
        "quantizer": [concat!("limbeck:", env!("CARGO_PKG_VERSION"))],
        "method": config.method.name(),
        "symmetric": settings.layer.symmetric,
        "damp_percent": config.damping,
        "static_groups": config.order == Order::Activation,
        "order": config.order.name(),
        "mse_search": config.mse_search,
        "signed_scale": config.signed_scale,
    })
}

/// The layer that a pattern names, if it is a name with its signs escaped; else the pattern.
pub(crate) fn plain_name(pattern: &Regex) -> String {
    let pattern = pattern.as_str();
    let bare = pattern.trim_start_matches('^').trim_end_matches('$');
    let name = bare.replace('\\', "");
    if regex::escape(&name) == bare { name } else { pattern.to_owned() }
}

/// The file that an error about a setting names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConfigFile<'a> {
    path: &'a Path,
}

impl ConfigFile<'_> {
    pub(crate) fn wrong(self, key: &str, expected: &str, found: &Value) -> Error {
        Error::QuantizationConfig {
            path: self.path.to_owned(),
            key: key.to_owned(),
            expected: expected.to_owned(),
            found: if found.is_null() { "nothing".to_owned() } else { found.to_string() },
        }
    }

    /// The width of the codes under `key`.
    pub(crate) fn bits(self, value: &Value, key: &str) -> Result<Bits> {
        let bits = value[key].as_u64().and_then(Bits::new);
        bits.ok_or_else(|| self.wrong(key, Bits::SUPPORTED, &value[key]))
    }

    /// Input features of a group under `key`; `None` = all of a layer.
    pub(crate) fn group_size(self, value: &Value, key: &str) -> Result<Option<usize>> {
        match value[key].as_i64() {
            Some(-1) => Ok(None),
            Some(size) if size > 0 => Ok(Some(size as usize)),
            _ => Err(self.wrong(key, "a number above 0, or -1", &value[key])),
        }
    }

    /// A pattern of layers' names.
    pub(crate) fn pattern(self, key: &str, pattern: &str) -> Result<Regex> {
        let expected = "a regular expression without look-around";
        Regex::new(pattern).map_err(|_| self.wrong(key, expected, &Value::from(pattern)))
    }
}
