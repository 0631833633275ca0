//! What the replies cost.
//!
//! [`flops`] and weights are counted from the model's configuration; [`load`] is measured by a
//! run of its own, [`energy`] by the machine's counters while replies are generated.

pub mod energy;
pub mod flops;
pub mod load;

pub use energy::EnergyMeter;
pub use flops::{active_parameters, flops_per_token};

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;

/// Percentiles of a time, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// 95 of 100 are at most this.
    pub p95: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
}

/// How a model answers so many requests at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Requests at a time.
    pub batch: usize,
    /// Requests in all.
    pub requests: u64,
    /// Tokens generated a second, over all requests.
    pub tokens_per_second: f64,
    /// From a request's beginning to its first token.
    pub time_to_first_token: Percentiles,
    /// Mean time between a reply's tokens after the first.
    pub time_per_output_token: Percentiles,
    /// From a request's beginning to its end.
    pub latency: Percentiles,
}

/// Energy used while tokens were generated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Energy {
    /// Where it was read: `rapl` or `nvml`.
    pub source: String,
    /// Joules in all, idle draw included.
    pub joules: f64,
    /// Joules a generated token.
    pub joules_per_token: f64,
}

/// Size, speed and memory of an evaluated model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Weights of the model, however they are stored.
    pub parameters: i64,
    /// Bytes of the weight files in the model's folder.
    pub weight_bytes: u64,
    /// Tokens of all prompts.
    pub prompt_tokens: u64,
    /// Tokens generated, stop tokens included.
    pub generated_tokens: u64,
    /// Wall-clock seconds of generation, prompts included.
    pub seconds: f64,
    /// Generated tokens a second over the whole batch.
    pub tokens_per_second: f64,
    /// Highest resident memory of the process, loading included.
    pub peak_memory_bytes: Option<u64>,
    /// Weights that a token is multiplied with: all but the rows of the embedding, and the
    /// experts, that it does not use.
    #[serde(default)]
    pub active_parameters: i64,
    /// Weights that the stage before trained, where its manifest says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trainable_parameters: Option<i64>,
    /// Floating-point operations of a token's forward pass, at the mean context of the replies.
    #[serde(default)]
    pub flops_per_token: f64,
    /// Latency and throughput by requests at a time, where they were measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loads: Vec<Load>,
    /// Energy of generation; none where the machine does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<Energy>,
}

impl Cost {
    /// Of replies that were made elsewhere.
    pub(crate) fn unknown() -> Self {
        Self { peak_memory_bytes: None, ..Self::new(0, 0, 0, 0, 0.0) }
    }

    /// Adds up what was generated in `seconds`.
    pub(crate) fn new(
        parameters: i64,
        weight_bytes: u64,
        prompt_tokens: u64,
        generated_tokens: u64,
        seconds: f64,
    ) -> Self {
        Self {
            parameters,
            weight_bytes,
            prompt_tokens,
            generated_tokens,
            seconds,
            tokens_per_second: if seconds > 0.0 { generated_tokens as f64 / seconds } else { 0.0 },
            peak_memory_bytes: limbeck_run::peak_memory_bytes(),
            active_parameters: parameters,
            trainable_parameters: None,
            flops_per_token: 0.0,
            loads: Vec::new(),
            energy: None,
        }
    }
}

/// Bytes of a folder's safetensors files.
///
/// # Errors
/// A folder that cannot be listed.
pub fn weight_bytes(folder: &Path) -> Result<u64> {
    let unreadable = |source| limbeck_run::Error::read(folder, source);
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            bytes += std::fs::metadata(&path).map_err(unreadable)?.len();
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_weight_files_count() {
        let folder = tempfile::tempdir().unwrap();
        for (name, length) in [("a.safetensors", 5), ("b.safetensors", 7), ("config.json", 100)] {
            std::fs::write(folder.path().join(name), vec![0; length]).unwrap();
        }
        assert_eq!(weight_bytes(folder.path()).unwrap(), 12);
        assert!(weight_bytes(&folder.path().join("none")).is_err());
    }
}
