//! What a capture was made of, and what it must fit.

use limbeck_core::Tokenizer;
use limbeck_run::{sha256_bytes, sha256_file};
use serde::{Deserialize, Serialize};

use super::Result;
use super::error::CaptureError;

/// The head of every file of a capture. Files of one capture have equal heads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Tokens kept at each position, the likeliest first.
    pub top_k: usize,
    /// T of the distributions, `softmax(z / T)`. The tail's mass at another temperature
    /// does not follow from that at this one.
    pub temperature: f64,
    /// Rows of the teacher's head.
    pub vocab_size: i64,
    /// SHA-256 of `tokenizer.json`.
    pub tokenizer_hash: String,
    /// SHA-256 of the chat template.
    pub template_hash: String,
    /// The teacher's name, for people: it is not compared.
    pub teacher: String,
    /// SHA-256 of the teacher's `config.json`.
    pub teacher_config_hash: String,
    /// SHA-256 of the teacher's folder, adapters included.
    pub teacher_hash: String,
    /// Dtype of the teacher's activations.
    pub dtype: String,
}

impl Header {
    /// Whether the numbers in it make sense.
    ///
    /// # Errors
    /// [`CaptureError::Setting`].
    pub fn validate(&self) -> Result<()> {
        if self.top_k == 0 || self.top_k as i64 > self.vocab_size {
            return Err(CaptureError::Setting {
                what: "top_k",
                expected: format!("1 up to the vocabulary's {} tokens", self.vocab_size),
                found: self.top_k.to_string(),
            });
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(CaptureError::Setting {
                what: "temperature",
                expected: "a number above 0".to_owned(),
                found: self.temperature.to_string(),
            });
        }
        Ok(())
    }

    /// The first thing in which another head differs: its name, this value, the other's.
    pub fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        let differ = |what, this: &dyn ToString, that: &dyn ToString| {
            let (this, that) = (this.to_string(), that.to_string());
            (this != that).then_some((what, this, that))
        };
        differ("top_k", &self.top_k, &other.top_k)
            .or_else(|| differ("temperature", &self.temperature, &other.temperature))
            .or_else(|| differ("vocabulary size", &self.vocab_size, &other.vocab_size))
            .or_else(|| differ("tokenizer", &self.tokenizer_hash, &other.tokenizer_hash))
            .or_else(|| differ("chat template", &self.template_hash, &other.template_hash))
            .or_else(|| {
                differ("teacher config", &self.teacher_config_hash, &other.teacher_config_hash)
            })
            .or_else(|| differ("teacher", &self.teacher_hash, &other.teacher_hash))
            .or_else(|| differ("dtype", &self.dtype, &other.dtype))
    }
}

/// What the student's side has, and a capture must have been made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// As [`Header::tokenizer_hash`].
    pub tokenizer_hash: String,
    /// As [`Header::template_hash`].
    pub template_hash: String,
    /// As [`Header::vocab_size`].
    pub vocab_size: i64,
}

impl Expected {
    /// What a tokenizer's folder has, beside a head of `vocab_size` rows.
    ///
    /// # Errors
    /// A folder without a chat template; read errors.
    pub fn of(tokenizer: &Tokenizer, vocab_size: i64) -> crate::Result<Self> {
        let file = tokenizer.folder().join("tokenizer.json");
        let template = tokenizer.require_chat_template()?;
        Ok(Self {
            tokenizer_hash: sha256_file(&file).map_err(CaptureError::from)?,
            template_hash: sha256_bytes(template.source().as_bytes()),
            vocab_size,
        })
    }

    /// Whether a head fits; `differ` names the first thing that does not.
    pub(super) fn difference(&self, header: &Header) -> Option<(&'static str, String, String)> {
        let expected = Header {
            tokenizer_hash: self.tokenizer_hash.clone(),
            template_hash: self.template_hash.clone(),
            vocab_size: self.vocab_size,
            ..header.clone()
        };
        expected.difference(header)
    }
}
