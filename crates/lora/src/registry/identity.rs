//! Which base model an adapter belongs to, by hashes.
//!
//! An adapter computes a difference to certain weights and was trained on certain token
//! ids. On other weights of the same shape it loads and gives nonsense, so the registry
//! compares hashes before anything is loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use limbeck_run::{Manifest, digest, sha256_files_as_recorded};
use serde::{Deserialize, Serialize};

use super::RegistryError;
use crate::Result;

/// A base model, as far as an adapter depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseIdentity {
    /// Over all files of the folder: what a stage records of its `model` input.
    pub model: String,
    /// Over `config.json` and the weights alone: another chat template or a note beside
    /// them does not make another base.
    pub weights: String,
    /// Of `tokenizer.json`, where there is one.
    pub tokenizer: Option<String>,
    /// The folder hash of the model that `limbeck quantize` made this one from.
    pub quantized_from: Option<String>,
    /// The folder hash of the model that `limbeck lora merge` made this one from.
    pub merged_from: Option<String>,
}

const CONFIG: &str = "config.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const TOKENIZER: &str = "tokenizer.json";

impl BaseIdentity {
    /// What the manifest of the stage that trains an adapter calls the hash of its base's
    /// weights among its inputs, beside that of the base's folder, `model`.
    pub const WEIGHTS: &str = "base weights";
    /// The same for the base's tokenizer.
    pub const TOKENIZER: &str = "base tokenizer";

    /// Takes the base that a training stage recorded out of its inputs, if it did.
    pub fn take_recorded(inputs: &mut BTreeMap<String, String>) -> Option<Self> {
        let (weights, tokenizer) = (inputs.remove(Self::WEIGHTS), inputs.remove(Self::TOKENIZER));
        let (model, weights) = (inputs.get("model")?.clone(), weights?);
        Some(Self { model, weights, tokenizer, quantized_from: None, merged_from: None })
    }

    /// Identifies a model's folder. Where its stage left a manifest, the hashes of files
    /// that are unchanged since are taken from there instead of reading gigabytes again.
    ///
    /// # Errors
    /// Files that cannot be read; [`RegistryError::NoModel`].
    pub fn of(folder: &Path) -> Result<Self> {
        let files = sha256_files_as_recorded(folder)?;
        let weights = weights_of(folder, &files)?;
        // A manifest speaks for the weights that its stage wrote, and for no others.
        let manifest = Manifest::read(folder)?.filter(|manifest| {
            weights.iter().all(|(name, hash)| manifest.outputs.get(name) == Some(hash))
        });
        let made_from = |stage: &str| {
            let manifest = manifest.as_ref().filter(|manifest| manifest.stage == stage)?;
            manifest.inputs.get("model").cloned()
        };
        Ok(Self {
            model: digest(&files),
            weights: digest(&weights),
            tokenizer: files.get(TOKENIZER).cloned(),
            quantized_from: made_from("quantize"),
            merged_from: made_from("merge"),
        })
    }

    /// Whether an adapter for this base may be put on a model: the same weights; the same
    /// model at another precision; or one that other adapters were merged into, as
    /// differences to the same weights add up.
    fn fits(&self, model: &Self) -> bool {
        let ours = [Some(&self.model), self.quantized_from.as_ref()];
        let theirs =
            [Some(&model.model), model.quantized_from.as_ref(), model.merged_from.as_ref()];
        self.weights == model.weights
            || ours.iter().flatten().any(|hash| theirs.iter().flatten().any(|its| its == hash))
    }

    /// Refuses to put an adapter for this base on the model in `folder`.
    ///
    /// # Errors
    /// [`RegistryError::OtherBase`], [`RegistryError::OtherVocabulary`].
    pub fn check(&self, adapter: &str, model: &Self, folder: &Path) -> Result<()> {
        let (adapter, path) = (adapter.to_owned(), folder.to_owned());
        if let (Some(expected), Some(found)) = (&self.tokenizer, &model.tokenizer)
            && expected != found
        {
            let (expected, found) = (expected.clone(), found.clone());
            return Err(
                RegistryError::OtherVocabulary { adapter, expected, model: path, found }.into()
            );
        }
        if !self.fits(model) {
            let (expected, found) = (self.weights.clone(), model.weights.clone());
            return Err(RegistryError::OtherBase { adapter, expected, model: path, found }.into());
        }
        Ok(())
    }
}

/// The hashes of the configuration and of the files that a decoder is loaded from. Other
/// safetensors may lie beside them.
fn weights_of(folder: &Path, files: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let mut names = vec![CONFIG.to_owned()];
    if files.contains_key(SINGLE) {
        names.push(SINGLE.to_owned());
    } else if files.contains_key(INDEX) {
        let path = folder.join(INDEX);
        let bytes = fs::read(&path).map_err(|source| limbeck_run::Error::read(&path, source))?;
        let index: ShardIndex = serde_json::from_slice(&bytes).map_err(|source| {
            RegistryError::Json { path, expected: "an index of a model's shards", source }
        })?;
        names.push(INDEX.to_owned());
        names.extend(index.weight_map.into_values());
    }
    let found: BTreeMap<String, String> =
        names.iter().filter_map(|name| Some((name.clone(), files.get(name)?.clone()))).collect();
    let distinct: BTreeSet<String> = names.into_iter().collect();
    if distinct.len() < 2 || found.len() < distinct.len() {
        return Err(RegistryError::NoModel { path: folder.to_owned() }.into());
    }
    Ok(found)
}

