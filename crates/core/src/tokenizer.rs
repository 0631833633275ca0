//! A model folder's tokenizer: `tokenizer.json` with the special tokens and the chat
//! template of `tokenizer_config.json` (or `chat_template.jinja`), and the stop tokens
//! of `generation_config.json`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::chat::TemplateTokens;
use crate::checkpoint::read_json;
use crate::{ChatTemplate, Error, Result};

/// The files that belong to a tokenizer; the first is required.
const FILES: [&str; 5] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
];

/// A tokenizer with what a model folder says about its use.
#[derive(Debug)]
pub struct Tokenizer {
    folder: PathBuf,
    inner: tokenizers::Tokenizer,
    eos_token_ids: Vec<i64>,
    pad_token_id: Option<i64>,
    chat_template: Option<ChatTemplate>,
}

impl Tokenizer {
    /// Reads the tokenizer of a model folder.
    ///
    /// # Errors
    /// A missing or damaged file, a template that does not compile, a stop token that
    /// the vocabulary lacks.
    pub fn load(folder: &Path) -> Result<Self> {
        let file = folder.join(FILES[0]);
        if !file.exists() {
            let source = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(Error::Read { path: file, source });
        }
        let inner = tokenizers::Tokenizer::from_file(&file)
            .map_err(|error| Error::Tokenizer { path: file.clone(), message: error.to_string() })?;

        let config_path = folder.join(FILES[1]);
        let config = if config_path.exists() { read_json(&config_path)? } else { Value::Null };
        let token = |key: &str| token_text(&config[key]);
        let id_of = |text: &str| {
            inner.token_to_id(text).map(i64::from).ok_or_else(|| Error::Json {
                path: config_path.clone(),
                expected: "special tokens that tokenizer.json has".to_owned(),
                found: format!("{text:?}"),
            })
        };
        let mut eos_token_ids = Vec::new();
        for name in ["generation_config.json", "config.json"] {
            let path = folder.join(name);
            if eos_token_ids.is_empty() && path.exists() {
                eos_token_ids = id_list(&read_json(&path)?["eos_token_id"]);
            }
        }
        let eos = token("eos_token");
        if let Some(eos) = &eos {
            let id = id_of(eos)?;
            if !eos_token_ids.contains(&id) {
                eos_token_ids.push(id);
            }
        }
        let pad_token_id = token("pad_token").map(|text| id_of(&text)).transpose()?;

        let tokens = TemplateTokens {
            bos: token("bos_token").unwrap_or_default(),
            eos: eos.unwrap_or_default(),
        };
        let chat_template = read_template(folder, &config, &config_path)?
            .map(|(source, path)| ChatTemplate::new(&source, tokens, &path))
            .transpose()?;
        Ok(Self { folder: folder.to_owned(), inner, eos_token_ids, pad_token_id, chat_template })
    }

    /// The folder it was read from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Token ids of a piece of text, such as a rendered chat template. Special tokens
    /// written in the text become their ids; none is added at the ends.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer's model refuses the text.
    pub fn encode(&self, text: &str) -> Result<Vec<i64>> {
        self.ids(text, false)
    }

    /// Token ids of a plain text that stands alone: with the special tokens that the
    /// tokenizer's post-processor puts at its ends, such as the `<bos>` without which
    /// Gemma and Llama models lose their thread. A text that already begins with that
    /// token does not get it twice.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer's model refuses the text.
    pub fn encode_document(&self, text: &str) -> Result<Vec<i64>> {
        let (bare, mut whole) = (self.ids(text, false)?, self.ids(text, true)?);
        let leading = whole.first().filter(|first| bare.first() == Some(first));
        if whole.len() > bare.len() && leading.is_some() && whole.get(1) == leading {
            whole.remove(0);
        }
        Ok(whole)
    }

    /// Token ids as [`Tokenizer::encode`] gives them, and the byte at which each token
    /// begins.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the tokenizer's model refuses the text.
    pub fn encode_with_starts(&self, text: &str) -> Result<(Vec<i64>, Vec<usize>)> {
        let encoding = self.inner.encode(text, false).map_err(|error| self.error(&*error))?;
        let ids = encoding.get_ids().iter().map(|&id| i64::from(id)).collect();
        Ok((ids, encoding.get_offsets().iter().map(|&(start, _)| start).collect()))
    }

    fn ids(&self, text: &str, add_special_tokens: bool) -> Result<Vec<i64>> {
        let encoding = self
            .inner
            .encode_fast(text, add_special_tokens)
            .map_err(|error| self.error(&*error))?;
        Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
    }

    /// The text of token ids; special tokens are left out if `skip_special`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] for an id outside of the vocabulary's range.
    pub fn decode(&self, tokens: &[i64], skip_special: bool) -> Result<String> {
        let ids = tokens
            .iter()
            .map(|&id| u32::try_from(id))
            .collect::<std::result::Result<Vec<u32>, _>>()
            .map_err(|error| self.error(&error))?;
        self.inner.decode(&ids, skip_special).map_err(|error| self.error(&*error))
    }

