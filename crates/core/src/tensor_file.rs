//! One safetensors file, memory-mapped and checked before any tensor is read.
//!
//! Format: 8 bytes little-endian header length, a JSON header, then the data; see the
//! safetensors project's README, "Format".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata};
use safetensors::{SafeTensorError, SafeTensors};
use tch::{Kind, Tensor};

use crate::{Error, Result};

/// Shape and dtype of a stored tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The dtype in memory.
    pub kind: Kind,
    /// The shape, outermost dimension first.
    pub shape: Vec<i64>,
}

impl TensorInfo {
    /// Bytes of its elements.
    pub fn bytes(&self) -> u64 {
        let elements = self.shape.iter().product::<i64>().unsigned_abs();
        elements * self.kind.elt_size_in_bytes() as u64
    }
}

/// A memory-mapped safetensors file. Tensors are copied out on request.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    map: Mmap,
    data_start: usize,
    header: Metadata,
}

impl TensorFile {
    /// Maps the file and checks its header against its length.
    ///
    /// # Errors
    /// [`Error::Read`] if it cannot be opened, [`Error::TensorFile`] if it is truncated
    /// or its header is no valid one.
    pub fn open(path: &Path) -> Result<Self> {
        let read_error = |source| Error::Read { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(read_error)?;
        let length = file.metadata().map_err(read_error)?.len();
        let invalid = |expected: &str, found: String| Error::TensorFile {
            path: path.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        if length < 8 {
            return Err(invalid("at least 8 bytes of header length", format!("{length} bytes")));
        }
        // SAFETY: the map is read-only and private to this value. A file that another
        // process shortens while it is mapped would raise SIGBUS, as with every mmap
        // reader; files of a run are replaced by rename, never rewritten in place.
        #[expect(unsafe_code, reason = "memory-mapping a file is unsafe by nature")]
        let map = unsafe { Mmap::map(&file) }.map_err(read_error)?;
        let (header_length, header) =
            SafeTensors::read_metadata(&map).map_err(|source| match source {
                SafeTensorError::HeaderTooSmall
                | SafeTensorError::InvalidHeaderLength
                | SafeTensorError::HeaderTooLarge => {
                    invalid("a complete header", format!("a file of {length} bytes"))
                }
                other => {
                    invalid("a header that fits the data", format!("{other} ({length} bytes)"))
                }
            })?;
        let data_start = header_length + 8;
        let expected_length = data_start + header.data_len();
        if map.len() != expected_length {
            return Err(invalid(
                &format!("{expected_length} bytes as the header says"),
                format!("{} bytes", map.len()),
            ));
        }
        Ok(Self { path: path.to_owned(), map, data_start, header })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.header.offset_keys();
        names.sort_unstable();
        names
    }

    /// The header's free-form metadata.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        self.header.metadata().clone().unwrap_or_default().into_iter().collect()
    }

    /// Dtype and shape of a tensor, `None` if there is none of that name or its dtype
    /// is not one that libtorch's bindings hold.
    pub fn info(&self, name: &str) -> Option<TensorInfo> {
        let info = self.header.info(name)?;
        let shape = info.shape.iter().map(|&size| size as i64).collect();
        Some(TensorInfo { kind: kind_of(info.dtype)?, shape })
    }

    /// Copies a tensor to the CPU in the dtype it is stored in.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], or [`Error::TensorDtype`] for a dtype that libtorch's
    /// bindings do not hold.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let stored = self.stored(name)?;
        self.copy(&stored, 0, &stored.shape)
    }

    /// As [`Self::tensor`], but only some rows: what a reader that rounds or packs a matrix
    /// needs at a time.
    ///
    /// # Shapes
    /// Of `[rows, ..]`, `[length, ..]`.
    ///
    /// # Errors
    /// As [`Self::tensor`]; [`Error::TensorShape`] for rows that there are not.
    pub fn rows(&self, name: &str, start: i64, length: i64) -> Result<Tensor> {
        let mut stored = self.stored(name)?;
        let rows = stored.shape.first().copied().unwrap_or(0);
        if start < 0 || length < 0 || start + length > rows {
            return Err(Error::TensorShape {
                path: self.path.clone(),
                tensor: name.to_owned(),
                expected: vec![start + length],
                found: stored.shape,
            });
        }
        stored.shape[0] = length;
        let row_bytes = stored.bytes.len() / rows.max(1) as usize;
        self.copy(&stored, start as usize * row_bytes, &stored.shape)
    }