/// What `model.safetensors.index.json` says of where tensors lie.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use limbeck_run::sha256_files;

    use super::super::tests::write_model;
    use super::*;
    use crate::Error;

    fn check(adapter_base: &Path, model: &Path) -> Result<()> {
        BaseIdentity::of(adapter_base)?.check("domain/x", &BaseIdentity::of(model)?, model)
    }

    /// Leaves the manifest of a stage that made the folder from a model.
    fn write_manifest(folder: &Path, stage: &str, made_from: &Path) {
        let model = digest(&sha256_files(made_from).unwrap());
        Manifest {
            stage: stage.to_owned(),
            inputs: BTreeMap::from([("model".to_owned(), model)]),
            outputs: sha256_files(folder).unwrap(),
            ..Manifest::default()
        }
        .write(folder)
        .unwrap();
    }

    #[test]
    fn other_weights_and_other_vocabularies_are_refused_with_both_hashes() {
        let root = tempfile::tempdir().unwrap();
        let (base, other) = (root.path().join("base"), root.path().join("other"));
        write_model(&base, "weights", "words");
        write_model(&other, "weights of another", "words");
        let error = check(&base, &other).unwrap_err();
        assert!(matches!(&error, Error::Registry(RegistryError::OtherBase { .. })), "{error}");
        for folder in [&base, &other] {
            let hash = BaseIdentity::of(folder).unwrap().weights;
            assert!(error.to_string().contains(&hash), "{error}");
        }

        write_model(&other, "weights", "other words");
        let error = check(&base, &other).unwrap_err();
        assert!(matches!(error, Error::Registry(RegistryError::OtherVocabulary { .. })));
    }

    #[test]
    fn notes_and_templates_do_not_make_another_base() {
        let root = tempfile::tempdir().unwrap();
        let (base, copy) = (root.path().join("base"), root.path().join("copy"));
        write_model(&base, "weights", "words");
        write_model(&copy, "weights", "words");
        fs::write(copy.join("README.md"), "note").unwrap();
        fs::write(copy.join("expected.safetensors"), "logits").unwrap();
        check(&base, &copy).unwrap();
    }

    #[test]
    fn what_a_stage_made_from_the_base_is_accepted_and_what_it_trained_is_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str| root.path().join(name);
        write_model(&folder("base"), "weights", "words");
        for (name, stage) in
            [("packed", "quantize"), ("packed8", "quantize"), ("merged", "merge"), ("tuned", "sft")]
        {
            write_model(&folder(name), name, "words");
            write_manifest(&folder(name), stage, &folder("base"));
        }
        check(&folder("base"), &folder("packed")).unwrap();
        check(&folder("base"), &folder("merged")).unwrap();
        // Trained on the 4-bit model, used on the 8-bit one or the one they come from.
        check(&folder("packed"), &folder("packed8")).unwrap();
        check(&folder("packed"), &folder("base")).unwrap();
        assert!(check(&folder("base"), &folder("tuned")).is_err());
        // An adapter for merged weights has no place on weights without that merge.
        assert!(check(&folder("merged"), &folder("base")).is_err());

        // The manifest no longer speaks for weights that were exchanged.
        fs::write(folder("packed").join("model.safetensors"), "others").unwrap();
        assert!(check(&folder("base"), &folder("packed")).is_err());
    }

    #[test]
    fn every_shard_of_a_model_counts() {
        let root = tempfile::tempdir().unwrap();
        let (base, other) = (root.path().join("base"), root.path().join("other"));
        for folder in [&base, &other] {
            write_model(folder, "", "words");
            fs::remove_file(folder.join(SINGLE)).unwrap();
            let index = r#"{"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}"#;
            fs::write(folder.join(INDEX), index).unwrap();
            fs::write(folder.join("one.safetensors"), "1").unwrap();
            fs::write(folder.join("two.safetensors"), "2").unwrap();
        }
        check(&base, &other).unwrap();
        fs::write(other.join("two.safetensors"), "3").unwrap();
        assert!(check(&base, &other).is_err());
        fs::remove_file(other.join("two.safetensors")).unwrap();
        assert!(BaseIdentity::of(&other).is_err());
    }

    #[test]
    fn a_folder_without_weights_is_no_base() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("config.json"), "{}").unwrap();
        let error = BaseIdentity::of(root.path()).unwrap_err();
        assert!(matches!(error, Error::Registry(RegistryError::NoModel { .. })), "{error}");
    }
}
