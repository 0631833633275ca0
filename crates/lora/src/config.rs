//! PEFT's `adapter_config.json`.
//!
//! Reading follows PEFT: keys that it does not know are ignored. Keys that it does know
//! and that change what the adapter computes are refused unless they are off, as an
//! adapter read without them would be another adapter.

use std::path::{Path, PathBuf};

use limbeck_core::checkpoint::read_json;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::target::{EMBEDDING, PatternTable};
use crate::{Alpha, Error, Rank, Result, TargetModules};

/// What an adapter is, apart from its tensors.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AdapterConfig {
    /// Rank of the update, where no pattern says otherwise (`r`).
    pub rank: Rank,
    /// Numerator of the scale, where no pattern says otherwise (`lora_alpha`).
    pub alpha: Alpha,
    /// Probability with which an input of the update is dropped in training
    /// (`lora_dropout`).
    pub dropout: f64,
    /// Scale by alpha/√rank instead of alpha/rank.
    pub use_rslora: bool,
    /// Weight-decomposed adapters (`use_dora`; Liu et al. 2024, arXiv:2402.09353): the update
    /// turns the rows of the weight, and their lengths are parameters of their own.
    pub use_dora: bool,
    /// How the matrices begin (`init_lora_weights`).
    pub init: Init,
    /// The modules that are adapted.
    pub target_modules: TargetModules,
    /// Modules that are trained, and kept, whole (`modules_to_save`).
    pub modules_to_save: Vec<String>,
    /// Ranks of modules whose name matches; the first match counts.
    pub rank_pattern: Vec<(String, Rank)>,
    /// Alphas of modules whose name matches, independently of `rank_pattern`.
    pub alpha_pattern: Vec<(String, Alpha)>,
    /// Folder or name of the base model (`base_model_name_or_path`).
    pub base_model: Option<String>,
    /// The base model's revision.
    pub revision: Option<String>,
}

/// How an adapter's matrices begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// A uniform, B zero: the adapter begins as nothing.
    #[default]
    Default,
    /// A and B are the base's first singular vectors, and the update is the difference from
    /// them (PiSSA; Meng et al. 2024, arXiv:2404.02948): see [`crate::pissa`].
    Pissa,
}

/// A module to adapt, with everything resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct ModulePlan {
    /// The module's name, such as `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// Its rank.
    pub rank: Rank,
    /// The factor of its update.
    pub scale: f64,
}

impl ModulePlan {
    /// Whether it is the token embedding, whose matrices lie the other way round.
    pub fn is_embedding(&self) -> bool {
        self.name == EMBEDDING
    }
}

impl AdapterConfig {
    /// Name of the file in an adapter's folder.
    pub const FILE: &'static str = "adapter_config.json";

    /// Resolves targets and patterns against the names of a model's projections.
    ///
    /// # Errors
    /// [`Error::Unmatched`] for a target or a pattern that nothing matches;
    /// [`Error::Pattern`]; [`Error::Refused`] for an embedding with `use_dora`.
    pub fn resolve(&self, linears: &[String]) -> Result<Vec<ModulePlan>> {
        let names = self.target_modules.resolve(linears)?;
        let ranks = PatternTable::new("rank_pattern", &self.rank_pattern)?;
        let alphas = PatternTable::new("alpha_pattern", &self.alpha_pattern)?;
        ranks.require_matches(&names)?;
        alphas.require_matches(&names)?;
        if self.use_dora && names.iter().any(|name| name == EMBEDDING) {
            return Err(Error::Refused {
                what: EMBEDDING.to_owned(),
                operation: "adapted with use_dora",
                reason: "only projections can",
            });
        }
        Ok(names
            .into_iter()
            .map(|name| {
                let rank = ranks.get(&name).unwrap_or(self.rank);
                let alpha = alphas.get(&name).unwrap_or(self.alpha);
                ModulePlan { name, rank, scale: alpha.scale(rank, self.use_rslora) }
            })
            .collect())
    }