    fn stored(&self, name: &str) -> Result<Stored> {
        let info = self.header.info(name).ok_or_else(|| Error::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
        })?;
        let kind = kind_of(info.dtype).ok_or_else(|| Error::TensorDtype {
            path: self.path.clone(),
            tensor: name.to_owned(),
            expected: "F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL".to_owned(),
            found: info.dtype.to_string(),
        })?;
        let (start, end) = info.data_offsets;
        let shape = info.shape.iter().map(|&size| size as i64).collect();
        Ok(Stored { kind, shape, bytes: self.data_start + start..self.data_start + end })
    }

    /// Copies what begins `offset` bytes into a tensor.
    fn copy(&self, stored: &Stored, offset: usize, shape: &[i64]) -> Result<Tensor> {
        let elements: i64 = shape.iter().product();
        let start = stored.bytes.start + offset;
        let end = start + elements as usize * stored.kind.elt_size_in_bytes();
        let tensor = Tensor::f_from_data_size(&self.map[start..end], shape, stored.kind)?;
        self.forget(start, end);
        Ok(tensor)
    }

    /// Takes the pages of what was copied out of this process's memory, so that it does not
    /// hold the file a second time beside the tensors; read again, they come from the file.
    fn forget(&self, start: usize, end: usize) {
        #[cfg(unix)]
        {
            // SAFETY: the map is shared with the file and never written to, so that pages
            // that are dropped are read again with the same bytes.
            #[expect(unsafe_code, reason = "advice that drops pages is unsafe by nature")]
            // Advice that is refused changes nothing but how much memory is taken.
            let _ = unsafe {
                let advice = memmap2::UncheckedAdvice::DontNeed;
                self.map.unchecked_advise_range(advice, start, end - start)
            };
        }
    }
}

/// Where a tensor lies in the map.
struct Stored {
    kind: Kind,
    shape: Vec<i64>,
    bytes: std::ops::Range<usize>,
}

/// The libtorch kind of a stored dtype.
fn kind_of(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F64 => Kind::Double,
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        _ => return None,
    })
}

/// The stored dtype of a libtorch kind.
pub(crate) fn dtype_name(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::Double => "F64",
        Kind::Float => "F32",
        Kind::Half => "F16",
        Kind::BFloat16 => "BF16",
        Kind::Int64 => "I64",
        Kind::Int => "I32",
        Kind::Int16 => "I16",
        Kind::Int8 => "I8",
        Kind::Uint8 => "U8",
        Kind::Bool => "BOOL",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write_tensors;

    fn sample(folder: &Path) -> PathBuf {
        let path = folder.join("sample.safetensors");
        let tensors = vec![
            ("b.weight".to_owned(), Tensor::from_slice(&[1.5_f32, -2.0]).view([1, 2])),
            ("a".to_owned(), Tensor::from_slice(&[7_i64])),
            ("half".to_owned(), Tensor::from_slice(&[0.25_f32]).to_kind(Kind::BFloat16)),
        ];
        write_tensors(&path, &tensors, &[("format", "pt")]).unwrap();
        path
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = TensorFile::open(&sample(folder.path())).unwrap();
        assert_eq!(file.names(), ["a", "b.weight", "half"]);
        assert_eq!(file.metadata()["format"], "pt");
        let b = file.tensor("b.weight").unwrap();
        assert_eq!((b.size(), b.kind()), (vec![1, 2], Kind::Float));
        assert_eq!(Vec::<f32>::try_from(b.view(-1)).unwrap(), [1.5, -2.0]);
        assert_eq!(file.info("half").unwrap().kind, Kind::BFloat16);
        assert_eq!(file.tensor("a").unwrap().int64_value(&[0]), 7);
    }

    #[test]
    fn rows_are_those_of_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.safetensors");
        let whole = Tensor::arange(30, (Kind::Float, tch::Device::Cpu)).view([5, 2, 3]);
        let tensors = [("first".to_owned(), whole.neg()), ("w".to_owned(), whole.shallow_clone())];
        write_tensors(&path, &tensors, &[]).unwrap();
        let file = TensorFile::open(&path).unwrap();
        for (start, length) in [(0, 5), (1, 3), (4, 1), (5, 0)] {
            assert_eq!(file.rows("w", start, length).unwrap(), whole.narrow(0, start, length));
        }
        assert_eq!(file.tensor("w").unwrap(), whole);
        for (start, length) in [(-1, 2), (4, 2)] {
            let error = file.rows("w", start, length).unwrap_err();
            assert!(matches!(error, Error::TensorShape { .. }), "{error}");
        }
    }

    #[test]
    fn every_truncation_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = sample(folder.path());
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 7, 8, 40, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            let error = TensorFile::open(&path).unwrap_err();
            assert!(matches!(error, Error::TensorFile { .. }), "{length}: {error}");
            assert!(error.to_string().contains("sample.safetensors"), "{error}");
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = TensorFile::open(&sample(folder.path())).unwrap();
        assert!(file.tensor("c").unwrap_err().to_string().contains("tensor c is missing"));
    }
}
