//! How a model is evaluated.

use limbeck_infer::{EngineConfig, SamplingParams};
use limbeck_model::CacheDtype;
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

use crate::chain::TeacherConfig;
use crate::task::{Classes, Style};

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
    /// Replies to each problem, where its task does not say; more than one needs a temperature.
    /// Default 1.
    pub repeats: usize,
    /// How prompts are put, `chat` or `raw`, instead of how each task says. Default: as the task
    /// says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style: Option<Style>,
    /// Whether scores are the same bit by bit, however problems are batched. Several times
    /// slower; on the CPU only. Default false.
    pub deterministic: bool,
    /// Problems used of each task, spread evenly over it; 0 for all. Default 0.
    pub limit: usize,
    /// The two answers that cases are told apart by, where a task does not name its own: adds
    /// recall, false-positive rate and precision. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Classes>,
    /// Problems, of those with chains, whose attention over the records' own chains is kept.
    /// Default 0.
    pub attention: usize,
    /// Latency and throughput under load.
    pub loads: LoadsConfig,
    /// What a teacher is asked of wrong replies, where there is one.
    pub teacher: TeacherConfig,
    /// Fixes the draws of sampling. Default 0.
    pub seed: u64,
}

/// The `[evaluate.loads]` table: how latency is measured, beside the evaluation itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoadsConfig {
    /// Requests at a time, measured one after another. Default none.
    pub batches: Vec<usize>,
    /// Requests of each; at least one full batch is run. Default 32.
    pub requests: usize,
    /// Tokens generated for each. Default 64.
    pub new_tokens: usize,
}

impl Default for LoadsConfig {
    fn default() -> Self {
        Self { batches: Vec::new(), requests: 32, new_tokens: 64 }
    }
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
            repeats: 1,
            style: None,
            deterministic: false,
            limit: 0,
            classes: None,
            attention: 0,
            loads: LoadsConfig::default(),
            teacher: TeacherConfig::default(),
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
            deterministic: self.deterministic,
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
}

impl Validate for EvaluateConfig {
    fn validate(&self) -> Result<(), Invalid> {
        self.engine().validate()?;
        if self.repeats == 0 {
            return Err(Invalid::new("repeats", "at least 1", self.repeats));
        }
        let LoadsConfig { batches, requests, new_tokens } = &self.loads;
        let smallest = batches.iter().copied().min().unwrap_or(1);
        for (field, value) in
            [("batches", smallest), ("requests", *requests), ("new_tokens", *new_tokens)]
        {
            if value == 0 {
                return Err(Invalid::new(field, "at least 1", value).within("loads"));
            }
        }
        self.teacher.validate().map_err(|invalid| invalid.within("teacher"))?;
        self.sampling(&[]).validate()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
