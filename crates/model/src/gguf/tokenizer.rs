//! `tokenizer.json` and its companions from a GGUF file's metadata.
//!
//! llama.cpp's `gpt2` type is byte-level BPE with its merges; its `llama` type is
//! SentencePiece BPE with scores, which becomes BPE with byte fallback. Merges of the
//! latter are every split of a token into two tokens, best result first, the rule by
//! which transformers converts SentencePiece models.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::metadata::Metadata;
use super::pre_tokenizer;
use crate::error::{Error, Result};

/// `token_type` of tokens such as `<eos>`.
pub(super) const CONTROL: i64 = 3;
/// `token_type` of tokens that are matched whole but are plain text.
pub(super) const USER_DEFINED: i64 = 4;

/// SentencePiece's mark for a space.
pub(super) const SPACE: &str = "\u{2581}";

pub(super) fn tokenizer_json(metadata: &Metadata<'_>, architecture: &str) -> Result<Value> {
    let mut tokens: Vec<String> =
        metadata.strings("tokenizer.ggml.tokens")?.into_iter().map(str::to_owned).collect();
    let (normalizer, pre_tokenizer, decoder, model) =
        match metadata.string("tokenizer.ggml.model")? {
            "gpt2" => {
                let pre = metadata.optional_string("tokenizer.ggml.pre")?.unwrap_or("default");
                let settings = pre_tokenizer::byte_level(pre)?;
                let merges = stated_merges(metadata)?.ok_or_else(|| {
                    metadata.error("tokenizer.ggml.merges", "an array of strings", "nothing")
                })?;
                let decoder = json!({
                    "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
                    "use_regex": false,
                });
                let model = bpe(metadata, &tokens, merges, None, settings.ignore_merges)?;
                (settings.normalizer, settings.pre_tokenizer, decoder, model)
            }
            "llama" => {
                let gemma = architecture == "gemma3";
                if gemma {
                    // Runs of spaces are tokens of their own, stored with real spaces.
                    for token in &mut tokens {
                        if token.len() > 1 && token.bytes().all(|byte| byte == b' ') {
                            *token = SPACE.repeat(token.len());
                        }
                    }
                }
                let merges = match stated_merges(metadata)? {
                    Some(merges) => merges,
                    None => implied_merges(&tokens, &ranks(metadata, &tokens, gemma)?),
                };
                let unknown =
                    token_text(metadata, &tokens, "unknown")?.unwrap_or_else(|| "<unk>".to_owned());
                let model = bpe(metadata, &tokens, merges, Some(&unknown), false)?;
                let prefix = !gemma
                    && metadata.optional_flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
                let (normalizer, decoder) = sentencepiece_text(prefix);
                let pre_tokenizer = if gemma {
                    json!({
                        "type": "Split", "pattern": { "String": " " },
                        "behavior": "MergedWithPrevious", "invert": false,
                    })
                } else {
                    Value::Null
                };
                (normalizer, pre_tokenizer, decoder, model)
            }
            other => {
                return Err(Error::Unsupported {
                    what: "GGUF tokenizer model",
                    found: other.to_owned(),
                    supported: &["gpt2", "llama"],
                });
            }
        };
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens(metadata, &tokens)?,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor(metadata, &tokens)?,
        "decoder": decoder,
        "model": model,
    }))
}

pub(super) fn tokenizer_config(metadata: &Metadata<'_>) -> Result<Value> {
    let tokens: Vec<String> =
        metadata.strings("tokenizer.ggml.tokens")?.into_iter().map(str::to_owned).collect();
    let mut config = Map::new();
    config.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
    config.insert("add_bos_token".to_owned(), json!(adds_bos(metadata)?));
    config.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
    for (key, name) in [
        ("bos_token", "bos"),
        ("eos_token", "eos"),
        ("unk_token", "unknown"),
        ("pad_token", "padding"),
    ] {
        if let Some(token) = token_text(metadata, &tokens, name)? {
            config.insert(key.to_owned(), json!(token));
        }
    }
    if let Some(template) = metadata.optional_string("tokenizer.chat_template")? {
        config.insert("chat_template".to_owned(), json!(template));
    }
    Ok(Value::Object(config))
}

pub(super) fn generation_config(metadata: &Metadata<'_>) -> Result<Value> {
    let mut config = Map::new();
    let id = |name: &str| metadata.optional_integer(&format!("tokenizer.ggml.{name}_token_id"));
    if let Some(bos) = id("bos")? {
        config.insert("bos_token_id".to_owned(), json!(bos));
    }
    // A chat model ends its turn with another token than a text.
    let mut ends: Vec<i64> = [id("eos")?, id("eot")?].into_iter().flatten().collect();
    ends.dedup();
    if !ends.is_empty() {
        config.insert("eos_token_id".to_owned(), json!(ends));
    }
    if let Some(padding) = id("padding")? {
        config.insert("pad_token_id".to_owned(), json!(padding));
    }
    Ok(Value::Object(config))
}

fn token_text(metadata: &Metadata<'_>, tokens: &[String], name: &str) -> Result<Option<String>> {
    let key = format!("tokenizer.ggml.{name}_token_id");
    let Some(id) = metadata.optional_integer(&key)? else { return Ok(None) };
    let token = usize::try_from(id).ok().and_then(|id| tokens.get(id));
    if let Some(token) = token {
        return Ok(Some(token.clone()));
    }
    let expected = format!("an id below {}", tokens.len());
    Err(metadata.error(&key, &expected, id.to_string()))
}

