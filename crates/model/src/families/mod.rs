//! A file per family: from Hugging Face keys to the descriptor.

mod gemma3;
mod keys;
mod llama;
mod mistral;
mod qwen2;
mod qwen3;
mod rope;

use serde_json::Value;

use crate::config::DecoderConfig;
use crate::error::{Error, Result};
use keys::Keys;

/// Values of `model_type` that [`DecoderConfig::from_hf`] accepts.
pub const SUPPORTED_MODEL_TYPES: &[&str] =
    &["llama", "mistral", "qwen2", "qwen3", "gemma3_text", "gemma3"];

pub(crate) fn parse(hf_config: &Value) -> Result<DecoderConfig> {
    let keys = Keys::root(hf_config)?;
    match keys.string("model_type")? {
        "llama" => llama::config(&keys),
        "mistral" => mistral::config(&keys),
        "qwen2" => qwen2::config(&keys),
        "qwen3" => qwen3::config(&keys),
        "gemma3_text" => gemma3::config(&keys),
        "gemma3" => gemma3::config(&keys.object("text_config")?.ok_or_else(|| {
            Error::config("text_config", "an object with the text model's keys", "nothing")
        })?),
        other => Err(Error::Unsupported {
            what: "model_type",
            found: other.to_owned(),
            supported: SUPPORTED_MODEL_TYPES,
        }),
    }
}

#[cfg(test)]
mod tests;