    /// Reads the file in `folder`.
    ///
    /// # Errors
    /// A file that is missing or no JSON; [`Error::Config`]; [`Error::Unsupported`].
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(Self::FILE);
        let value = read_json(&path)?;
        Self::from_json(&value, &path)
    }

    /// Takes the file's content; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Config`]; [`Error::Unsupported`].
    pub fn from_json(value: &Value, path: &Path) -> Result<Self> {
        let source = Source { path, keys: value };
        if !value.is_object() {
            return Err(source.wrong("(the whole file)", "an object", value));
        }
        source.refuse_unsupported()?;
        Ok(Self {
            rank: source.rank("r", &value["r"])?,
            alpha: source.alpha("lora_alpha", &value["lora_alpha"])?,
            dropout: source.dropout()?,
            use_rslora: source.flag("use_rslora")?,
            use_dora: source.flag("use_dora")?,
            init: source.init(),
            target_modules: source.target_modules()?,
            modules_to_save: source.modules_to_save()?,
            rank_pattern: source.table("rank_pattern", Source::rank)?,
            alpha_pattern: source.table("alpha_pattern", Source::alpha)?,
            base_model: source.text("base_model_name_or_path")?,
            revision: source.text("revision")?,
        })
    }

    /// The file's content, for an adapter that is read and no longer trained: its tensors are
    /// those of a plain update whatever it began as.
    pub fn to_json(&self) -> Value {
        let saved = Some(&self.modules_to_save).filter(|names| !names.is_empty());
        json!({
            "alpha_pattern": pattern_json(&self.alpha_pattern, |alpha| number_json(alpha.get())),
            "base_model_name_or_path": self.base_model,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "lora_alpha": number_json(self.alpha.get()),
            "lora_bias": false,
            "lora_dropout": self.dropout,
            "modules_to_save": saved,
            "peft_type": "LORA",
            "r": self.rank.get(),
            "rank_pattern": pattern_json(&self.rank_pattern, |rank| rank.get().into()),
            "revision": self.revision,
            "target_modules": self.target_modules,
            "task_type": "CAUSAL_LM",
            "use_dora": self.use_dora,
            "use_rslora": self.use_rslora,
        })
    }

    /// Writes the file into the existing `folder`.
    ///
    /// # Errors
    /// Write errors.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut text = format!("{:#}", self.to_json());
        text.push('\n');
        Ok(limbeck_run::write_file(&folder.join(Self::FILE), text.as_bytes())?)
    }
}

fn pattern_json<T: Copy>(entries: &[(String, T)], value: impl Fn(T) -> Value) -> Value {
    let entries: Map<String, Value> =
        entries.iter().map(|(pattern, entry)| (pattern.clone(), value(*entry))).collect();
    Value::Object(entries)
}

/// A whole number without a fraction: readers that expect an integer exist.
fn number_json(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 { json!(number as i64) } else { json!(number) }
}

/// A key that changes what an adapter computes.
struct Refused {
    key: &'static str,
    /// Whether a value of it leaves plain LoRA.
    is_plain: fn(&Value) -> bool,
    /// What such a value is called in a message.
    expected: &'static str,
}

const fn must_be_off(key: &'static str) -> Refused {
    Refused { key, is_plain: is_off, expected: "false or null" }
}

const REFUSED: [Refused; 18] = [
    Refused { key: "bias", is_plain: is_none_word, expected: "\"none\"" },
    must_be_off("lora_bias"),
    must_be_off("fan_in_fan_out"),
    must_be_off("trainable_token_indices"),
    must_be_off("target_parameters"),
    must_be_off("exclude_modules"),
    must_be_off("layers_to_transform"),
    must_be_off("layer_replication"),
    must_be_off("alora_invocation_tokens"),
    must_be_off("arrow_config"),
    must_be_off("kasa_config"),
    must_be_off("monteclora_config"),
    must_be_off("velora_config"),
    must_be_off("megatron_config"),
    must_be_off("use_qalora"),
    must_be_off("use_bdlora"),
    must_be_off("ensure_weight_tying"),
    Refused {
        key: "init_lora_weights",
        is_plain: keeps_base,
        expected: "an initialisation that leaves the base's weights alone",
    },
];

const PISSA: &str = "pissa";

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

fn is_none_word(value: &Value) -> bool {
    value.is_null() || value == "none"
}

