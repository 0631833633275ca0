//! The tokenizer's metadata of a GGUF file from a Hugging Face folder: the inverse of
//! [`super::tokenizer`].
//!
//! llama.cpp merges byte-level tokens by their list of merges and SentencePiece ones by scores. A
//! score here is the rank of the first merge that makes a token, negative. That is the same order
//! where all merges of a token follow each other, as in every `tokenizer.json` that was converted
//! from SentencePiece; the list of merges is written beside it where our import would not find it
//! again.

use std::collections::HashMap;
use std::path::Path;

use limbeck_core::checkpoint::read_json;
use serde_json::Value;

use super::pre_tokenizer;
use super::tokenizer::{CONTROL, SPACE, USER_DEFINED, implied_merges};
use super::writer::{MetaValue, Metadata};
use crate::error::{Error, Result};

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// The files of a folder's tokenizer.
struct Files {
    tokenizer: Value,
    config: Value,
    generation: Value,
    model: Value,
    template: Option<String>,
}

/// Keys of `tokenizer.*` for a model whose embedding has `vocab_size` rows, and warnings.
///
/// # Errors
/// A folder without a tokenizer, or one that llama.cpp has no kind for.
pub(super) fn describe(
    folder: &Path,
    vocab_size: usize,
    gemma: bool,
) -> Result<(Metadata, Vec<String>)> {
    let files = Files::read(folder)?;
    let model = &files.tokenizer["model"];
    let kind = model["type"].as_str().unwrap_or("BPE");
    if kind != "BPE" {
        return Err(refuse("tokenizer model", "BPE", kind));
    }
    let tokens = Tokens::read(&files.tokenizer, vocab_size)?;
    let merges = merges(model)?;
    let mut keys = Vec::new();
    let mut warnings = Vec::new();
    let mut set = |key: &str, value: MetaValue| keys.push((format!("tokenizer.{key}"), value));
    let text = |text: &str| MetaValue::String(text.to_owned());

    if model["byte_fallback"] == true {
        let (scores, in_order) = scores(&tokens.texts, &merges);
        if !in_order {
            warnings.push(
                "merges of one token are not next to each other: llama.cpp, which goes by scores, \
                 may cut some words otherwise"
                    .to_owned(),
            );
        }
        let ranks: Vec<f64> = if gemma {
            (0..tokens.texts.len()).map(|id| id as f64).collect()
        } else {
            scores.iter().map(|&score| -f64::from(score)).collect()
        };
        set("ggml.model", text("llama"));
        set("ggml.pre", text("default"));
        set("ggml.scores", MetaValue::Floats(scores));
        set("ggml.add_space_prefix", MetaValue::Bool(adds_space(&files.tokenizer)));
        if implied_merges(&tokens.texts, &ranks) != merges {
            set("ggml.merges", MetaValue::Strings(joined(&merges)));
        }
    } else {
        let ignores = model["ignore_merges"] == true;
        set("ggml.model", text("gpt2"));
        set("ggml.pre", text(pre_tokenizer::name(&files.tokenizer["pre_tokenizer"], ignores)?));
        set("ggml.merges", MetaValue::Strings(joined(&merges)));
    }
    for (name, id) in files.ids(&tokens.texts) {
        set(&format!("ggml.{name}_token_id"), MetaValue::U32(id));
    }
    set("ggml.add_bos_token", MetaValue::Bool(files.adds_bos()));
    set("ggml.token_type", MetaValue::Integers(tokens.kinds));
    set("ggml.tokens", MetaValue::Strings(tokens.texts));
    if let Some(template) = files.template {
        set("chat_template", MetaValue::String(template));
    }
    Ok((keys, warnings))
}

impl Files {
    fn read(folder: &Path) -> Result<Self> {
        let optional = |name: &str| {
            let path = folder.join(name);
            if path.exists() { read_json(&path) } else { Ok(Value::Null) }
        };
        let config = optional("tokenizer_config.json")?;
        let path = folder.join("chat_template.jinja");
        let template = if path.exists() {
            Some(std::fs::read_to_string(&path).map_err(|source| Error::Read { path, source })?)
        } else {
            template_of(&config["chat_template"])
        };
        Ok(Self {
            tokenizer: read_json(&folder.join("tokenizer.json"))?,
            generation: optional("generation_config.json")?,
            model: optional("config.json")?,
            config,
            template,
        })
    }

    /// Ids of special tokens by llama.cpp's names. A second token that ends a reply is the end of
    /// a turn.
    fn ids(&self, tokens: &[String]) -> Vec<(&'static str, u32)> {
        let of_text = |key: &str| {
            let token = &self.config[key];
            let text = token.as_str().or_else(|| token["content"].as_str())?;
            tokens.iter().position(|token| token == text).map(|id| id as u32)
        };
        let listed = |key: &str| -> Vec<u32> {
            let of = |value: &Value| -> Vec<u32> {
                let numbers = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                let numbers = numbers.iter().filter_map(Value::as_u64);
                numbers.filter_map(|id| u32::try_from(id).ok()).collect()
            };
            let found = of(&self.generation[key]);
            if found.is_empty() { of(&self.model[key]) } else { found }
        };
        let mut ids = Vec::new();
        for (name, token, key) in [
            ("bos", "bos_token", "bos_token_id"),
            ("unknown", "unk_token", "unk_token_id"),
            ("padding", "pad_token", "pad_token_id"),
        ] {
            let id = of_text(token).or_else(|| listed(key).first().copied());
            ids.extend(id.map(|id| (name, id)));
        }
        let mut ends = listed("eos_token_id");
        if let Some(end) = of_text("eos_token") {
            ends.retain(|&id| id != end);
            ends.insert(0, end);
        }
        ids.extend(["eos", "eot"].into_iter().zip(ends));
        ids
    }

