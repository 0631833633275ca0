//! How byte-level tokenizers cut a text before merging, by llama.cpp's `tokenizer.ggml.pre`.

use serde_json::{Value, json};

use crate::error::{Error, Result};

const SUPPORTED: &[&str] =
    &["default", "gpt-2", "llama3", "llama-v3", "llama-bpe", "qwen2", "deepseek-r1-qwen", "tekken"];

const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// How a byte-level vocabulary is applied.
pub(super) struct ByteLevel {
    pub(super) normalizer: Value,
    pub(super) pre_tokenizer: Value,
    /// Whether a piece that is a token as a whole skips the merges.
    pub(super) ignore_merges: bool,
}

/// The settings that go by the name `pre`.
///
/// # Errors
/// An unknown name: a wrong split would give wrong tokens without any sign of it.
pub(super) fn byte_level(pre: &str) -> Result<ByteLevel> {
    let (split, ignore_merges) = match pre {
        "default" | "gpt-2" => (None, false),
        "llama3" | "llama-v3" | "llama-bpe" => (Some(LLAMA3), true),
        "qwen2" | "deepseek-r1-qwen" => (Some(QWEN2), false),
        "tekken" => (Some(TEKKEN), true),
        other => {
            return Err(Error::Unsupported {
                what: "GGUF pre-tokenizer",
                found: other.to_owned(),
                supported: SUPPORTED,
            });
        }
    };
    let byte_level = |use_regex: bool| {
        json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
            "use_regex": use_regex,
        })
    };
    let pre_tokenizer = match split {
        None => byte_level(true),
        Some(pattern) => json!({
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split", "pattern": { "Regex": pattern },
                    "behavior": "Isolated", "invert": false,
                },
                byte_level(false),
            ],
        }),
    };
    // Qwen's tokenizers compose characters first.
    let normalizer = if pre == "qwen2" || pre == "deepseek-r1-qwen" {
        json!({ "type": "NFC" })
    } else {
        Value::Null
    };
    Ok(ByteLevel { normalizer, pre_tokenizer, ignore_merges })
}
