//! The files of an evaluation folder: `evaluation.json`, `samples.jsonl` and
//! `results_limbeck.json`.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;

use crate::evaluation::Evaluation;
use crate::sample::Sample;
use crate::{Error, Result, lm_eval};

const EVALUATION: &str = "evaluation.json";
const SAMPLES: &str = "samples.jsonl";
const RESULTS: &str = "results_limbeck.json";

impl Evaluation {
    /// Writes the evaluation into a folder that exists.
    ///
    /// # Errors
    /// Write errors.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let mut lines = String::new();
        for sample in &self.samples {
            lines.push_str(&json(&folder.join(SAMPLES), sample, false)?);
            lines.push('\n');
        }
        limbeck_run::write_file(&folder.join(SAMPLES), lines.as_bytes())?;
        write_json(&folder.join(RESULTS), &lm_eval::results(self))?;
        for (task, lines) in &self.lm_eval_samples {
            let path = folder.join(format!("samples_{}_limbeck.jsonl", file_name(task)));
            let mut text = String::new();
            for line in lines {
                text.push_str(&json(&path, line, false)?);
                text.push('\n');
            }
            limbeck_run::write_file(&path, text.as_bytes())?;
        }
        write_json(&folder.join(EVALUATION), self)
    }

    /// Reads an evaluation with its samples.
    ///
    /// # Errors
    /// A missing or damaged file, by line; samples that do not add up to the evaluation.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(EVALUATION);
        let text = read(&path)?;
        let mut evaluation: Self = serde_json::from_str(&text).map_err(|source| Error::Json {
            path,
            line: None,
            expected: "the numbers of an evaluation",
            source,
        })?;
        let path = folder.join(SAMPLES);
        let text = read(&path)?;
        let mut ids = HashSet::new();
        for (index, line) in text.lines().enumerate() {
            let sample: Sample = serde_json::from_str(line).map_err(|source| Error::Json {
                path: path.clone(),
                line: Some(index + 1),
                expected: "a judged reply",
                source,
            })?;
            if !ids.insert((sample.task.clone(), sample.id.clone(), sample.repeat)) {
                return Err(Error::Folder {
                    expected: "one reply for each id".to_owned(),
                    found: format!("{} again in line {}", sample.id, index + 1),
                    path,
                });
            }
            evaluation.samples.push(sample);
        }
        let right = evaluation.samples.iter().filter(|sample| sample.correct).count() as u64;
        let count = evaluation.samples.len() as u64;
        let accuracy = evaluation.overall.accuracy;
        if (accuracy.successes, accuracy.n) != (right, count) {
            return Err(Error::Folder {
                path,
                expected: format!(
                    "{} right replies of {}, as in {EVALUATION}",
                    accuracy.successes, accuracy.n
                ),
                found: format!("{right} of {count}"),
            });
        }
        Ok(evaluation)
    }
}

/// A task's name as part of a file's.
fn file_name(task: &str) -> String {
    let plain = |next: char| next.is_alphanumeric() || matches!(next, '-' | '_' | '.');
    task.chars().map(|next| if plain(next) { next } else { '_' }).collect()
}

fn read(path: &Path) -> Result<String> {
    Ok(std::fs::read_to_string(path).map_err(|source| limbeck_run::Error::read(path, source))?)
}

/// Writes a value as indented JSON.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = json(path, value, true)?;
    text.push('\n');
    Ok(limbeck_run::write_file(path, text.as_bytes())?)
}

fn json(path: &Path, value: &impl Serialize, pretty: bool) -> Result<String> {
    let text =
        if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    text.map_err(|source| Error::Json {
        path: path.to_owned(),
        line: None,
        expected: "numbers that can be written as JSON",
        source,
    })
}
