//! What an adapter is, and the hash that it is stored under.
//!
//! The hash is over what the adapter computes, not over how its files happen to be
//! written: PEFT lists `target_modules` in no fixed order, JSON may be indented, and a
//! safetensors header may have its tensors in any sequence. Where the base lay
//! (`base_model_name_or_path`, `revision`) is left out too, as the manifest says by hashes
//! which base it is, and so is `peft_version`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use limbeck_run::{digest, sha256_bytes};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::RegistryError;
use crate::{Adapter, AdapterConfig, Result};

/// The SHA-256 that an adapter is stored under: 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ContentHash(String);

impl ContentHash {
    /// All digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits: enough to tell versions apart at a glance.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl TryFrom<String> for ContentHash {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(is_digit) {
            Ok(Self(text))
        } else {
            Err(format!("expected 64 hexadecimal digits, found {text:?}"))
        }
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", self.0)
    }
}

/// An adapter's two files in memory, checked: what is hashed is what is stored.
#[derive(Debug)]
pub(super) struct Content {
    /// `adapter_config.json` as it was.
    pub(super) config: Vec<u8>,
    /// `adapter_model.safetensors` as it was.
    pub(super) tensors: Vec<u8>,
    /// Over both, canonically.
    pub(super) hash: ContentHash,
}

/// What every tensor of a PEFT file begins with.
const PREFIX: &str = "base_model.model.";

impl Content {
    /// Reads an adapter's folder.
    ///
    /// # Errors
    /// Files that are missing, damaged or not an adapter's that can be used here.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(|source| limbeck_run::Error::read(&path, source))
        };
        let (config, tensors) = (read(AdapterConfig::FILE)?, read(Adapter::TENSORS)?);

        let path = folder.join(AdapterConfig::FILE);
        let value: Value =
            serde_json::from_slice(&config).map_err(|source| RegistryError::Json {
                path: path.clone(),
                expected: "the configuration of a PEFT adapter",
                source,
            })?;
        let parsed = AdapterConfig::from_json(&value, &path)?;

        let mut parts = BTreeMap::new();
        let canonical = canonical_config(&value).to_string();
        parts.insert(AdapterConfig::FILE.to_owned(), sha256_bytes(canonical.as_bytes()));
        let path = folder.join(Adapter::TENSORS);
        let views = SafeTensors::deserialize(&tensors)
            .map_err(|source| RegistryError::Tensors { path: path.clone(), source })?;
        let mut shapes = BTreeMap::new();
        for (name, view) in views.tensors() {
            if !name.starts_with(PREFIX) {
                return Err(RegistryError::TensorName { path, tensor: name, prefix: PREFIX }.into());
            }
            shapes.insert(name.clone(), view.shape().to_vec());
            // As JSON, so that no name can pass for two.
            let part = json!([name, view.dtype(), view.shape()]).to_string();
            parts.insert(part, sha256_bytes(view.data()));
        }
        if parts.len() == 1 {
            return Err(RegistryError::NoTensors { path }.into());
        }
        check_ranks(&parsed, &shapes, &path)?;
        let hash = ContentHash(digest(&parts));
        Ok(Self { config, tensors, hash })
    }

    /// The SHA-256 of each file as it is stored.
    pub(super) fn files(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (AdapterConfig::FILE.to_owned(), sha256_bytes(&self.config)),
            (Adapter::TENSORS.to_owned(), sha256_bytes(&self.tensors)),
        ])
    }
}

/// Whether A and B come in pairs of a rank that the configuration has. Which of its ranks
/// a module has, only loading tells, as the model's names decide which pattern matches.
fn check_ranks(
    config: &AdapterConfig,
    shapes: &BTreeMap<String, Vec<usize>>,
    path: &Path,
) -> Result<()> {
    let patterns = config.rank_pattern.iter().map(|(_, rank)| rank.get());
    let ranks: BTreeSet<usize> =
        patterns.chain([config.rank.get()]).map(|rank| rank as usize).collect();
    for (name, shape) in shapes {
        for (ours, its, axis) in [("lora_A", "lora_B", 0), ("lora_B", "lora_A", 1)] {
            let Some(module) = name.strip_suffix(&format!(".{ours}.weight")) else { continue };
            let wrong = |expected: String, found: String| {
                let (path, tensor) = (path.to_owned(), name.clone());
                Err(RegistryError::TensorRank { path, tensor, expected, found }.into())
            };
            let other = format!("{module}.{its}.weight");
            if !shapes.contains_key(&other) {
                return wrong(format!("{other} beside it"), "it alone".to_owned());
            }
            if !shape.get(axis).is_some_and(|rank| shape.len() == 2 && ranks.contains(rank)) {
                let expected = format!("rank {ranks:?}, as {} has it", AdapterConfig::FILE);
                return wrong(expected, format!("shape {shape:?}"));
            }
        }
    }
    Ok(())
}

