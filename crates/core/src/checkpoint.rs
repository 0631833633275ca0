//! A model folder's tensors: `model.safetensors`, or shards with an index. Counts what
//! was consumed, so that a key that nothing asked for is an error and never ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tch::Tensor;

use crate::{Error, Result, TensorFile, TensorInfo};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The tensors of a Hugging Face model folder (or of one safetensors file).
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<TensorFile>,
    file_of: BTreeMap<String, usize>,
    consumed: BTreeSet<String>,
}

impl Checkpoint {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json`
    /// lists.
    ///
    /// # Errors
    /// A missing or damaged file; an index that names a tensor its shard lacks, or a
    /// shard with tensors that the index does not list.
    pub fn open(folder: &Path) -> Result<Self> {
        let single = folder.join(SINGLE);
        let index = folder.join(INDEX);
        if single.exists() || !index.exists() {
            return Self::from_files(folder, vec![TensorFile::open(&single)?]);
        }
        let weight_map = read_weight_map(&index)?;
        let names: BTreeSet<&str> = weight_map.values().map(String::as_str).collect();
        let files = names
            .iter()
            .map(|name| TensorFile::open(&folder.join(name)))
            .collect::<Result<Vec<_>>>()?;
        let checkpoint = Self::from_files(folder, files)?;
        if let Some(missing) = weight_map.keys().find(|name| !checkpoint.has(name)) {
            return Err(Error::MissingTensor {
                path: folder.join(&weight_map[missing]),
                tensor: missing.clone(),
            });
        }
        let unlisted: Vec<String> =
            checkpoint.names().into_iter().filter(|name| !weight_map.contains_key(name)).collect();
        match unlisted.first() {
            None => Ok(checkpoint),
            Some(first) => {
                Err(Error::LeftoverTensors { path: index, first: first.clone(), tensors: unlisted })
            }
        }
    }

    /// Opens one safetensors file, such as an adapter's.
    ///
    /// # Errors
    /// As [`TensorFile::open`].
    pub fn open_file(path: &Path) -> Result<Self> {
        Self::from_files(path, vec![TensorFile::open(path)?])
    }

    fn from_files(path: &Path, files: Vec<TensorFile>) -> Result<Self> {
        let mut file_of = BTreeMap::new();
        for (index, file) in files.iter().enumerate() {
            for name in file.names() {
                if file_of.insert(name.clone(), index).is_some() {
                    return Err(Error::TensorFile {
                        path: file.path().to_owned(),
                        expected: format!("tensor {name} in one shard"),
                        found: "it in two".to_owned(),
                    });
                }
            }
        }
        Ok(Self { path: path.to_owned(), files, file_of, consumed: BTreeSet::new() })
    }

    /// The folder (or file) that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.file_of.keys().cloned().collect()
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.file_of.contains_key(name)
    }

    /// Dtype and shape of a tensor.
    pub fn info(&self, name: &str) -> Option<TensorInfo> {
        self.files[*self.file_of.get(name)?].info(name)
    }

    /// Copies a tensor to the CPU in the dtype it is stored in and counts it as consumed.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::TensorDtype`].
    pub fn take(&mut self, name: &str) -> Result<Tensor> {
        let Some(&file) = self.file_of.get(name) else {
            return Err(Error::MissingTensor { path: self.path.clone(), tensor: name.to_owned() });
        };
        let tensor = self.files[file].tensor(name)?;
        self.consumed.insert(name.to_owned());
        Ok(tensor)
    }

    /// Copies some rows of a tensor and counts all of it as consumed.
    ///
    /// # Errors
    /// As [`TensorFile::rows`].
    pub fn take_rows(&mut self, name: &str, start: i64, length: i64) -> Result<Tensor> {
        let Some(&file) = self.file_of.get(name) else {
            return Err(Error::MissingTensor { path: self.path.clone(), tensor: name.to_owned() });
        };
        let tensor = self.files[file].rows(name, start, length)?;
        self.consumed.insert(name.to_owned());
        Ok(tensor)
    }

    /// [`take`](Self::take) with a check of the shape first.
    ///
    /// # Errors
    /// [`Error::TensorShape`] besides those of `take`.
    pub fn expect_shape(&mut self, name: &str, expected: &[i64]) -> Result<Tensor> {
        self.check_shape(name, expected)?;
        self.take(name)
    }

    /// Whether a tensor that there is has this shape.
    ///
    /// # Errors
    /// [`Error::TensorShape`].
    pub fn check_shape(&self, name: &str, expected: &[i64]) -> Result<()> {
        if let Some(info) = self.info(name)
            && info.shape != expected
        {
            return Err(Error::TensorShape {
                path: self.path.clone(),
                tensor: name.to_owned(),
                expected: expected.to_vec(),
                found: info.shape,
            });
        }
        Ok(())
    }

    /// Ends the reading: every tensor must have been consumed, but for the names given
    /// (buffers that old exports carry, a tied head stored twice).
    ///
    /// # Errors
    /// [`Error::LeftoverTensors`] naming the rest.
    pub fn finish(&self, allowed_unused: &[&str]) -> Result<()> {
        let tensors: Vec<String> = self
            .file_of
            .keys()
            .filter(|name| {
                !self.consumed.contains(*name) && !allowed_unused.contains(&name.as_str())
            })
            .cloned()
            .collect();
        match tensors.first() {
            None => Ok(()),
            Some(first) => Err(Error::LeftoverTensors {
                path: self.path.clone(),
                first: first.clone(),
                tensors,
            }),
        }
    }
}

