//! `manifest.json` of a stored adapter: where it comes from and how good it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use limbeck_run::Manifest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::content::Content;
use super::{BaseIdentity, ContentHash, Publication, RegistryError, Timestamp};
use crate::Result;

/// What the registry knows of an adapter. Only the scores may change after it is
/// published: an adapter is often evaluated later.
///
/// Configuration, seed and commit stand where the training stage's own [`Manifest`] has
/// them, and the file reads as one: whoever asks how an adapter was trained (over NF4, say)
/// need not know whether it comes from a stage or from a registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterManifest {
    /// Of this file.
    pub format: u32,
    /// The hash that the adapter is stored under.
    pub hash: ContentHash,
    /// SHA-256 of each file as it was published.
    pub files: BTreeMap<String, String>,
    /// The base that it was trained on.
    pub base: BaseIdentity,
    /// SHA-256 of the data that it was trained on, by what the stage called it.
    pub data: BTreeMap<String, String>,
    /// The configuration of the training stage; null where it is unknown.
    pub config: Value,
    /// The seed of the training stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Commit of the sources that trained it.
    pub commit: Option<String>,
    /// The adapter that training went on from.
    pub parent: Option<ContentHash>,
    /// Evaluation scores by name, such as `medical/accuracy`.
    pub scores: BTreeMap<String, f64>,
    /// When it was published first.
    pub created: Timestamp,
}

impl AdapterManifest {
    /// Its name in a stored adapter's folder.
    pub const FILE: &str = "manifest.json";

    /// The format that this version writes and reads.
    pub const FORMAT: u32 = 1;

    /// Describes an adapter's folder. What the stage that trained it recorded is taken from
    /// its own manifest, as far as there is one.
    ///
    /// # Errors
    /// A stage's manifest that is damaged, or that names another base than the publication;
    /// a score that is no number.
    pub(super) fn describe(publication: &Publication, content: &Content) -> Result<Self> {
        let Publication { adapter, model, scores, parent, .. } = publication;
        if let Some((name, &value)) = scores.iter().find(|(_, value)| !value.is_finite()) {
            return Err(RegistryError::Score { name: name.clone(), value }.into());
        }
        let base = BaseIdentity::of(model)?;
        let stage = Manifest::read(adapter)?.unwrap_or_default();
        let mut data = stage.inputs;
        // Of a base that is described in full beside it.
        let _ = BaseIdentity::take_recorded(&mut data);
        if let Some(trained_on) = data.remove("model")
            && trained_on != base.model
            && Some(&trained_on) != base.quantized_from.as_ref()
        {
            return Err(RegistryError::TrainedElsewhere {
                adapter: adapter.to_path_buf(),
                expected: trained_on,
                model: model.to_path_buf(),
                found: base.model,
            }
            .into());
        }
        Ok(Self {
            format: Self::FORMAT,
            hash: content.hash.clone(),
            files: content.files(),
            base,
            data,
            seed: (!stage.stage.is_empty()).then_some(stage.seed),
            config: stage.config,
            commit: stage.commit,
            parent: parent.clone(),
            scores: scores.clone(),
            created: Timestamp::now(),
        })
    }

    /// Reads the manifest of a stored adapter.
    ///
    /// # Errors
    /// A file that is missing or damaged, or of another format.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(Self::FILE);
        let bytes = fs::read(&path).map_err(|source| limbeck_run::Error::read(&path, source))?;
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|source| {
            let path = path.clone();
            RegistryError::Json { path, expected: "the manifest of a stored adapter", source }
        })?;
        if manifest.format != Self::FORMAT {
            let (expected, found) = (Self::FORMAT, manifest.format);
            return Err(RegistryError::Format { path, expected, found }.into());
        }
        Ok(manifest)
    }
}