/// Where the base lay and who wrote the file, which do not change what is computed.
const LEFT_OUT: [&str; 3] = ["base_model_name_or_path", "revision", "peft_version"];

/// Keys in alphabetical order, and the lists that PEFT means as sets. The patterns keep
/// their order: the first that matches counts.
fn canonical_config(config: &Value) -> Value {
    let Value::Object(keys) = config else { return config.clone() };
    let mut sorted: BTreeMap<&String, Value> =
        keys.iter().map(|(key, value)| (key, value.clone())).collect();
    for key in LEFT_OUT {
        sorted.remove(&key.to_owned());
    }
    for set in ["target_modules", "modules_to_save"] {
        if let Some(Value::Array(items)) = sorted.get_mut(&set.to_owned()) {
            items.sort_by_key(ToString::to_string);
        }
    }
    Value::Object(
        sorted.into_iter().map(|(key, value)| (key.clone(), value)).collect::<Map<_, _>>(),
    )
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::{Dtype, TensorView};

    use super::super::tests::{Fixture, write_adapter};
    use super::*;
    use crate::Error;

    fn hash_of(config: &Value, tensors: &[(&str, f32)]) -> ContentHash {
        let folder = tempfile::tempdir().unwrap();
        write_adapter(folder.path(), config, tensors);
        Content::read(folder.path()).unwrap().hash
    }

    #[test]
    fn the_hash_is_of_the_content_and_not_of_its_writing() {
        let config = json!({ "peft_type": "LORA", "r": 1, "lora_alpha": 2,
            "target_modules": ["q_proj", "v_proj"], "base_model_name_or_path": "here" });
        let written_otherwise = json!({ "base_model_name_or_path": "there", "peft_version": "0.21.2",
            "target_modules": ["v_proj", "q_proj"], "lora_alpha": 2, "r": 1, "peft_type": "LORA" });
        let tensors = [("a", 1.0), ("b", 2.0)];
        let hash = hash_of(&config, &tensors);
        assert_eq!(hash_of(&written_otherwise, &[("b", 2.0), ("a", 1.0)]), hash);

        let mut other = config.clone();
        other["lora_alpha"] = json!(4);
        assert_ne!(hash_of(&other, &tensors), hash);
        assert_ne!(hash_of(&config, &[("a", 1.0), ("b", 2.5)]), hash);
        assert_ne!(hash_of(&config, &[("a", 2.0), ("b", 1.0)]), hash);
        assert_ne!(hash_of(&config, &[("a", 1.0), ("c", 2.0)]), hash);
        // The first pattern that matches counts, so that their order is content.
        let patterns = |text: &str| {
            let mut config = config.clone();
            config["rank_pattern"] = serde_json::from_str(text).unwrap();
            hash_of(&config, &tensors)
        };
        assert_ne!(
            patterns(r#"{"q_proj": 1, "proj": 2}"#),
            patterns(r#"{"proj": 2, "q_proj": 1}"#)
        );
    }

    #[test]
    fn a_folder_that_holds_no_adapter_is_refused_by_file() {
        let fixture = Fixture::new();
        let adapter = fixture.adapter(1.0);
        let tensors = adapter.join(Adapter::TENSORS);
        let whole = fs::read(&tensors).unwrap();
        fs::write(&tensors, &whole[..whole.len() - 1]).unwrap();
        let error = Content::read(&adapter).unwrap_err();
        assert!(error.to_string().contains(Adapter::TENSORS), "{error}");

        let config = json!({ "peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": "x" });
        write_adapter(&adapter, &config, &[]);
        assert!(Content::read(&adapter).unwrap_err().to_string().contains("no tensor"));

        write_adapter(&adapter, &json!({ "peft_type": "IA3" }), &[("a", 1.0)]);
        assert!(matches!(Content::read(&adapter).unwrap_err(), Error::Unsupported { .. }));

        let config = json!({ "peft_type": "LORA", "r": 8, "lora_alpha": 2, "target_modules": "x" });
        for (tensors, said) in [
            (&[("x.lora_A.weight", 1.0), ("x.lora_B.weight", 1.0)][..], "rank {8}"),
            (&[("x.lora_A.weight", 1.0)], "x.lora_B.weight beside it"),
        ] {
            write_adapter(&adapter, &config, tensors);
            let error = Content::read(&adapter).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }

        let views = [("x.lora_A.weight", TensorView::new(Dtype::F32, vec![0], &[]).unwrap())];
        fs::write(&tensors, safetensors::serialize(views, None).unwrap()).unwrap();
        let error = Content::read(&adapter).unwrap_err().to_string();
        assert!(error.contains("x.lora_A.weight: expected a name that begins"), "{error}");

        fs::remove_file(&tensors).unwrap();
        assert!(Content::read(&adapter).unwrap_err().to_string().contains(Adapter::TENSORS));
    }
}
