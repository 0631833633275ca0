//! The best parameters so far by validation, and when to stop looking for better ones.

use std::path::{Path, PathBuf};

use limbeck_core::{Checkpoint, write_tensors};
use tch::{Tensor, no_grad};

use crate::{Error, Result};

/// Where validation stands; saved in checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Selection {
    /// The best validation so far.
    pub best: Option<Validation>,
    /// Validations since then.
    pub since_best: u64,
}

/// A validation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Validation {
    /// The step after which it was.
    pub step: u64,
    /// What decides, higher is better: minus the loss, or the metric.
    pub score: f64,
    /// Cross-entropy, nats a token.
    pub loss: f64,
}

impl Selection {
    /// Takes a validation in; whether it is the best so far. One that is not a number never
    /// is.
    pub fn add(&mut self, validation: Validation) -> bool {
        let better = match self.best {
            None => !validation.score.is_nan(),
            Some(best) => validation.score > best.score,
        };
        if better {
            *self = Self { best: Some(validation), since_best: 0 };
        } else {
            self.since_best += 1;
        }
        better
    }

    /// Whether `patience` validations in a row have brought nothing better; never at 0.
    pub fn is_exhausted(&self, patience: u64) -> bool {
        patience > 0 && self.since_best >= patience
    }
}

const PREFIX: &str = "best-parameters-";
const SUFFIX: &str = ".safetensors";

/// The file of the best parameters, by the step that they are of: a checkpoint says which
/// it belongs to, and a later one does not replace it.
fn path(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{step}{SUFFIX}"))
}

/// Writes the parameters as they are now.
///
/// # Errors
/// Write errors.
pub fn save(folder: &Path, step: u64, buffers: &[(String, Tensor)]) -> Result<()> {
    Ok(write_tensors(&path(folder, step), buffers, &[])?)
}

/// Puts the parameters of a step back into the model.
///
/// # Errors
/// A file that is missing or damaged.
pub fn load(folder: &Path, step: u64, buffers: Vec<(String, Tensor)>) -> Result<()> {
    let mut file = Checkpoint::open_file(&path(folder, step))?;
    for (name, mut buffer) in buffers {
        let stored = file.expect_shape(&name, &buffer.size())?;
        no_grad(|| buffer.f_copy_(&stored))?;
    }
    Ok(file.finish(&[])?)
}

/// Removes the files of all steps but these.
///
/// # Errors
/// Read and write errors.
pub fn keep_only(folder: &Path, steps: &[u64]) -> Result<()> {
    let entries = std::fs::read_dir(folder)
        .map_err(|source| Error::Run(limbeck_run::Error::read(folder, source)))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(step) = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX))
        else {
            continue;
        };
        if step.parse().is_ok_and(|step: u64| steps.contains(&step)) {
            continue;
        }
        std::fs::remove_file(entry.path())
            .map_err(|source| Error::Run(limbeck_run::Error::write(&entry.path(), source)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_counts_validations_without_a_better_one() {
        let mut selection = Selection::default();
        let mut add = |step, score| {
            let better = selection.add(Validation { step, score, loss: -score });
            (better, selection.is_exhausted(2), selection.is_exhausted(0))
        };
        assert_eq!(add(1, f64::NAN), (false, false, false));
        assert_eq!(add(2, -3.0), (true, false, false));
        assert_eq!(add(3, -3.0), (false, false, false), "equal is not better");
        assert_eq!(add(4, -2.5), (true, false, false));
        assert_eq!(add(5, f64::NAN), (false, false, false));
        assert_eq!(add(6, -2.6), (false, true, false));
        assert_eq!(selection.best.map(|best| best.step), Some(4));
    }
}
