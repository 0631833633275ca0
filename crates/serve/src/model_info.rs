//! What the server knows of the model behind its engine.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use limbeck_core::Tokenizer;

/// The model's name, limits and tokenizer.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    /// The name that requests use.
    pub name: String,
    /// Most tokens of a prompt and its reply together.
    pub max_model_len: usize,
    /// Rows of the embedding.
    pub vocab_size: i64,
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// Seconds since 1970 when the server started.
    pub created: u64,
}

impl ModelInfo {
    /// A model that is served from now on.
    pub fn new(
        name: impl Into<String>,
        max_model_len: usize,
        vocab_size: i64,
        tokenizer: Arc<Tokenizer>,
    ) -> Self {
        Self { name: name.into(), max_model_len, vocab_size, tokenizer, created: unix_seconds() }
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