    /// Whether texts that stand alone begin with the first token.
    fn adds_bos(&self) -> bool {
        fn puts_first(processor: &Value) -> bool {
            let nested = processor["processors"].as_array();
            nested.into_iter().flatten().any(puts_first)
                || processor["single"][0].get("SpecialToken").is_some()
        }
        let stated = self.config["add_bos_token"].as_bool();
        puts_first(&self.tokenizer["post_processor"]) || stated == Some(true)
    }
}

/// The template, or of several the one for conversations.
fn template_of(value: &Value) -> Option<String> {
    if let Some(template) = value.as_str() {
        return Some(template.to_owned());
    }
    let named = value.as_array()?.iter().find(|template| template["name"] == "default")?;
    named["template"].as_str().map(str::to_owned)
}

/// Texts and kinds of all tokens, by id.
struct Tokens {
    texts: Vec<String>,
    kinds: Vec<i32>,
}

impl Tokens {
    fn read(tokenizer: &Value, vocab_size: usize) -> Result<Self> {
        let model = &tokenizer["model"];
        // Rows of the embedding that no token uses still need distinct names.
        let mut texts: Vec<String> = (0..vocab_size).map(|id| format!("[PAD{id}]")).collect();
        let mut kinds = vec![UNUSED; vocab_size];
        let mut put = |text: &str, id: Option<u64>, kind: i32| {
            let slot = id.and_then(|id| usize::try_from(id).ok()).filter(|&id| id < vocab_size);
            let Some(id) = slot else {
                let expected = format!("token ids below {vocab_size}");
                return Err(refuse("tokenizer", &expected, format!("{text:?} as {id:?}")));
            };
            text.clone_into(&mut texts[id]);
            kinds[id] = kind;
            Ok(())
        };
        let fallback = model["byte_fallback"] == true;
        let unknown = model["unk_token"].as_str();
        for (text, id) in model["vocab"].as_object().into_iter().flatten() {
            let byte =
                fallback && text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
            let kind = match () {
                () if byte => BYTE,
                () if unknown == Some(text) => UNKNOWN,
                () => NORMAL,
            };
            put(text, id.as_u64(), kind)?;
        }
        for token in tokenizer["added_tokens"].as_array().into_iter().flatten() {
            let special = token["special"] == true;
            let kind = if special { CONTROL } else { USER_DEFINED };
            let text = token["content"].as_str().unwrap_or_default();
            put(text, token["id"].as_u64(), kind as i32)?;
        }
        Ok(Self { texts, kinds })
    }
}

/// The merges, in either spelling.
fn merges(model: &Value) -> Result<Vec<(String, String)>> {
    let merges = model["merges"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pair = |merge: &Value| match merge {
        Value::String(merge) => {
            merge.split_once(' ').map(|(left, right)| (left.to_owned(), right.to_owned()))
        }
        merge => Some((merge[0].as_str()?.to_owned(), merge[1].as_str()?.to_owned())),
    };
    merges
        .iter()
        .map(|merge| pair(merge).ok_or_else(|| refuse("merges", "two tokens each", merge)))
        .collect()
}

fn joined(merges: &[(String, String)]) -> Vec<String> {
    merges.iter().map(|(left, right)| format!("{left} {right}")).collect()
}

/// Scores by which SentencePiece merges in the order of a list, and whether that is quite the same
/// order.
fn scores(tokens: &[String], merges: &[(String, String)]) -> (Vec<f32>, bool) {
    let mut ranks: HashMap<String, usize> = HashMap::with_capacity(merges.len());
    let mut last = None;
    let mut in_order = true;
    for (rank, (left, right)) in merges.iter().enumerate() {
        let merged = format!("{left}{right}");
        in_order &= last.as_ref() == Some(&merged) || !ranks.contains_key(&merged);
        ranks.entry(merged.clone()).or_insert(rank);
        last = Some(merged);
    }
    let lowest = merges.len();
    let rank = |token: &String| ranks.get(token).copied().unwrap_or(lowest);
    (tokens.iter().map(|token| -(rank(token) as f32)).collect(), in_order)
}

/// Whether a text gets a space in front.
fn adds_space(tokenizer: &Value) -> bool {
    fn prepends(part: &Value) -> bool {
        let nested = ["normalizers", "pretokenizers"].into_iter();
        nested.filter_map(|key| part[key].as_array()).flatten().any(prepends)
            || (part["type"] == "Prepend" && part["prepend"] == SPACE)
            || (part["type"] == "Metaspace"
                && part["prepend_scheme"] != "never"
                && part["add_prefix_space"] != false)
    }
    prepends(&tokenizer["normalizer"]) || prepends(&tokenizer["pre_tokenizer"])
}

fn refuse(what: &str, expected: &str, got: impl std::fmt::Display) -> Error {
    Error::Export { what: what.to_owned(), expected: expected.to_owned(), got: got.to_string() }
}
