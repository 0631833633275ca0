//! Whether a model that was made smaller still reasons as the one that it was made from.
//!
//! Perplexity does not show what breaks: a model that no longer closes its chains, or repeats
//! itself until it is cut, may lose a percent of it. So replies are compared too.

use std::fmt;

use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

use crate::divergence::Divergence;
use crate::evaluation::Evaluation;

/// What subtracting two rates may add, in points.
const ROUNDING: f64 = 1e-9;

/// Limits on what may be lost; the `gate` table of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateConfig {
    /// Records that both models solve, spread evenly over those given; 0 for no gate. Default
    /// 0.
    pub records: usize,
    /// Most nats of KL(original ‖ model) a token of the records' own chains, on average.
    /// Default 0.1.
    pub max_kl: f64,
    /// Most points of accuracy lost, of 100. Default 2.
    pub max_accuracy_drop: f64,
    /// Most points of chains lost that close, are not cut and check step by step. Default 3.
    pub max_completion_drop: f64,
    /// Most points gained in replies that are cut at the limit: repetition. Default 2.
    pub max_truncation_rise: f64,
    /// Most tokens of a reply. Default 256.
    pub max_new_tokens: usize,
}

impl Default for GateConfig {
    fn default() -> Self {
        Self {
            records: 0,
            max_kl: 0.1,
            max_accuracy_drop: 2.0,
            max_completion_drop: 3.0,
            max_truncation_rise: 2.0,
            max_new_tokens: 256,
        }
    }
}

impl Validate for GateConfig {
    fn validate(&self) -> Result<(), Invalid> {
        let limits = [
            ("max_kl", self.max_kl),
            ("max_accuracy_drop", self.max_accuracy_drop),
            ("max_completion_drop", self.max_completion_drop),
            ("max_truncation_rise", self.max_truncation_rise),
        ];
        for (field, limit) in limits {
            if limit.is_nan() || limit < 0.0 {
                return Err(Invalid::new(field, "a number from 0 up", limit));
            }
        }
        if self.max_new_tokens == 0 {
            return Err(Invalid::new("max_new_tokens", "at least 1", self.max_new_tokens));
        }
        Ok(())
    }
}

/// A figure of a gate beside its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What was measured.
    pub name: String,
    /// Of the original, in points of 100; `None` of a distance between both.
    pub original: Option<f64>,
    /// Of the model, or the distance.
    pub found: f64,
    /// The most that may be lost, gained or lie between them.
    pub limit: f64,
    /// Whether it is within the limit.
    pub passed: bool,
}

impl fmt::Display for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, found, limit, .. } = self;
        match self.original {
            Some(original) => write!(
                formatter,
                "{name} {found:.1} % against {original:.1} %, where {limit} points may lie between"
            ),
            None => write!(formatter, "{name} {found:.4}, where {limit} is the most"),
        }
    }
}

/// The figures of a gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    /// Records that both models solved.
    pub records: u64,
    /// Between the distributions of both.
    pub divergence: Divergence,
    /// Figures beside their limits.
    pub checks: Vec<Check>,
}

impl Gate {
    /// Holds what was measured against the limits.
    pub fn new(
        config: &GateConfig,
        divergence: Divergence,
        original: &Evaluation,
        model: &Evaluation,
    ) -> Self {
        let (before, after) = (&original.overall, &model.overall);
        let lost = |name: &str, before: f64, after: f64, limit: f64, sign: f64| Check {
            name: name.to_owned(),
            original: Some(100.0 * before),
            found: 100.0 * after,
            limit,
            passed: 100.0 * sign * (before - after) <= limit + ROUNDING,
        };
        let checks = vec![
            Check {
                name: "KL a token".to_owned(),
                original: None,
                found: divergence.mean_kl,
                limit: config.max_kl,
                passed: divergence.mean_kl <= config.max_kl,
            },
            lost(
                "accuracy",
                before.accuracy.value,
                after.accuracy.value,
                config.max_accuracy_drop,
                1.0,
            ),
            lost(
                "whole chains",
                before.cot_completion.value,
                after.cot_completion.value,
                config.max_completion_drop,
                1.0,
            ),
            lost(
                "cut replies",
                before.truncation.value,
                after.truncation.value,
                config.max_truncation_rise,
                -1.0,
            ),
        ];
        Self { records: after.n, divergence, checks }
    }

    /// The figures beyond their limits.
    pub fn failures(&self) -> Vec<&Check> {
        self.checks.iter().filter(|check| !check.passed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Cost;
    use crate::scores::Scores;
    use crate::scores::tests::sample;

    fn divergence(mean_kl: f64) -> Divergence {
        Divergence {
            reference: "original".to_owned(),
            tokens: 100,
            mean_kl,
            standard_error: None,
            kl_99: mean_kl,
            max_kl: mean_kl,
            top_agreement: 1.0,
            reference_perplexity: 2.0,
            perplexity: 2.0,
        }
    }

    fn evaluation(right: usize) -> Evaluation {
        let samples: Vec<_> =
            (0..100).map(|place| sample(&place.to_string(), "x", 1, place < right)).collect();
        Evaluation {
            model: "m".to_owned(),
            config: crate::EvaluateConfig::default(),
            overall: Scores::of(&samples),
            groups: Vec::new(),
            cost: Cost::new(1, 1, 0, 0, 1.0),
            chat_template_sha256: String::new(),
            divergence: None,
            fit: None,
            tasks: Vec::new(),
            lm_eval_samples: std::collections::BTreeMap::new(),
            samples,
        }
    }

    #[test]
    fn limits_hold_in_both_directions() {
        let config = GateConfig { records: 100, ..GateConfig::default() };
        let names = |mean_kl: f64, before: usize, after: usize| -> Vec<String> {
            let gate =
                Gate::new(&config, divergence(mean_kl), &evaluation(before), &evaluation(after));
            gate.failures().into_iter().map(|check| check.name.clone()).collect()
        };
        assert!(names(0.1, 95, 93).is_empty());
        // 92 % less 90 % is a little more than two points in floating point.
        assert!(names(0.1, 92, 90).is_empty());
        assert_eq!(names(0.2, 95, 93), ["KL a token"]);
        // A reply that is wrong here is no whole chain either.
        assert_eq!(names(0.0, 95, 92), ["accuracy"]);
        assert_eq!(names(0.0, 95, 91), ["accuracy", "whole chains"]);
        assert!(names(0.0, 90, 99).is_empty(), "what got better is no failure");
    }

    #[test]
    fn impossible_limits_name_their_key() {
        GateConfig::default().validate().unwrap();
        let config = GateConfig { max_kl: f64::NAN, ..GateConfig::default() };
        assert_eq!(config.validate().unwrap_err().field, "max_kl");
    }
}