fn read_weight_map(index: &Path) -> Result<BTreeMap<String, String>> {
    let value = read_json(index)?;
    let wrong = |found: String| Error::Json {
        path: index.to_owned(),
        expected: "an object weight_map from tensor names to shard files".to_owned(),
        found,
    };
    let map = value
        .get("weight_map")
        .and_then(Value::as_object)
        .ok_or_else(|| wrong("no such key".to_owned()))?;
    map.iter()
        .map(|(name, file)| match file.as_str() {
            // A shard is a sibling: an index must not reach other folders.
            Some(file) if !file.contains(['/', '\\']) => Ok((name.clone(), file.to_owned())),
            _ => Err(wrong(format!("{file} for {name}"))),
        })
        .collect()
}

/// Reads a JSON file.
///
/// # Errors
/// [`Error::Read`], or [`Error::Json`] with the parser's line and column.
pub fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::Read { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|source| Error::Json {
        path: path.to_owned(),
        expected: "JSON".to_owned(),
        found: source.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write_tensors;

    fn shard(folder: &Path, file: &str, names: &[&str]) {
        let tensors: Vec<(String, Tensor)> = names
            .iter()
            .map(|name| ((*name).to_owned(), Tensor::from_slice(&[1.0_f32, 2.0])))
            .collect();
        write_tensors(&folder.join(file), &tensors, &[]).unwrap();
    }

    fn index(folder: &Path, entries: &[(&str, &str)]) {
        let map: serde_json::Map<String, Value> =
            entries.iter().map(|(name, file)| ((*name).to_owned(), (*file).into())).collect();
        let text = serde_json::json!({ "metadata": {}, "weight_map": map }).to_string();
        std::fs::write(folder.join(INDEX), text).unwrap();
    }

    #[test]
    fn shards_are_one_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        shard(folder.path(), "one.safetensors", &["a"]);
        shard(folder.path(), "two.safetensors", &["b"]);
        index(folder.path(), &[("a", "one.safetensors"), ("b", "two.safetensors")]);
        let mut checkpoint = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(checkpoint.names(), ["a", "b"]);
        let _ = checkpoint.take("a").unwrap();
        let error = checkpoint.finish(&[]).unwrap_err().to_string();
        assert!(error.contains("the first is b"), "{error}");
        checkpoint.finish(&["b"]).unwrap();
        let _ = checkpoint.take("b").unwrap();
        checkpoint.finish(&[]).unwrap();
    }

    #[test]
    fn an_index_that_does_not_fit_its_shards_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        shard(folder.path(), "one.safetensors", &["a", "extra"]);
        index(folder.path(), &[("a", "one.safetensors"), ("b", "one.safetensors")]);
        let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("tensor b is missing"), "{error}");
        index(folder.path(), &[("a", "one.safetensors")]);
        let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("extra"), "{error}");
        index(folder.path(), &[("a", "../one.safetensors")]);
        assert!(matches!(Checkpoint::open(folder.path()), Err(Error::Json { .. })));
    }

    #[test]
    fn a_wrong_shape_names_tensor_expected_and_found() {
        let folder = tempfile::tempdir().unwrap();
        shard(folder.path(), SINGLE, &["a"]);
        let mut checkpoint = Checkpoint::open(folder.path()).unwrap();
        let error = checkpoint.expect_shape("a", &[3]).unwrap_err().to_string();
        assert!(
            error.contains("tensor a") && error.contains("[3]") && error.contains("[2]"),
            "{error}"
        );
    }
}
