//! Writes a decoder as a Hugging Face folder.

use std::path::Path;

use serde_json::Value;
use tch::{Kind, Tensor};

use crate::decoder::Decoder;
use crate::error::{Error, Result};

impl Decoder {
    /// Writes `config.json` and `model.safetensors` into the existing folder `dir`;
    /// weights, biases, norms and the embedding in `dtype`, packed tensors as they are.
    /// The tokenizer's files are the caller's to copy.
    pub fn save(&self, dir: &Path, dtype: Kind) -> Result<()> {
        let tensors = self
            .named_parameters()
            .into_iter()
            .map(|(name, tensor)| {
                let plain = matches!(name.rsplit('.').next(), Some("weight" | "bias"));
                let tensor = if plain { cast(&tensor, dtype)? } else { tensor };
                Ok((name, tensor))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut hf_config = self.hf_config().clone();
        record_dtype(&mut hf_config, dtype)?;
        let mut text = serde_json::to_vec_pretty(&hf_config)
            .map_err(|source| Error::Json { path: dir.join("config.json"), source })?;
        text.push(b'\n');
        limbeck_core::write_tensors(&dir.join("model.safetensors"), &tensors, &[("format", "pt")])?;
        limbeck_run::write_file(&dir.join("config.json"), &text)?;
        Ok(())
    }
}

fn cast(tensor: &Tensor, dtype: Kind) -> Result<Tensor> {
    let tensor = tensor.f_detach()?;
    match tensor.f_kind()? {
        Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16 => Ok(tensor.f_to_kind(dtype)?),
        _ => Ok(tensor),
    }
}

/// Sets the key that loaders take the dtype from, in the spelling already there; the
/// older one, which every version reads, where there is none.
fn record_dtype(hf_config: &mut Value, dtype: Kind) -> Result<()> {
    let name = match dtype {
        Kind::Float => "float32",
        Kind::BFloat16 => "bfloat16",
        Kind::Half => "float16",
        other => {
            return Err(Error::shape("save", "float32, bfloat16 or float16", format!("{other:?}")));
        }
    };
    if let Some(object) = hf_config.as_object_mut() {
        let key = if object.contains_key("dtype") { "dtype" } else { "torch_dtype" };
        object.insert(key.to_owned(), name.into());
    }
    Ok(())
}
