//! GGUF: llama.cpp's single file to a Hugging Face folder, and back.
//!
//! On import, weights are dequantised (the block formats are candle's), llama.cpp's changes to
//! them are undone, and `config.json` and `tokenizer.json` are rebuilt from the metadata.
//! [`mod@export`] is the way back. Architectures: `llama` (Llama and Mistral), `qwen2`, `qwen3`, `gemma3`. The format:
//! ggml's `docs/gguf.md`.

mod config;
pub mod export;
mod export_config;
mod export_tokenizer;
mod layout;
mod metadata;
mod pre_tokenizer;
mod tensor_type;
mod tensors;
mod tokenizer;
mod writer;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use candle_core::quantized::gguf_file::Content;
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::config::DecoderConfig;
use crate::error::{Error, Result};
pub use export::{BlockMatrix, ExportOptions, Exported, export};
use metadata::Metadata;
pub use tensor_type::TensorType;
use tensors::TensorReader;

/// Values of `general.architecture` that can be imported.
pub const SUPPORTED_ARCHITECTURES: &[&str] = &["llama", "qwen2", "qwen3", "gemma3"];

/// What a GGUF file holds, in Hugging Face's terms.
#[derive(Debug)]
pub struct Imported {
    /// Contents of `config.json`.
    pub hf_config: Value,
    /// Dequantised tensors under Hugging Face's names.
    pub tensors: Vec<(String, Tensor)>,
    /// `tokenizer.json`, `tokenizer_config.json` and `generation_config.json`.
    pub files: Vec<(String, Value)>,
}

/// Reads the GGUF file at `path` and dequantises its tensors to `dtype`.
///
/// # Errors
/// A truncated or damaged file, an architecture, tensor type or tokenizer without an
/// implementation, a missing key or tensor, a tensor that belongs to no part of the model.
pub fn import(path: &Path, dtype: Kind) -> Result<Imported> {
    let mut weights = Vec::new();
    let (hf_config, files) = read(path, dtype, &mut |name, tensor| {
        weights.push((name, tensor));
        Ok(())
    })?;
    Ok(Imported { hf_config, tensors: weights, files })
}

/// As [`import`], but hands each tensor to `take` under Hugging Face's name, so that only one is
/// in memory.
///
/// # Errors
/// As [`import`]; those of `take`.
pub fn for_each_tensor(
    path: &Path,
    dtype: Kind,
    take: &mut dyn FnMut(String, Tensor) -> Result<()>,
) -> Result<()> {
    read(path, dtype, take).map(|_| ())
}

/// `config.json` and the tokenizer's files; tensors go to `take`.
fn read(
    path: &Path,
    dtype: Kind,
    take: &mut dyn FnMut(String, Tensor) -> Result<()>,
) -> Result<(Value, Vec<(String, Value)>)> {
    let read_error = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read_error)?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let content = Content::read(&mut reader)
        .map_err(|error| damaged(path, "a GGUF header", error.to_string()))?;
    let metadata = Metadata::new(path, &content.metadata);
    let mut tensors = TensorReader::new(path, &content, reader, dtype);

    let hf_config = config::hf_config(&metadata, &mut tensors)?;
    let decoder_config = DecoderConfig::from_hf(&hf_config)?;
    let architecture = metadata.string("general.architecture")?;
    tensors.read_all(&decoder_config, architecture, take)?;
    let files = vec![
        ("tokenizer.json".to_owned(), tokenizer::tokenizer_json(&metadata, architecture)?),
        ("tokenizer_config.json".to_owned(), tokenizer::tokenizer_config(&metadata)?),
        ("generation_config.json".to_owned(), tokenizer::generation_config(&metadata)?),
    ];
    Ok((hf_config, files))
}

impl Imported {
    /// Writes a Hugging Face folder into the existing folder `dir`.
    pub fn write(&self, dir: &Path) -> Result<()> {
        write_json(&dir.join("config.json"), &self.hf_config)?;
        for (name, value) in &self.files {
            write_json(&dir.join(name), value)?;
        }
        limbeck_core::write_tensors(
            &dir.join("model.safetensors"),
            &self.tensors,
            &[("format", "pt")],
        )?;
        Ok(())
    }
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|source| Error::Json { path: path.to_owned(), source })?;
    text.push(b'\n');
    Ok(limbeck_run::write_file(path, &text)?)
}

fn damaged(path: &Path, expected: impl Into<String>, got: impl Into<String>) -> Error {
    Error::Gguf { path: PathBuf::from(path), expected: expected.into(), got: got.into() }
}
