//! What a killed run resumes from: parameters, moments, averages, the feed's state and where
//! validation stands, in one safetensors file that is replaced atomically. The best
//! parameters so far lie beside it (see [`crate::selection`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use limbeck_core::{Checkpoint, TensorFile, write_tensors};
use tch::no_grad;

use crate::average::Average;
use crate::feed::FeedState;
use crate::optimizer_groups::OptimizerGroups;
use crate::selection::{self, Selection, Validation};
use crate::{Error, Result};

/// The file's name within the output folder.
pub const FILE: &str = "trainer-state.safetensors";

/// Progress that is not in tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Optimiser updates done; steps with gradients that were not finite make none.
    pub updates: u64,
    /// Tokens seen.
    pub tokens: u64,
    /// Where the feed stands.
    pub feed: FeedState,
    /// Times that the run went back to a checkpoint, each with half the learning rate.
    pub rollbacks: u64,
    /// Where validation stands.
    pub selection: Selection,
    /// Identifies configuration and data; a checkpoint of another run is refused.
    pub run: String,
}

impl Progress {
    /// A run's beginning.
    pub fn new(run: &str) -> Self {
        Self {
            step: 0,
            updates: 0,
            tokens: 0,
            feed: FeedState::default(),
            rollbacks: 0,
            selection: Selection::default(),
            run: run.to_owned(),
        }
    }
}

/// The checkpoint's path.
pub fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Writes the checkpoint, and removes best parameters that it does not refer to.
///
/// # Errors
/// Write errors; the checkpoint before stays whole.
pub fn save(
    folder: &Path,
    optimizer: &OptimizerGroups,
    average: Option<&Average>,
    progress: &Progress,
) -> Result<()> {
    let best = progress.selection.best;
    let mut metadata = vec![
        ("step", progress.step.to_string()),
        ("updates", progress.updates.to_string()),
        ("tokens", progress.tokens.to_string()),
        ("feed", serde_json::json!(progress.feed).to_string()),
        ("rollbacks", progress.rollbacks.to_string()),
        ("since_best", progress.selection.since_best.to_string()),
        ("run", progress.run.clone()),
    ];
    if let Some(Validation { step, score, loss }) = best {
        // The shortest decimal that reads back as the same bits.
        metadata.extend([
            ("best_step", step.to_string()),
            ("best_score", score.to_string()),
            ("best_loss", loss.to_string()),
        ]);
    }
    let metadata: Vec<(&str, &str)> =
        metadata.iter().map(|(key, text)| (*key, text.as_str())).collect();
    let mut state = optimizer.state();
    state.extend(average.into_iter().flat_map(Average::state));
    write_tensors(&path(folder), &state, &metadata)?;
    let kept: Vec<u64> = best.iter().map(|best| best.step).collect();
    selection::keep_only(folder, &kept)
}

/// Restores the optimiser (and with it the parameters) and the average from the folder's
/// checkpoint; `None` if there is none.
///
/// # Errors
/// [`Error::Checkpoint`] if it belongs to another run; a damaged file.
pub fn load(
    folder: &Path,
    optimizer: &mut OptimizerGroups,
    average: Option<&mut Average>,
    run: &str,
) -> Result<Option<Progress>> {
    let path = path(folder);
    if !path.exists() {
        return Ok(None);
    }
    let metadata = TensorFile::open(&path)?.metadata();
    let progress = parse(&path, &metadata)?;
    if progress.run != run {
        return Err(Error::Checkpoint {
            path,
            what: "the run's fingerprint".to_owned(),
            expected: run.to_owned(),
            found: progress.run,
        });
    }
    let mut checkpoint = Checkpoint::open_file(&path)?;
    optimizer
        .restore(progress.updates, &mut |name, shape| Ok(checkpoint.expect_shape(name, shape)?))?;
    for (name, mut tensor) in average.into_iter().flat_map(|average| average.state()) {
        let stored = checkpoint.expect_shape(&name, &tensor.size())?;
        no_grad(|| tensor.f_copy_(&stored))?;
    }
    checkpoint.finish(&[])?;
    Ok(Some(progress))
}

/// Removes the checkpoint and the best parameters once the result has been written.
///
/// # Errors
/// Write errors.
pub fn remove(folder: &Path) -> Result<()> {
    let path = path(folder);
    if path.exists() {
        std::fs::remove_file(&path)
            .map_err(|source| Error::Run(limbeck_run::Error::write(&path, source)))?;
    }
    selection::keep_only(folder, &[])
}

fn parse(path: &Path, metadata: &BTreeMap<String, String>) -> Result<Progress> {
    let fields = Fields { path, metadata };
    let best = if metadata.contains_key("best_step") {
        Some(Validation {
            step: fields.number("best_step")?,
            score: fields.number("best_score")?,
            loss: fields.number("best_loss")?,
        })
    } else {
        None
    };
    let feed = metadata.get("feed").map_or("", String::as_str);
    let feed = serde_json::from_str(feed).map_err(|error| Error::Checkpoint {
        path: path.to_owned(),
        what: "metadata feed".to_owned(),
        expected: format!("where the samplers stand ({error})"),
        found: format!("{feed:?}"),
    })?;
    Ok(Progress {
        step: fields.number("step")?,
        updates: fields.number("updates")?,
        tokens: fields.number("tokens")?,
        feed,
        rollbacks: fields.number("rollbacks")?,
        selection: Selection { best, since_best: fields.number("since_best")? },
        run: metadata.get("run").cloned().unwrap_or_default(),
    })
}

struct Fields<'a> {
    path: &'a Path,
    metadata: &'a BTreeMap<String, String>,
}

impl Fields<'_> {
    fn number<T: FromStr>(&self, key: &str) -> Result<T> {
        let text = self.metadata.get(key).cloned().unwrap_or_default();
        text.parse().map_err(|_| Error::Checkpoint {
            path: self.path.to_owned(),
            what: format!("metadata {key}"),
            expected: "a number".to_owned(),
            found: format!("{text:?}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_checkpoint_lacks_is_named() {
        let feed = serde_json::json!(FeedState::default()).to_string();
        let whole = [
            ("step", "1"),
            ("updates", "1"),
            ("tokens", "9"),
            ("rollbacks", "0"),
            ("since_best", "0"),
            ("run", "r"),
        ];
        let metadata: BTreeMap<String, String> = whole
            .into_iter()
            .chain([("feed", feed.as_str())])
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let path = Path::new("trainer-state.safetensors");
        assert_eq!(parse(path, &metadata).unwrap().feed, FeedState::default());
        for key in ["step", "feed"] {
            let mut metadata = metadata.clone();
            metadata.insert(key.to_owned(), "?".to_owned());
            let error = parse(path, &metadata).unwrap_err();
            let expected = format!("metadata {key}");
            assert!(
                matches!(&error, Error::Checkpoint { what, .. } if *what == expected),
                "{error}"
            );
        }
    }
}
