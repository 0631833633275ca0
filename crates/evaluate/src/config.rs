//! How a model is evaluated.

use limbeck_infer::{EngineConfig, SamplingParams};
use limbeck_model::CacheDtype;
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

/// The `[evaluate]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluateConfig {
    /// Most tokens of a reply; a longer one is cut and counted as truncated. Default 256.
    pub max_new_tokens: usize,
    /// Most problems decoded together. Default 128.
    pub max_batch: usize,
    /// Most bytes of keys and values that a batch may need; fewer problems are decoded
    /// together where the model needs more. Default 1 GiB.
    pub max_cache_bytes: u64,
    /// How keys and values are held: `compute`, in the model's dtype, or `int8`. Default
    /// `compute`.
    pub cache_dtype: CacheDtype,
    /// Sampling temperature; 0 takes the most likely token. Default 0.
    pub temperature: f64,
    /// Nucleus of sampling; without effect at temperature 0. Default 1.
    pub top_p: f64,
    /// Problems used, spread evenly over the task; 0 for all. Default 0.
    pub limit: usize,
    /// Fixes the draws of sampling. Default 0.
    pub seed: u64,
}

impl Default for EvaluateConfig {
    fn default() -> Self {
        let engine = EngineConfig::default();
        Self {
            max_new_tokens: 256,
            max_batch: engine.max_batch,
            max_cache_bytes: engine.max_cache_bytes,
            cache_dtype: engine.cache_dtype,
            temperature: 0.0,
            top_p: 1.0,
            limit: 0,
            seed: 0,
        }
    }
}

impl EvaluateConfig {
    /// The limits of the engine.
    pub fn engine(&self) -> EngineConfig {
        EngineConfig {
            max_batch: self.max_batch,
            max_cache_bytes: self.max_cache_bytes,
            cache_dtype: self.cache_dtype,
            ..EngineConfig::default()
        }
    }

    /// The settings of generation, ended by `stop_token_ids`.
    pub fn sampling(&self, stop_token_ids: &[i64]) -> SamplingParams {
        SamplingParams {
            max_new_tokens: self.max_new_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            seed: self.seed,
            stop_token_ids: stop_token_ids.to_vec(),
            ..SamplingParams::default()
        }
    }

    /// Places of the problems used among `total`, in order.
    pub(crate) fn selection(&self, total: usize) -> Vec<usize> {
        if self.limit == 0 || self.limit >= total {
            return (0..total).collect();
        }
        (0..self.limit).map(|place| place * total / self.limit).collect()
    }
}

impl Validate for EvaluateConfig {
    fn validate(&self) -> Result<(), Invalid> {
        self.engine().validate()?;
        self.sampling(&[]).validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_takes_problems_from_the_whole_task() {
        let config = EvaluateConfig { limit: 4, ..EvaluateConfig::default() };
        assert_eq!(config.selection(12), [0, 3, 6, 9]);
        assert_eq!(config.selection(5), [0, 1, 2, 3]);
        assert_eq!(config.selection(3), [0, 1, 2]);
        assert_eq!(EvaluateConfig::default().selection(3), [0, 1, 2]);
    }

    #[test]
    fn impossible_values_name_their_key() {
        EvaluateConfig::default().validate().unwrap();
        let default = EvaluateConfig::default;
        let cases = [
            ("max_new_tokens", EvaluateConfig { max_new_tokens: 0, ..default() }),
            ("max_batch", EvaluateConfig { max_batch: 0, ..default() }),
            ("temperature", EvaluateConfig { temperature: f64::INFINITY, ..default() }),
        ];
        for (field, config) in cases {
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }
}
