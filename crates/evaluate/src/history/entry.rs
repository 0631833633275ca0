//! A row of the history: one model of one run.

use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use limbeck_run::{Manifest, sha256_bytes, sha256_file};
use serde::Serialize;

use crate::evaluation::Evaluation;
use crate::report::chains::ChainQuality;
use crate::report::runs;
use crate::{Error, Result};

/// A model's evaluation as the history keeps it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Identifies the run: a hash over the evaluations that were added together.
    pub run: String,
    /// The run's folder, without where it lies.
    pub name: String,
    /// What the evaluation calls the model.
    pub model: String,
    /// SHA-256 of the evaluation's numbers, by which it is known again.
    pub evaluation: String,
    /// When the evaluation was written, seconds since 1970.
    pub evaluated: i64,
    /// Commit of the sources, where known.
    pub commit: Option<String>,
    /// Device that was computed on; empty where no manifest says.
    pub device: String,
    /// The machine, in words; empty where no manifest says.
    pub hardware: String,
    /// Problems.
    pub n: u64,
    /// Problems solved.
    pub solved: u64,
    /// Share of problems solved, with its 95% interval.
    pub accuracy: f64,
    /// Lower end of the interval.
    pub accuracy_low: f64,
    /// Upper end of the interval.
    pub accuracy_high: f64,
    /// Share of whole chains.
    pub completion: f64,
    /// Share of steps that hold among those that can be checked; `None` without any.
    pub step_validity: Option<f64>,
    /// Mean tokens of a reply.
    pub mean_reply_tokens: f64,
    /// Bytes of the weight files.
    pub weight_bytes: u64,
    /// Generated tokens a second at the batch of the evaluation.
    pub tokens_per_second: f64,
    /// Median seconds to the first token, one request at a time, where it was measured.
    pub time_to_first_token: Option<f64>,
    /// Highest resident memory of the process, where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// Seconds of the whole stage; `None` without a manifest.
    pub stage_seconds: Option<f64>,
}

impl Entry {
    /// The evaluations of a run: a folder with some in `evaluate`, or one that is or holds
    /// evaluations.
    ///
    /// # Errors
    /// A folder without any, damaged files.
    pub fn of_run(folder: &Path) -> Result<Vec<Self>> {
        let mut entries = Vec::new();
        for evaluation in runs::evaluations(folder)? {
            entries.push(Self::of_evaluation(&evaluation)?);
        }
        let hashes: Vec<&str> = entries.iter().map(|entry| entry.evaluation.as_str()).collect();
        let run = sha256_bytes(hashes.join(" ").as_bytes())[..16].to_owned();
        let name = runs::name(folder);
        for entry in &mut entries {
            entry.run.clone_from(&run);
            entry.name.clone_from(&name);
        }
        Ok(entries)
    }

    fn of_evaluation(folder: &Path) -> Result<Self> {
        let evaluation = Evaluation::read(folder)?;
        let path = folder.join(runs::EVALUATION);
        let failed = |source| Error::from(limbeck_run::Error::read(&path, source));
        let written = fs::metadata(&path).and_then(|data| data.modified()).map_err(failed)?;
        let manifest = Manifest::read(folder)?;
        let quality = ChainQuality::of(&evaluation.samples);
        let Evaluation { model, overall, cost, .. } = evaluation;
        let validity = quality.step_validity;
        Ok(Self {
            run: String::new(),
            name: String::new(),
            model,
            evaluation: sha256_file(&path)?,
            evaluated: written.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as i64,
            commit: manifest.as_ref().and_then(|manifest| manifest.commit.clone()),
            device: manifest.as_ref().map(|manifest| manifest.device.clone()).unwrap_or_default(),
            hardware: manifest
                .as_ref()
                .map(|manifest| manifest.hardware.clone())
                .unwrap_or_default(),
            n: overall.n,
            solved: overall.accuracy.successes,
            accuracy: overall.accuracy.value,
            accuracy_low: overall.accuracy.low,
            accuracy_high: overall.accuracy.high,
            completion: overall.cot_completion.value,
            step_validity: (validity.n > 0).then_some(validity.value),
            mean_reply_tokens: overall.mean_reply_tokens,
            weight_bytes: cost.weight_bytes,
            tokens_per_second: cost.tokens_per_second,
            time_to_first_token: cost
                .loads
                .iter()
                .find(|load| load.batch == 1)
                .map(|load| load.time_to_first_token.p50),
            peak_memory_bytes: cost.peak_memory_bytes,
            stage_seconds: manifest.map(|manifest| manifest.seconds),
        })
    }
}