/// The other initialisations (`pissa_niter_*`, `olora`, `corda`, `loftq`) subtract the first
/// update from the base's weights: the adapter is one for that residual, which a base read
/// from its folder is not. That of `pissa` follows from the base and is put back.
fn keeps_base(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => true,
        Value::String(name) => ["gaussian", "orthogonal", "eva", PISSA].contains(&name.as_str()),
        _ => false,
    }
}

/// The file being read.
struct Source<'a> {
    path: &'a Path,
    keys: &'a Value,
}

impl Source<'_> {
    fn wrong(&self, key: &str, expected: &str, found: &Value) -> Error {
        let found = if found.is_null() { "nothing".to_owned() } else { found.to_string() };
        Error::Config {
            path: PathBuf::from(self.path),
            key: key.to_owned(),
            expected: expected.to_owned(),
            found,
        }
    }

    fn refuse_unsupported(&self) -> Result<()> {
        let unsupported = |key: &str, expected: &str| {
            Err(Error::Unsupported {
                path: PathBuf::from(self.path),
                key: key.to_owned(),
                expected: expected.to_owned(),
                found: self.keys[key].to_string(),
            })
        };
        match &self.keys["peft_type"] {
            Value::String(name) if name == "LORA" => {}
            Value::String(_) => return unsupported("peft_type", "\"LORA\""),
            other => return Err(self.wrong("peft_type", "\"LORA\"", other)),
        }
        for Refused { key, is_plain, expected } in REFUSED {
            if !is_plain(&self.keys[key]) {
                return unsupported(key, expected);
            }
        }
        Ok(())
    }

    fn rank(&self, key: &str, value: &Value) -> Result<Rank> {
        value
            .as_i64()
            .and_then(|rank| Rank::new(rank).ok())
            .ok_or_else(|| self.wrong(key, "a whole number of at least 1", value))
    }

    fn alpha(&self, key: &str, value: &Value) -> Result<Alpha> {
        value
            .as_f64()
            .and_then(|alpha| Alpha::new(alpha).ok())
            .ok_or_else(|| self.wrong(key, "a number above 0", value))
    }

    fn dropout(&self) -> Result<f64> {
        match &self.keys["lora_dropout"] {
            Value::Null => Ok(0.0),
            value => value
                .as_f64()
                .filter(|dropout| (0.0..1.0).contains(dropout))
                .ok_or_else(|| self.wrong("lora_dropout", "a number from 0 to below 1", value)),
        }
    }

    fn flag(&self, key: &str) -> Result<bool> {
        match &self.keys[key] {
            Value::Null => Ok(false),
            value => value.as_bool().ok_or_else(|| self.wrong(key, "true or false", value)),
        }
    }

    fn init(&self) -> Init {
        if self.keys["init_lora_weights"] == PISSA { Init::Pissa } else { Init::Default }
    }

    fn modules_to_save(&self) -> Result<Vec<String>> {
        let value = &self.keys["modules_to_save"];
        let wrong = || self.wrong("modules_to_save", "a list of module names", value);
        match value {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect(),
            _ => Err(wrong()),
        }
    }

    fn text(&self, key: &str) -> Result<Option<String>> {
        match &self.keys[key] {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            other => Err(self.wrong(key, "a string", other)),
        }
    }

    fn target_modules(&self) -> Result<TargetModules> {
        let value = &self.keys["target_modules"];
        let wrong = || self.wrong("target_modules", "a string or a list of module names", value);
        match value {
            Value::String(text) => Ok(text.as_str().into()),
            Value::Array(items) if !items.is_empty() => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect::<Result<_>>()
                .map(TargetModules::Names),
            _ => Err(wrong()),
        }
    }

    fn table<T>(
        &self,
        key: &str,
        read: fn(&Self, &str, &Value) -> Result<T>,
    ) -> Result<Vec<(String, T)>> {
        match &self.keys[key] {
            Value::Null => Ok(Vec::new()),
            Value::Object(entries) => entries
                .iter()
                .map(|(pattern, value)| {
                    Ok((pattern.clone(), read(self, &format!("{key}.{pattern}"), value)?))
                })
                .collect(),
            other => Err(self.wrong(key, "an object from patterns to numbers", other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minimal() -> Value {
        json!({ "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"] })
    }

    fn read(value: &Value) -> Result<AdapterConfig> {
        AdapterConfig::from_json(value, Path::new("adapter_config.json"))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let config = AdapterConfig {
            rank: Rank::new(4).unwrap(),
            alpha: Alpha::new(6.5).unwrap(),
            dropout: 0.1,
            use_rslora: true,
            use_dora: true,
            init: Init::Default,
            modules_to_save: vec!["lm_head".into()],
            target_modules: TargetModules::Names(vec!["q_proj".into(), "down_proj".into()]),
            rank_pattern: vec![
                ("z".into(), Rank::new(2).unwrap()),
                ("a".into(), Rank::new(3).unwrap()),
            ],
            alpha_pattern: vec![("q_proj".into(), Alpha::new(3.0).unwrap())],
            base_model: Some("base".into()),
            revision: None,
        };
        let folder = tempfile::tempdir().unwrap();
        config.write(folder.path()).unwrap();
        assert_eq!(AdapterConfig::read(folder.path()).unwrap(), config);
        let value = config.to_json();
        assert_eq!(value["alpha_pattern"]["q_proj"].to_string(), "3");
        assert_eq!(value["lora_alpha"].to_string(), "6.5");
    }

    #[test]
    fn unknown_keys_are_ignored_and_optional_ones_have_pefts_defaults() {
        let mut value = minimal();
        value["a_key_of_the_future"] = json!({ "x": 1 });
        let config = read(&value).unwrap();
        assert!(!config.use_rslora && config.dropout == 0.0 && config.rank_pattern.is_empty());
    }

    #[test]
    fn what_would_change_the_result_is_refused_by_key() {
        for (key, setting) in [
            ("peft_type", json!("IA3")),
            ("bias", json!("lora_only")),
            ("lora_bias", json!(true)),
            ("fan_in_fan_out", json!(true)),
            ("init_lora_weights", json!("pissa_niter_4")),
            ("layers_to_transform", json!([0, 1])),
            ("alora_invocation_tokens", json!([5])),
        ] {
            let mut value = minimal();
            value[key] = setting.clone();
            let error = read(&value).unwrap_err();
            assert!(
                matches!(&error, Error::Unsupported { key: named, .. } if named == key),
                "{error}"
            );
            assert!(error.to_string().contains(&setting.to_string()), "{error}");
        }
    }

    #[test]
    fn missing_and_impossible_values_name_their_key() {
        for (key, setting) in [
            ("peft_type", Value::Null),
            ("r", Value::Null),
            ("r", json!(0)),
            ("r", json!(2.5)),
            ("lora_alpha", json!("8")),
            ("lora_dropout", json!(1.0)),
            ("use_rslora", json!("yes")),
            ("use_dora", json!(1)),
            ("modules_to_save", json!("lm_head")),
            ("target_modules", Value::Null),
            ("target_modules", json!([])),
            ("target_modules", json!(["q_proj", 3])),
            ("rank_pattern", json!([1])),
        ] {
            let mut value = minimal();
            value[key] = setting.clone();
            let error = read(&value).unwrap_err();
            assert!(matches!(&error, Error::Config { key: named, .. } if named == key), "{error}");
        }
        let mut value = minimal();
        value["rank_pattern"] = json!({ "q_proj": 0 });
        assert!(read(&value).unwrap_err().to_string().contains("rank_pattern.q_proj"));
        assert!(read(&json!([])).is_err());
    }

    #[test]
    fn ranks_and_alphas_resolve_independently() {
        let mut value = minimal();
        value["target_modules"] = json!(["q_proj", "down_proj"]);
        value["use_rslora"] = json!(true);
        value["rank_pattern"] = json!({ "down_proj": 16 });
        value["alpha_pattern"] = json!({ "b.q_proj": 3 });
        let names = ["a.q_proj", "b.q_proj", "a.down_proj", "a.up_proj"].map(str::to_owned);
        let plans = read(&value).unwrap().resolve(&names).unwrap();
        let found: Vec<(&str, i64, f64)> =
            plans.iter().map(|plan| (plan.name.as_str(), plan.rank.get(), plan.scale)).collect();
        assert_eq!(found, [("a.q_proj", 4, 4.0), ("b.q_proj", 4, 1.5), ("a.down_proj", 16, 2.0)]);
    }
}
