//! Importances on disk: tensors in a safetensors file, and a small JSON file that comes last
//! and knows the tensors' hash, so that the two of different estimates are not taken for one.

use std::path::Path;

use limbeck_core::checkpoint::read_json;
use limbeck_core::{Checkpoint, write_tensors};
use limbeck_model::Decoder;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{Fisher, FisherKind, Importance};
use crate::{Error, Result};

/// `fisher.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    kind: FisherKind,
    /// Pairs of vectors a projection; 1 where the form is exact.
    terms: i64,
    /// In order.
    modules: Vec<String>,
    /// Of the tensors' file.
    sha256: String,
}

impl Fisher {
    /// The JSON file's name.
    pub const FILE: &'static str = "fisher.json";
    /// The tensors' file's name.
    pub const TENSORS: &'static str = "fisher.safetensors";

    /// Writes the importances into a folder, which is made if it is not there. A folder with
    /// the JSON file is whole.
    ///
    /// # Errors
    /// Write errors.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let mut tensors: Vec<(String, Tensor)> = Vec::new();
        let mut terms = 1;
        for (name, importance) in self.modules() {
            match importance {
                Importance::Exact(diagonal) => {
                    tensors.push((format!("{name}.diagonal"), diagonal.shallow_clone()));
                }
                Importance::Separable { output, input } => {
                    terms = output.size2()?.0;
                    tensors.push((format!("{name}.output"), output.shallow_clone()));
                    tensors.push((format!("{name}.input"), input.shallow_clone()));
                }
            }
        }
        let path = folder.join(Self::TENSORS);
        write_tensors(&path, &tensors, &[("format", "pt")])?;
        let header = Header {
            kind: self.kind,
            terms,
            modules: self.modules().map(|(name, _)| name.to_owned()).collect(),
            sha256: limbeck_run::sha256_path(&path)?,
        };
        let mut text = serde_json::json!(header).to_string();
        text.push('\n');
        Ok(limbeck_run::write_file(&folder.join(Self::FILE), text.as_bytes())?)
    }

    /// Reads the importances of a decoder's projections.
    ///
    /// # Errors
    /// [`Error::FisherFile`] for files that do not belong together; a tensor that is missing,
    /// left over or of another shape than the decoder's projection; an unknown projection.
    pub fn load(folder: &Path, decoder: &Decoder) -> Result<Self> {
        let path = folder.join(Self::FILE);
        let wrong = |expected: &str, found: String| Error::FisherFile {
            path: path.clone(),
            expected: expected.to_owned(),
            found,
        };
        let Header { kind, terms, modules, sha256 } = serde_json::from_value(read_json(&path)?)
            .map_err(|error| wrong("kind, terms, modules and sha256", error.to_string()))?;
        let tensors = folder.join(Self::TENSORS);
        let found = limbeck_run::sha256_path(&tensors)?;
        if found != sha256 {
            return Err(wrong(&format!("{} with hash {sha256}", Self::TENSORS), found));
        }
        let mut file = Checkpoint::open_file(&tensors)?;
        let device = decoder.device();
        let mut read = |key: String, shape: [i64; 2]| -> Result<Tensor> {
            Ok(file.expect_shape(&key, &shape)?.f_to_device(device)?)
        };
        let modules = modules
            .into_iter()
            .map(|name| {
                let missing = || limbeck_model::Error::LinearMissing { name: name.clone() };
                let linear = decoder.linear(&name).ok_or_else(missing)?;
                let (out_features, in_features) = (linear.out_features(), linear.in_features());
                let importance = match kind {
                    FisherKind::Exact => Importance::Exact(read(
                        format!("{name}.diagonal"),
                        [out_features, in_features],
                    )?),
                    FisherKind::Separable => Importance::Separable {
                        output: read(format!("{name}.output"), [terms, out_features])?,
                        input: read(format!("{name}.input"), [terms, in_features])?,
                    },
                };
                Ok((name, importance))
            })
            .collect::<Result<Vec<_>>>()?;
        file.finish(&[])?;
        Ok(Self { kind, modules })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{batch, examples, model};
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_the_same() {
        let mut model = model();
        let names = model.linear_names();
        for kind in [FisherKind::Exact, FisherKind::Separable] {
            let folder = tempfile::tempdir().unwrap();
            let batches = [batch(&examples(3))];
            let mut fisher = Fisher::estimate(&mut model, &names, &batches, kind).unwrap();
            let again = Fisher::estimate(&mut model, &names, &batches, kind).unwrap();
            fisher.accumulate(0.5, &again).unwrap();
            fisher.save(folder.path()).unwrap();
            let loaded = Fisher::load(folder.path(), &model).unwrap();
            assert_eq!(loaded.kind(), kind);
            for (name, importance) in fisher.modules() {
                let found = loaded.get(name).unwrap().dense().unwrap();
                assert_eq!(found, importance.dense().unwrap(), "{name}");
            }
        }
    }

    #[test]
    fn files_that_do_not_belong_together_are_named() {
        let mut model = model();
        let names = model.linear_names();
        let folder = tempfile::tempdir().unwrap();
        let mut save = |count| {
            let batches = [batch(&examples(count))];
            let fisher = Fisher::estimate(&mut model, &names, &batches, FisherKind::Exact);
            fisher.unwrap().save(folder.path()).unwrap();
        };
        save(2);
        let header = std::fs::read(folder.path().join(Fisher::FILE)).unwrap();
        save(3);
        std::fs::write(folder.path().join(Fisher::FILE), &header).unwrap();
        let error = Fisher::load(folder.path(), &model).unwrap_err();
        assert!(matches!(&error, Error::FisherFile { .. }), "{error}");
        assert!(error.to_string().contains(Fisher::FILE), "{error}");
        std::fs::write(folder.path().join(Fisher::FILE), "{\"kind\": \"exact\"}").unwrap();
        let error = Fisher::load(folder.path(), &model).unwrap_err().to_string();
        assert!(error.contains("terms"), "{error}");
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(Fisher::load(elsewhere.path(), &model).is_err());
    }
}
