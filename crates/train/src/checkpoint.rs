//! What a killed run resumes from: parameters, moments, the feed's state and the number of
//! steps, in one safetensors file that is replaced atomically.

use std::collections::BTreeMap;
use std::path::Path;

use limbeck_core::{Checkpoint, TensorFile, write_tensors};

use crate::feed::FeedState;
use crate::optimizer_groups::OptimizerGroups;
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
    /// Identifies configuration and data; a checkpoint of another run is refused.
    pub run: String,
}

/// Writes the checkpoint.
///
/// # Errors
/// Write errors; the checkpoint before stays whole.
pub fn save(folder: &Path, optimizer: &OptimizerGroups, progress: &Progress) -> Result<()> {
    let numbers =
        [("step", progress.step), ("updates", progress.updates), ("tokens", progress.tokens)]
            .map(|(key, number)| (key, number.to_string()));
    let mut metadata: Vec<(&str, &str)> =
        numbers.iter().map(|(key, text)| (*key, text.as_str())).collect();
    metadata.push(("run", &progress.run));
    let feed = serde_json::json!(progress.feed).to_string();
    metadata.push(("feed", &feed));
    Ok(write_tensors(&folder.join(FILE), &optimizer.state(), &metadata)?)
}

/// Restores the optimiser (and with it the parameters) from the folder's checkpoint;
/// `None` if there is none.
///
/// # Errors
/// [`Error::Checkpoint`] if it belongs to another run; a damaged file.
pub fn load(folder: &Path, optimizer: &mut OptimizerGroups, run: &str) -> Result<Option<Progress>> {
    let path = folder.join(FILE);
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
    checkpoint.finish(&[])?;
    Ok(Some(progress))
}

fn parse(path: &Path, metadata: &BTreeMap<String, String>) -> Result<Progress> {
    let number = |key: &str| {
        let text = metadata.get(key).cloned().unwrap_or_default();
        text.parse::<u64>().map_err(|_| Error::Checkpoint {
            path: path.to_owned(),
            what: format!("metadata {key}"),
            expected: "a number".to_owned(),
            found: format!("{text:?}"),
        })
    };
    let feed = metadata.get("feed").map_or("", String::as_str);
    let feed = serde_json::from_str(feed).map_err(|error| Error::Checkpoint {
        path: path.to_owned(),
        what: "metadata feed".to_owned(),
        expected: format!("where the samplers stand ({error})"),
        found: format!("{feed:?}"),
    })?;
    Ok(Progress {
        step: number("step")?,
        updates: number("updates")?,
        tokens: number("tokens")?,
        feed,
        run: metadata.get("run").cloned().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_checkpoint_lacks_is_named() {
        let feed = serde_json::json!(FeedState::default()).to_string();
        let whole = [("step", "1"), ("updates", "1"), ("tokens", "9"), ("run", "r")];
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
