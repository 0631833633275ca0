//! Writes a safetensors file tensor by tensor, to a temporary sibling that is renamed
//! at the end, so that a full disk or a killed process leaves no half file.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use limbeck_run::AtomicFile;
use serde_json::{Map, Value, json};
use tch::{Device, Tensor};

use crate::tensor_file::dtype_name;
use crate::{Error, Result};

/// Writes the tensors, in name order, with the metadata given (`("format", "pt")` is
/// what Python's loaders look for). Tensors of any device and layout.
///
/// # Errors
/// [`Error::TensorDtype`] for a kind that the format does not know; write errors.
pub fn write_tensors(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &[(&str, &str)],
) -> Result<()> {
    let mut sorted: Vec<&(String, Tensor)> = tensors.iter().collect();
    sorted.sort_by(|left, right| left.0.cmp(&right.0));

    let mut header = Map::new();
    if !metadata.is_empty() {
        let entries = metadata.iter().map(|(key, value)| ((*key).to_owned(), json!(value)));
        header.insert("__metadata__".to_owned(), Value::Object(entries.collect()));
    }
    let mut offset = 0;
    for (name, tensor) in &sorted {
        let kind = tensor.f_kind()?;
        let dtype = dtype_name(kind).ok_or_else(|| Error::TensorDtype {
            path: path.to_owned(),
            tensor: name.clone(),
            expected: "a float, integer or bool dtype".to_owned(),
            found: format!("{kind:?}"),
        })?;
        let end = offset + tensor.numel() * kind.elt_size_in_bytes();
        header.insert(
            name.clone(),
            json!({ "dtype": dtype, "shape": tensor.size(), "data_offsets": [offset, end] }),
        );
        offset = end;
    }
    // The data must start on an 8-byte boundary; the format allows trailing spaces.
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');

    let file = AtomicFile::create(path)?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    let failed = |source| Error::Run(limbeck_run::Error::write(path, source));
    writer.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
    writer.write_all(&header).map_err(failed)?;
    for (_, tensor) in sorted {
        let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
        let count = tensor.numel();
        let mut bytes = vec![0; count * tensor.f_kind()?.elt_size_in_bytes()];
        if count > 0 {
            tensor.f_copy_data_u8(&mut bytes, count)?;
        }
        writer.write_all(&bytes).map_err(failed)?;
    }
    let file = writer.into_inner().map_err(|error| failed(error.into_error()))?;
    Ok(file.commit()?)
}