    /// One more than the highest id.
    pub fn vocab_size(&self) -> i64 {
        let highest = self.inner.get_vocab(true).into_values().max();
        highest.map_or(0, |id| i64::from(id) + 1)
    }

    /// Checks that every id has an embedding row.
    ///
    /// # Errors
    /// [`Error::VocabularyMismatch`].
    pub fn check_fits(&self, embedding_rows: i64) -> Result<()> {
        let vocab_size = self.vocab_size();
        if vocab_size <= embedding_rows {
            return Ok(());
        }
        Err(Error::VocabularyMismatch {
            path: self.folder.join(FILES[0]),
            highest_id: vocab_size - 1,
            vocab_size: embedding_rows,
        })
    }

    /// The token of the lowest id on which two vocabularies differ, as the id, this one's token
    /// and the other's; `None` where all ids agree.
    pub fn first_difference(&self, other: &Self) -> Option<(i64, Option<String>, Option<String>)> {
        let highest = self.vocab_size().max(other.vocab_size());
        (0..highest).find_map(|id| {
            let index = u32::try_from(id).ok()?;
            let (ours, theirs) = (self.inner.id_to_token(index), other.inner.id_to_token(index));
            (ours != theirs).then_some((id, ours, theirs))
        })
    }

    /// The id of a token, if the vocabulary has it.
    pub fn token_id(&self, token: &str) -> Option<i64> {
        self.inner.token_to_id(token).map(i64::from)
    }

    /// The token of an id, as the vocabulary writes it.
    pub(crate) fn token(&self, id: i64) -> Option<String> {
        u32::try_from(id).ok().and_then(|id| self.inner.id_to_token(id))
    }

    /// The ids of tokens that were added to the vocabulary, which writes them as they are.
    pub(crate) fn added_ids(&self) -> HashSet<i64> {
        self.inner.get_added_tokens_decoder().into_keys().map(i64::from).collect()
    }

    /// Whether the vocabulary writes bytes as characters, as GPT-2's does.
    pub(crate) fn is_byte_level(&self) -> bool {
        let decoder =
            self.inner.get_decoder().and_then(|decoder| serde_json::to_string(decoder).ok());
        decoder.is_some_and(|decoder| decoder.contains("\"ByteLevel\""))
    }

    /// Whether decoding makes anything of an id: it has a token, and not one that is left out.
    pub fn is_decoded(&self, id: i64, skip_special: bool) -> bool {
        let token = u32::try_from(id).ok().and_then(|id| self.inner.id_to_token(id));
        token.is_some_and(|token| {
            !skip_special || !self.inner.get_added_vocabulary().is_special_token(&token)
        })
    }

    /// Whether an id's token stands for a single byte, as `<0x0A>` does.
    pub fn is_byte(&self, id: i64) -> bool {
        let token = u32::try_from(id).ok().and_then(|id| self.inner.id_to_token(id));
        let digits = token.as_deref().and_then(|token| token.strip_prefix("<0x"));
        digits.and_then(|digits| digits.strip_suffix('>')).is_some_and(|digits| {
            digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
        })
    }

    /// The ids that end a generation.
    pub fn eos_token_ids(&self) -> &[i64] {
        &self.eos_token_ids
    }

    /// The id that fills a batch; 0 if the tokenizer names none (it is masked anyway).
    pub fn pad_token_id(&self) -> i64 {
        self.pad_token_id.unwrap_or(0)
    }

    /// The chat template, if the folder has one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    /// The chat template.
    ///
    /// # Errors
    /// [`Error::Template`] if the folder has none.
    pub fn require_chat_template(&self) -> Result<&ChatTemplate> {
        self.chat_template().ok_or_else(|| Error::Template {
            path: self.folder.join(FILES[1]),
            message: "there is none, and conversations need one".to_owned(),
        })
    }

    /// Copies the tokenizer's files into another model folder.
    ///
    /// # Errors
    /// As [`Self::copy_files_of`].
    pub fn copy_files(&self, to: &Path) -> Result<()> {
        Self::copy_files_of(&self.folder, to)
    }

    /// Copies the files of a folder's tokenizer, which need not be loaded, into another.
    ///
    /// # Errors
    /// Read and write errors.
    pub fn copy_files_of(folder: &Path, to: &Path) -> Result<()> {
        for name in FILES {
            let path = folder.join(name);
            if path.exists() {
                let bytes = std::fs::read(&path)
                    .map_err(|source| Error::Read { path: path.clone(), source })?;
                limbeck_run::write_file(&to.join(name), &bytes)?;
            }
        }
        Ok(())
    }

    fn error(&self, error: &dyn std::fmt::Display) -> Error {
        Error::Tokenizer { path: self.folder.join(FILES[0]), message: error.to_string() }
    }
}

/// A special token as `tokenizer_config.json` writes it: a string, or an object with
/// `content`.
fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
}

/// `eos_token_id` is a number or a list of numbers.
fn id_list(value: &Value) -> Vec<i64> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_i64).collect(),
        other => other.as_i64().into_iter().collect(),
    }
}

