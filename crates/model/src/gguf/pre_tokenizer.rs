//! How byte-level tokenizers cut a text before merging, by llama.cpp's `tokenizer.ggml.pre`.

use serde_json::{Value, json};

use crate::error::{Error, Result};

const SUPPORTED: &[&str] = &[
    "default",
    "gpt-2",
    "smollm",
    "llama3",
    "llama-v3",
    "llama-bpe",
    "qwen2",
    "deepseek-r1-qwen",
    "tekken",
];

/// Each digit by itself, before GPT-2's pattern.
const DIGITS: &str = r"\p{N}";

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
        "smollm" => (Some(DIGITS), false),
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
                byte_level(pre == "smollm"),
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

/// The name by which llama.cpp knows how a `tokenizer.json` cuts a text; the inverse of
/// [`byte_level`]. llama.cpp composes no characters, whatever the normalizer says.
///
/// # Errors
/// A pattern without a name there: another one would give wrong tokens without any sign of it.
pub(super) fn name(pre_tokenizer: &Value, ignore_merges: bool) -> Result<&'static str> {
    let parts = match pre_tokenizer["type"].as_str() {
        Some("Sequence") => pre_tokenizer["pretokenizers"].as_array().cloned().unwrap_or_default(),
        _ => vec![pre_tokenizer.clone()],
    };
    let gpt2 = |part: &Value| {
        part["type"] == "ByteLevel"
            && part["use_regex"] != false
            && part["add_prefix_space"] != true
    };
    let bytes = |part: &Value| part["type"] == "ByteLevel" && part["use_regex"] == false;
    let digits = |part: &Value| {
        (part["type"] == "Digits" && part["individual_digits"] == true)
            || (part["type"] == "Split" && part["pattern"]["Regex"] == DIGITS)
    };
    let found = match parts.as_slice() {
        [only] if gpt2(only) => Some(("gpt-2", false)),
        [first, second] if digits(first) && gpt2(second) => Some(("smollm", false)),
        [first, second] if first["type"] == "Split" && bytes(second) => {
            match first["pattern"]["Regex"].as_str() {
                Some(LLAMA3) => Some(("llama-bpe", true)),
                Some(QWEN2) => Some(("qwen2", false)),
                Some(TEKKEN) => Some(("tekken", true)),
                _ => None,
            }
        }
        _ => None,
    };
    match found {
        Some((name, ignores)) if ignores == ignore_merges => Ok(name),
        _ => Err(Error::Unsupported {
            what: "pre-tokenizer for GGUF",
            found: pre_tokenizer.to_string(),
            supported: &["gpt-2", "smollm", "llama-bpe", "qwen2", "tekken"],
        }),
    }
}
