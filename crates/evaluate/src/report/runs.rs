//! The evaluations of a run's folder.

use std::path::{Path, PathBuf};

use super::Model;
use crate::{Error, Result};

/// The file that makes a folder an evaluation's.
pub(crate) const EVALUATION: &str = "evaluation.json";
/// Where a pipeline puts them.
const FOLDER: &str = "evaluate";
/// Models of the default pipeline, in its order; others follow by name.
const ORDER: [&str; 6] = ["teacher", "baseline", "distilled", "student", "tuned", "merged"];

/// The evaluation folders of a run, by name: the folder itself, those in it, or those in its
/// `evaluate`.
///
/// # Errors
/// None there, or a folder that cannot be read.
pub fn evaluations(folder: &Path) -> Result<Vec<PathBuf>> {
    let is_one = |path: &PathBuf| path.join(EVALUATION).is_file();
    let own = folder.to_owned();
    if is_one(&own) {
        return Ok(vec![own]);
    }
    for root in [folder.join(FOLDER), own] {
        let entries = match std::fs::read_dir(&root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(limbeck_run::Error::read(&root, source).into()),
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(|source| limbeck_run::Error::read(&root, source))?.path();
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
            if !hidden && is_one(&path) {
                found.push(path);
            }
        }
        if !found.is_empty() {
            found.sort();
            return Ok(found);
        }
    }
    Err(Error::NoRun { path: folder.to_owned() })
}

/// The models of a run, in the order of the default pipeline.
///
/// # Errors
/// As [`evaluations`]; damaged files, two evaluations of one name.
pub(super) fn models(folder: &Path) -> Result<Vec<Model>> {
    let folders = evaluations(folder)?;
    let mut models: Vec<(Model, &PathBuf)> = Vec::with_capacity(folders.len());
    for path in &folders {
        let model = Model::read(path)?;
        let name = &model.evaluation.model;
        if let Some((_, earlier)) = models.iter().find(|(other, _)| other.evaluation.model == *name)
        {
            return Err(Error::DuplicateName {
                name: name.clone(),
                first: (*earlier).clone(),
                second: path.clone(),
            });
        }
        models.push((model, path));
    }
    let rank = |model: &Model| {
        let name = model.evaluation.model.as_str();
        ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len())
    };
    models.sort_by_key(|(model, _)| (rank(model), model.evaluation.model.clone()));
    Ok(models.into_iter().map(|(model, _)| model).collect())
}

/// What a reader calls a run: its folder's name.
pub fn name(folder: &Path) -> String {
    let real = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    real.file_name().unwrap_or(real.as_os_str()).to_string_lossy().into_owned()
}
