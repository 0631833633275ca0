//! The curves of training runs, from the `metrics.jsonl` of their folders.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::{Error, Result};

/// The file's name within a run's folder.
pub const FILE: &str = "metrics.jsonl";

/// Losses of a training run by step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Training {
    /// The folder's name.
    pub name: String,
    /// What was minimised, averaged over the steps since the point before.
    pub loss: Vec<Point>,
    /// Cross-entropy on the validation records, nats a token.
    pub validation_loss: Vec<Point>,
}

/// A value of a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Point {
    /// Steps done.
    pub step: u64,
    /// The value.
    pub value: f64,
}

impl Training {
    /// Reads the runs' folders.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_all(folders: &[PathBuf]) -> Result<Vec<Self>> {
        let mut trainings: Vec<Self> = Vec::with_capacity(folders.len());
        for folder in folders {
            let mut training = Self::read(folder)?;
            if trainings.iter().any(|earlier| earlier.name == training.name) {
                training.name = folder.display().to_string();
            }
            trainings.push(training);
        }
        Ok(trainings)
    }

    /// Reads a run's folder. Values that were not finite are left out.
    ///
    /// # Errors
    /// [`Error::Training`]: no such file, a line that is no object with a step, or no loss
    /// in any.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let bad = |line: Option<usize>, expected: &'static str, found: String| Error::Training {
            path: path.clone(),
            line,
            expected,
            found,
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|error| bad(None, "the metrics of a training run", error.to_string()))?;
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
        let mut training = Self { name, loss: Vec::new(), validation_loss: Vec::new() };
        for (index, line) in text.lines().enumerate() {
            let object = serde_json::from_str::<Value>(line).ok();
            let step = object.as_ref().and_then(|object| object.get("step")?.as_u64());
            let (Some(object), Some(step)) = (object, step) else {
                let start: String = line.chars().take(60).collect();
                return Err(bad(Some(index + 1), "an object with a step", format!("{start:?}")));
            };
            let value = |key: &str| object.get(key).and_then(Value::as_f64);
            training.loss.extend(value("loss").map(|value| Point { step, value }));
            training
                .validation_loss
                .extend(value("validation_loss").map(|value| Point { step, value }));
        }
        if training.loss.is_empty() {
            return Err(bad(None, "a loss in some line", "none".to_owned()));
        }
        Ok(training)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Training> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), text).unwrap();
        Training::read(folder.path())
    }

    #[test]
    fn losses_are_read_by_step_and_what_is_not_finite_is_left_out() {
        let training = read(
            "{\"step\":1,\"loss\":2.5}\n{\"step\":2,\"loss\":null}\n{\"step\":2,\"validation_loss\":2.0}\n",
        )
        .unwrap();
        assert_eq!(training.loss, [Point { step: 1, value: 2.5 }]);
        assert_eq!(training.validation_loss, [Point { step: 2, value: 2.0 }]);
    }

    #[test]
    fn what_is_no_training_run_is_named() {
        let cases = [
            (
                "{\"step\":1,\"loss\":2.5}\nhello\n",
                "metrics.jsonl:2: expected an object with a step",
            ),
            ("{\"loss\":2.5}\n", "metrics.jsonl:1"),
            ("{\"step\":1}\n", "expected a loss in some line, found none"),
        ];
        for (text, said) in cases {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let error = Training::read(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/metrics.jsonl"), "{error}");
    }
}
