//! Writes quantised folders and reads them back.

use std::path::Path;

use limbeck_core::DType;
use limbeck_model::Decoder;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::formats::gptq::QUANTIZE_CONFIG_FILE;
use crate::quantize::packed_layers;
use crate::verify::{probes, verify_codes, verify_logits};

/// Writes a quantised decoder into the existing folder `dir`: `model.safetensors`,
/// `config.json` with its `quantization_config`, and for GPTQ the same as `quantize_config.json`
/// for older loaders. Packed layers are written as they are, everything else in `dtype`
/// (bf16 is what loaders expect beside GPTQ layers). The tokenizer's files are the
/// caller's to copy.
///
/// Then reads every packed layer back through the loader that [`crate::load_decoder`]
/// uses: its codes and grids must be those quantised, bit by bit. Last, the whole folder is loaded
/// and must give the logits of the decoder ([`verify_logits`]).
///
/// # Errors
/// A decoder without packed layers, or packed for a file that is no folder; write errors;
/// [`Error::ReadBack`], [`Error::ReadBackLogits`].
pub fn save(decoder: &Decoder, dir: &Path, dtype: DType) -> Result<()> {
    save_proved_on(decoder, dir, dtype, &[])
}

/// As [`save`]; the logits are also compared on these sequences of tokens.
///
/// # Errors
/// As [`save`].
pub fn save_proved_on(
    decoder: &Decoder,
    dir: &Path,
    dtype: DType,
    sequences: &[Vec<i64>],
) -> Result<()> {
    let packed = packed_layers(decoder);
    let mut hf_config = decoder.hf_config().clone();
    let settings = hf_config["quantization_config"].clone();
    if packed.is_empty() || settings.is_null() {
        return Err(Error::NotQuantized);
    }
    if settings["quant_method"] == "gguf" {
        return Err(Error::FormatLimit {
            format: "gguf",
            expected: "a file of llama.cpp's".to_owned(),
            found: "a model folder".to_owned(),
            hint: "write it with limbeck_quant::save_gguf".to_owned(),
        });
    }
    record_dtype(&mut hf_config, dtype);

    let is_packed = |key: &str| {
        key.rsplit_once('.').is_some_and(|(layer, _)| packed.iter().any(|(name, _)| name == layer))
    };
    let tensors = decoder
        .named_parameters()
        .into_iter()
        .map(|(key, tensor)| {
            let tensor = if is_packed(&key) {
                tensor
            } else {
                tensor.f_detach()?.f_to_kind(dtype.kind())?
            };
            Ok((key, tensor))
        })
        .collect::<Result<Vec<_>>>()?;
    limbeck_core::write_tensors(&dir.join("model.safetensors"), &tensors, &[("format", "pt")])?;
    if settings["quant_method"] == "gptq" {
        write_json(&dir.join(QUANTIZE_CONFIG_FILE), &settings)?;
    }
    write_json(&dir.join("config.json"), &hf_config)?;

    verify_codes(dir, &settings, &packed)?;
    let mut shown = probes(decoder.config().vocab_size);
    shown.extend_from_slice(sequences);
    verify_logits(decoder, dir, dtype.kind(), &shown)
}

/// Sets the dtype key in the spelling already there.
fn record_dtype(hf_config: &mut Value, dtype: DType) {
    if let Some(object) = hf_config.as_object_mut() {
        let key = if object.contains_key("dtype") { "dtype" } else { "torch_dtype" };
        object.insert(key.to_owned(), dtype.to_string().into());
    }
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let mut text = format!("{value:#}").into_bytes();
    text.push(b'\n');
    Ok(limbeck_run::write_file(path, &text)?)
}
