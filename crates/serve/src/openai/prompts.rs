//! The forms of a completion's `prompt`: a text, several, token ids, or lists of them.

use limbeck_core::Tokenizer;
use serde_json::Value;

use crate::model_info::ModelInfo;

use super::error::{ApiError, ApiResult};
use super::fields::{token_ids, wrong};

/// A prompt in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Prompt {
    pub(super) tokens: Vec<i64>,
    /// As it was given, if it was given as text.
    given: Option<String>,
}

impl Prompt {
    /// Its text.
    pub(super) fn text(&self, tokenizer: &Tokenizer) -> ApiResult<String> {
        match &self.given {
            Some(text) => Ok(text.clone()),
            None => tokenizer
                .decode(&self.tokens, false)
                .map_err(|error| ApiError::parameter("prompt", error.to_string())),
        }
    }
}

/// The prompts of a request, at least one and at most `max_prompts`.
pub(super) fn prompts(
    value: &Value,
    model: &ModelInfo,
    max_prompts: usize,
) -> ApiResult<Vec<Prompt>> {
    let several = |items: &[Value], read: &dyn Fn(&Value) -> ApiResult<Prompt>| {
        if items.len() > max_prompts {
            let message = format!("`prompt` has {} prompts, at most {max_prompts} go", items.len());
            return Err(ApiError::parameter("prompt", message));
        }
        items.iter().map(read).collect()
    };
    let form = "a text, token ids, or a list of texts or of lists of token ids";
    match value {
        Value::String(_) => Ok(vec![of_text(value, model)?]),
        Value::Array(items) => match items.first() {
            None => Err(ApiError::parameter("prompt", "`prompt` is an empty list")),
            Some(Value::String(_)) => several(items, &|item| of_text(item, model)),
            Some(Value::Array(_)) => several(items, &|item| of_ids(item, model)),
            Some(Value::Number(_)) => Ok(vec![of_ids(value, model)?]),
            Some(other) => Err(wrong("prompt", form, other)),
        },
        other => Err(wrong("prompt", form, other)),
    }
}

fn of_text(value: &Value, model: &ModelInfo) -> ApiResult<Prompt> {
    let text = value.as_str().ok_or_else(|| wrong("prompt", "texts alone", value))?;
    let tokens = model
        .tokenizer
        .encode_document(text)
        .map_err(|error| ApiError::parameter("prompt", error.to_string()))?;
    not_empty(Prompt { tokens, given: Some(text.to_owned()) })
}

fn of_ids(value: &Value, model: &ModelInfo) -> ApiResult<Prompt> {
    let tokens = token_ids(value, "prompt")?;
    check_ids("prompt", &tokens, model)?;
    not_empty(Prompt { tokens, given: None })
}

/// Refuses ids that are not the model's.
pub(crate) fn check_ids(param: &str, tokens: &[i64], model: &ModelInfo) -> ApiResult<()> {
    let vocab_size = model.vocab_size;
    match tokens.iter().find(|token| !(0..vocab_size).contains(*token)) {
        None => Ok(()),
        Some(token) => {
            let message =
                format!("`{param}` has token id {token}; the model has {vocab_size} tokens");
            Err(ApiError::parameter(param, message))
        }
    }
}

fn not_empty(prompt: Prompt) -> ApiResult<Prompt> {
    if prompt.tokens.is_empty() {
        return Err(ApiError::parameter("prompt", "`prompt` has no tokens to go on from"));
    }
    Ok(prompt)
}