/// llama.cpp's rule where the file does not say: SentencePiece models start with one.
fn adds_bos(metadata: &Metadata<'_>) -> Result<bool> {
    let stated = metadata.optional_flag("tokenizer.ggml.add_bos_token")?;
    Ok(stated.unwrap_or(metadata.string("tokenizer.ggml.model")? == "llama"))
}

fn bpe(
    metadata: &Metadata<'_>,
    tokens: &[String],
    merges: Vec<(String, String)>,
    unknown: Option<&str>,
    ignore_merges: bool,
) -> Result<Value> {
    let mut vocab = Map::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        if vocab.insert(token.clone(), json!(id)).is_some() {
            return Err(metadata.error(
                "tokenizer.ggml.tokens",
                "distinct tokens",
                format!("{token:?} twice, the second time as id {id}"),
            ));
        }
    }
    let sentencepiece = unknown.is_some();
    let merges: Vec<Value> = merges.into_iter().map(|(left, right)| json!([left, right])).collect();
    Ok(json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": unknown,
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": sentencepiece,
        "byte_fallback": sentencepiece,
        "ignore_merges": ignore_merges,
        "vocab": vocab,
        "merges": merges,
    }))
}

fn stated_merges(metadata: &Metadata<'_>) -> Result<Option<Vec<(String, String)>>> {
    let Some(merges) = metadata.optional_strings("tokenizer.ggml.merges")? else { return Ok(None) };
    merges
        .into_iter()
        .map(|merge| match merge.split_once(' ') {
            Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
            None => Err(metadata.error("tokenizer.ggml.merges", "two tokens each", merge)),
        })
        .collect::<Result<Vec<_>>>()
        .map(Some)
}

/// The order in which merges are tried, by the token they make: lower first.
fn ranks(metadata: &Metadata<'_>, tokens: &[String], by_position: bool) -> Result<Vec<f64>> {
    // Gemma's scores do not follow the order of its merges; its vocabulary does.
    if by_position {
        return Ok((0..tokens.len()).map(|id| id as f64).collect());
    }
    let scores = metadata.numbers("tokenizer.ggml.scores")?;
    if scores.len() != tokens.len() {
        let expected = format!("{} scores", tokens.len());
        return Err(metadata.error("tokenizer.ggml.scores", &expected, scores.len().to_string()));
    }
    Ok(scores.into_iter().map(|score| -score).collect())
}

pub(super) fn implied_merges(tokens: &[String], ranks: &[f64]) -> Vec<(String, String)> {
    let ids: HashMap<&str, usize> =
        tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let mut merges: Vec<(f64, usize, &str, &str)> = Vec::new();
    for (id, token) in tokens.iter().enumerate() {
        let mut splits: Vec<(usize, usize, &str, &str)> = token
            .char_indices()
            .skip(1)
            .filter_map(|(at, _)| {
                let (left, right) = token.split_at(at);
                Some((*ids.get(left)?, *ids.get(right)?, left, right))
            })
            .collect();
        splits.sort_unstable();
        merges.extend(splits.into_iter().map(|(_, _, left, right)| (ranks[id], id, left, right)));
    }
    // Ties between splits of one token go to the longer left half.
    merges.sort_by(|left, right| {
        left.0
            .total_cmp(&right.0)
            .then_with(|| right.2.chars().count().cmp(&left.2.chars().count()))
            .then_with(|| right.3.chars().count().cmp(&left.3.chars().count()))
    });
    merges.into_iter().map(|(_, _, left, right)| (left.to_owned(), right.to_owned())).collect()
}

/// Normalizer and decoder that turn spaces into [`SPACE`] and back.
fn sentencepiece_text(prefix: bool) -> (Value, Value) {
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE });
    let restore = json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " });
    let mut decoders = vec![restore, json!({ "type": "ByteFallback" }), json!({ "type": "Fuse" })];
    let normalizer = if prefix {
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        json!({ "type": "Sequence", "normalizers": [{ "type": "Prepend", "prepend": SPACE }, replace] })
    } else {
        replace
    };
    (normalizer, json!({ "type": "Sequence", "decoders": decoders }))
}

fn added_tokens(metadata: &Metadata<'_>, tokens: &[String]) -> Result<Vec<Value>> {
    let types = metadata.optional_integers("tokenizer.ggml.token_type")?.unwrap_or_default();
    Ok(types
        .into_iter()
        .zip(tokens)
        .enumerate()
        // Runs of spaces come out of the merges; added, they would match the mark itself.
        .filter(|(_, (_, token))| !token.chars().all(|char| SPACE.starts_with(char)))
        .filter(|(_, (kind, _))| [CONTROL, USER_DEFINED].contains(kind))
        .map(|(id, (kind, token))| {
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": kind == CONTROL,
            })
        })
        .collect())
}

fn post_processor(metadata: &Metadata<'_>, tokens: &[String]) -> Result<Value> {
    let (true, Some(bos)) = (adds_bos(metadata)?, token_text(metadata, tokens, "bos")?) else {
        return Ok(Value::Null);
    };
    let id = metadata.integer("tokenizer.ggml.bos_token_id")?;
    let start = |type_id: u8| json!({ "SpecialToken": { "id": bos, "type_id": type_id } });
    let text = |id: &str, type_id: u8| json!({ "Sequence": { "id": id, "type_id": type_id } });
    Ok(json!({
        "type": "TemplateProcessing",
        "single": [start(0), text("A", 0)],
        "pair": [start(0), text("A", 0), start(1), text("B", 1)],
        "special_tokens": { bos.as_str(): { "id": bos, "ids": [id], "tokens": [bos] } },
    }))
}