/// The template's text and the file it stands in: `chat_template.jinja` first (where
/// transformers 5 writes it), else the key `chat_template`, a string or a list of named
/// templates of which `default` is taken.
fn read_template(
    folder: &Path,
    config: &Value,
    config_path: &Path,
) -> Result<Option<(String, PathBuf)>> {
    let path = folder.join("chat_template.jinja");
    if path.exists() {
        let text = std::fs::read_to_string(&path)
            .map_err(|source| Error::Read { path: path.clone(), source })?;
        return Ok(Some((text, path)));
    }
    let source = match &config["chat_template"] {
        Value::Null => return Ok(None),
        Value::String(source) => source.clone(),
        Value::Array(named) => named
            .iter()
            .find(|entry| entry["name"] == "default")
            .and_then(|entry| entry["template"].as_str())
            .map(str::to_owned)
            .ok_or_else(|| Error::Json {
                path: config_path.to_owned(),
                expected: "a chat template named default".to_owned(),
                found: format!("{} templates of other names", named.len()),
            })?,
        other => {
            return Err(Error::Json {
                path: config_path.to_owned(),
                expected: "chat_template as a string or a list".to_owned(),
                found: other.to_string(),
            });
        }
    };
    Ok(Some((source, config_path.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer_training::{self, TokenizerConfig};

    fn trained() -> (tempfile::TempDir, Tokenizer) {
        let folder = tempfile::tempdir().unwrap();
        let texts = ["Start with 12. Add 30.", "Start with 7. Add 45. Add 9."];
        let config = TokenizerConfig { vocab_size: 300, ..TokenizerConfig::default() };
        tokenizer_training::train(texts.into_iter(), &config, folder.path()).unwrap();
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        (folder, tokenizer)
    }

    #[test]
    fn bytes_round_trip_and_digits_stay_apart() {
        let (_folder, tokenizer) = trained();
        for text in ["Start with 1234.", "naïve 数学 \u{1F9EA}\n\n  x", ""] {
            let tokens = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&tokens, false).unwrap(), text);
        }
        let digits = tokenizer.encode("1234").unwrap();
        assert_eq!(digits.len(), 4);
    }

    #[test]
    fn a_document_begins_as_its_tokenizer_says() {
        let (folder, plain) = trained();
        assert_eq!(plain.encode_document("Add 9.").unwrap(), plain.encode("Add 9.").unwrap());
        let file = folder.path().join(FILES[0]);
        let mut json: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let start = plain.token_id("<|im_start|>").unwrap();
        json["post_processor"] = serde_json::json!({
            "type": "TemplateProcessing",
            "single": [
                { "SpecialToken": { "id": "<|im_start|>", "type_id": 0 } },
                { "Sequence": { "id": "A", "type_id": 0 } },
            ],
            "pair": [
                { "Sequence": { "id": "A", "type_id": 0 } },
                { "Sequence": { "id": "B", "type_id": 1 } },
            ],
            "special_tokens": {
                "<|im_start|>": { "id": "<|im_start|>", "ids": [start], "tokens": ["<|im_start|>"] }
            },
        });
        std::fs::write(&file, json.to_string()).unwrap();
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        let bare = tokenizer.encode("Add 9.").unwrap();
        let begun = [&[start][..], &bare].concat();
        assert_eq!(tokenizer.encode_document("Add 9.").unwrap(), begun);
        assert_eq!(tokenizer.encode_document("<|im_start|>Add 9.").unwrap(), begun, "once");
        assert_eq!(tokenizer.encode_document("").unwrap(), [start]);
    }

    #[test]
    fn the_template_renders_reasoning_losslessly() {
        let (_folder, tokenizer) = trained();
        let template = tokenizer.require_chat_template().unwrap();
        let messages = [Message::user("Q"), Message::assistant("<think>\nR\n</think>\n\nA")];
        let text = template.render(&messages, false, None).unwrap();
        assert_eq!(
            text,
            "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n<think>\nR\n</think>\n\nA<|im_end|>\n"
        );
        let prompt = template.render(&messages[..1], true, None).unwrap();
        assert!(text.starts_with(&prompt));
        let closed = template.render(&messages[..1], true, Some(false)).unwrap();
        assert_eq!(closed, format!("{prompt}<think>\n\n</think>\n\n"));
        let tokens = tokenizer.encode(&text).unwrap();
        assert_eq!(tokenizer.eos_token_ids(), [tokenizer.token_id("<|im_end|>").unwrap()]);
        assert!(tokens.contains(&tokenizer.eos_token_ids()[0]));
    }

    #[test]
    fn ids_beyond_the_embedding_are_an_error() {
        let (_folder, tokenizer) = trained();
        tokenizer.check_fits(tokenizer.vocab_size()).unwrap();
        let highest = tokenizer.vocab_size() - 1;
        let error = tokenizer.check_fits(highest).unwrap_err().to_string();
        let said = format!("ids up to {highest}, but the model's embedding has {highest} rows");
        assert!(error.contains(&said), "{error}");
    }

    use crate::Message;
}
