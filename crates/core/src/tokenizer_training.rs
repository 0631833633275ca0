//! Trains a byte-level BPE tokenizer whose digits stay single tokens, and writes it as a
//! model folder's tokenizer files that transformers loads unchanged.
//!
//! Digits are split because a number must be spelled one way: merged digits would make
//! 123 one token here and two there, and place-by-place arithmetic unlearnable.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    SplitDelimiterBehavior, TokenizerImpl,
};

use crate::{Error, Result};

/// Word boundaries of Qwen2's tokenizer: contractions, letters with one leading
/// non-letter, single digits, punctuation, newlines, spaces. It must be exactly this one:
/// for `model_type` qwen2, transformers' `AutoTokenizer` puts this pattern (and NFC) in
/// place of whatever `tokenizer.json` says.
const WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// `ChatML` with Qwen3's `enable_thinking = false`, and without its removal of reasoning
/// from earlier turns: what is trained on is what was written.
pub(crate) const CHAT_TEMPLATE: &str = "\
{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' and message.reasoning_content %}
{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}
{%- endif %}
{{- message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}
{{- '<think>\\n\\n</think>\\n\\n' }}
{%- endif %}
{%- endif %}";

const END_OF_TEXT: &str = "<|endoftext|>";
pub(crate) const START_OF_TURN: &str = "<|im_start|>";
pub(crate) const END_OF_TURN: &str = "<|im_end|>";
/// Ordinary added tokens in Qwen3, not special ones: decoding must keep them.
const THINK: [&str; 2] = ["<think>", "</think>"];

/// How a tokenizer is trained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerConfig {
    /// Number of tokens, special ones and the 256 bytes included. Default 640.
    pub vocab_size: usize,
    /// How often a pair must occur to be merged. Default 2.
    pub min_frequency: u64,
    /// The longest sequence the model is meant for, in tokens. Default 1024.
    pub model_max_length: usize,
}

impl Default for TokenizerConfig {
    fn default() -> Self {
        Self { vocab_size: 640, min_frequency: 2, model_max_length: 1024 }
    }
}

impl limbeck_run::config::Validate for TokenizerConfig {
    fn validate(&self) -> std::result::Result<(), limbeck_run::config::Invalid> {
        if self.vocab_size < 261 {
            return Err(limbeck_run::config::Invalid::new(
                "vocab_size",
                "at least 261 (256 bytes and 5 special tokens)",
                self.vocab_size,
            ));
        }
        Ok(())
    }
}

type Bpe = TokenizerImpl<
    BPE,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// Trains on the texts and writes `tokenizer.json`, `tokenizer_config.json` (with the
/// chat template) and `generation_config.json` into an existing folder.
///
/// # Errors
/// [`Error::Tokenizer`] from the library, write errors.
pub fn train<'a>(
    texts: impl Iterator<Item = &'a str> + Send,
    config: &TokenizerConfig,
    folder: &Path,
) -> Result<()> {
    let path = folder.join("tokenizer.json");
    let failed = |error: &dyn std::fmt::Display| Error::Tokenizer {
        path: path.clone(),
        message: error.to_string(),
    };
    let words =
        Split::new(SplitPattern::Regex(WORDS.to_owned()), SplitDelimiterBehavior::Isolated, false)
            .map_err(|error| failed(&error))?;
    let bytes = ByteLevel::new(false, false, false);
    let mut tokenizer: Bpe = TokenizerImpl::new(BPE::default());
    tokenizer.with_normalizer(Some(NFC)).map_err(|error| failed(&error))?;
    tokenizer
        .with_pre_tokenizer(Some(Sequence::new(vec![words.into(), bytes.into()])))
        .with_decoder(Some(bytes));

    let special = |text: &str| AddedToken::from(text, true).special(true);
    let mut added: Vec<AddedToken> =
        [END_OF_TEXT, START_OF_TURN, END_OF_TURN].into_iter().map(special).collect();
    added.extend(THINK.map(|text| AddedToken::from(text, false)));
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(config.vocab_size)
        .min_frequency(config.min_frequency)
        .initial_alphabet(alphabet.into_iter().collect())
        .special_tokens(added.clone())
        .build();
    tokenizer.train(&mut trainer, texts).map_err(|error| failed(&error))?;
    let (special_tokens, ordinary) = added.split_at(3);
    tokenizer.add_special_tokens(special_tokens.iter().cloned()).map_err(|error| failed(&error))?;
    tokenizer.add_tokens(ordinary.iter().cloned()).map_err(|error| failed(&error))?;

    let eos_token_id = tokenizer.token_to_id(END_OF_TURN);
    let json = tokenizer.to_string(true).map_err(|error| failed(&error))?;
    limbeck_run::write_file(&path, json.as_bytes())?;
    let tokenizer_config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": null,
        "eos_token": END_OF_TURN,
        "pad_token": END_OF_TEXT,
        "model_max_length": config.model_max_length,
        "clean_up_tokenization_spaces": false,
        "chat_template": CHAT_TEMPLATE,
    });
    let generation_config = json!({ "eos_token_id": eos_token_id, "do_sample": false });
    for (name, value) in
        [("tokenizer_config.json", tokenizer_config), ("generation_config.json", generation_config)]
    {
        let text = format!("{value:#}\n");
        limbeck_run::write_file(&folder.join(name), text.as_bytes())?;
    }
    Ok(())
}
