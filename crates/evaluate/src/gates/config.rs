//! The table `[gates]`: thresholds for all models and for single ones.

use std::collections::BTreeMap;

use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

/// When a limit counts as broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Where the figure is beyond the limit and the problems show it: of a drop, the paired 95%
    /// interval leaves out 0; of a rate, its whole 95% interval lies beyond the limit. Chance
    /// alone then stops a pipeline rarely.
    #[default]
    Shown,
    /// Where the figure is beyond the limit, whatever its interval.
    Value,
}

/// Keys of `[gates]`. Rates and drops are in points of 100.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatesConfig {
    /// `shown` or `value`. Default `shown`.
    pub rule: Rule,
    /// For models that have no table of their own. Default none.
    pub default: Thresholds,
    /// By the name of the model in its evaluation; a table replaces `default` as a whole.
    pub models: BTreeMap<String, Thresholds>,
}

/// Limits of a model; what is not set is not checked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// The model that drops are from. Default the first of `--reference`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Least accuracy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_accuracy: Option<f64>,
    /// Most points of accuracy below the reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_accuracy_drop: Option<f64>,
    /// Least share of whole chains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_completion: Option<f64>,
    /// Most points of whole chains below the reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_completion_drop: Option<f64>,
    /// Most replies cut at the token limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_truncation: Option<f64>,
    /// Most seconds to the first token, of 95 of 100 requests, one at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_time_to_first_token: Option<f64>,
    /// Most seconds for a token after the first, of 95 of 100 requests, one at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_time_per_output_token: Option<f64>,
    /// Least tokens generated a second, at the batch of the evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_tokens_per_second: Option<f64>,
    /// Most bytes of the process at its highest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_memory_bytes: Option<u64>,
    /// Most bytes of the weight files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_weight_bytes: Option<u64>,
}

impl GatesConfig {
    /// The limits of a model.
    pub fn of(&self, model: &str) -> &Thresholds {
        self.models.get(model).unwrap_or(&self.default)
    }
}

impl Validate for GatesConfig {
    fn validate(&self) -> Result<(), Invalid> {
        self.default.validate().map_err(|invalid| invalid.within("default"))?;
        for (name, thresholds) in &self.models {
            thresholds.validate().map_err(|invalid| invalid.within(name).within("models"))?;
            if thresholds.reference.as_ref() == Some(name) {
                let field = format!("models.{name}.reference");
                return Err(Invalid::new(field, "another model", name));
            }
        }
        Ok(())
    }
}

impl Validate for Thresholds {
    fn validate(&self) -> Result<(), Invalid> {
        let points = [
            ("min_accuracy", self.min_accuracy),
            ("max_accuracy_drop", self.max_accuracy_drop),
            ("min_completion", self.min_completion),
            ("max_completion_drop", self.max_completion_drop),
            ("max_truncation", self.max_truncation),
        ];
        for (field, value) in points {
            if let Some(value) = value.filter(|value| !(0.0..=100.0).contains(value)) {
                return Err(Invalid::new(field, "points from 0 to 100", value));
            }
        }
        let amounts = [
            ("max_time_to_first_token", self.max_time_to_first_token),
            ("max_time_per_output_token", self.max_time_per_output_token),
            ("min_tokens_per_second", self.min_tokens_per_second),
        ];
        for (field, value) in amounts {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value > 0.0)) {
                return Err(Invalid::new(field, "a number above 0", value));
            }
        }
        let bytes = [
            ("max_memory_bytes", self.max_memory_bytes),
            ("max_weight_bytes", self.max_weight_bytes),
        ];
        match bytes.into_iter().find(|(_, value)| *value == Some(0)) {
            Some((field, _)) => Err(Invalid::new(field, "at least 1", 0)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use limbeck_run::config;

    use super::*;

    fn parse(text: &str) -> limbeck_run::Result<GatesConfig> {
        config::parse_section(&text.parse().unwrap(), "gates", "run.toml")
    }

    #[test]
    fn a_model_has_its_own_table_or_the_default() {
        let config = parse(
            "[gates]\nrule = 'value'\n[gates.default]\nmin_accuracy = 90\n\
             [gates.models.gptq-4bit]\nreference = 'tuned'\nmax_accuracy_drop = 2.5\n",
        )
        .unwrap();
        assert_eq!(config.rule, Rule::Value);
        assert_eq!(config.of("distilled").min_accuracy, Some(90.0));
        let own = config.of("gptq-4bit");
        assert_eq!((own.min_accuracy, own.max_accuracy_drop), (None, Some(2.5)));
        assert_eq!(parse("").unwrap(), GatesConfig::default());
    }

    #[test]
    fn impossible_limits_name_their_key() {
        let cases = [
            ("[gates.default]\nmin_accuracy = 101\n", "gates.default.min_accuracy"),
            ("[gates.models.a]\nmax_memory_bytes = 0\n", "gates.models.a.max_memory_bytes"),
            ("[gates.models.a]\nreference = 'a'\n", "gates.models.a.reference"),
            ("[gates.default]\nmin_tokens_per_second = -1\n", "min_tokens_per_second"),
            ("[gates.default]\nmax_latency = 1\n", "max_latency"),
        ];
        for (text, key) in cases {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
