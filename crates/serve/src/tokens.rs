//! `/tokenize`, `/detokenize` and `/tokenizer_info`, in vLLM's form, by which lm-eval counts
//! tokens.

use serde_json::{Value, json};

use crate::app::App;
use crate::openai::error::{ApiError, ApiResult};
use crate::openai::fields::Fields;
use crate::openai::messages::take_conversation;
use crate::openai::prompts::check_ids;

/// `POST /tokenize`: `prompt` and `add_special_tokens`, or `messages` and what a chat has
/// beside them; `return_token_strs`.
pub(crate) fn tokenize(app: &App, body: &[u8]) -> ApiResult<Value> {
    let mut fields = Fields::parse(body)?;
    let tokenizer = &app.model.tokenizer;
    let model = fields.string("model")?;
    app.adapters.select(model, None)?;
    let tokens = match fields.string("prompt")? {
        Some(text) => {
            let special = fields.boolean("add_special_tokens")?.unwrap_or(true);
            let tokens =
                if special { tokenizer.encode_document(&text) } else { tokenizer.encode(&text) };
            tokens.map_err(|error| ApiError::parameter("prompt", error.to_string()))?
        }
        None => take_conversation(&mut fields, &app.model)?.tokens,
    };
    let shown = fields.boolean("return_token_strs")?.unwrap_or(false);
    fields.finish();
    let decode = |token: &i64| tokenizer.decode(&[*token], false).unwrap_or_default();
    let strings = shown.then(|| tokens.iter().map(decode).collect::<Vec<_>>());
    Ok(json!({
        "count": tokens.len(),
        "max_model_len": app.model.max_model_len,
        "tokens": tokens,
        "token_strs": strings,
    }))
}

/// `POST /detokenize`: `tokens`.
pub(crate) fn detokenize(app: &App, body: &[u8]) -> ApiResult<Value> {
    let mut fields = Fields::parse(body)?;
    let model = fields.string("model")?;
    app.adapters.select(model, None)?;
    let tokens = fields.token_ids("tokens")?;
    let missing = || ApiError::parameter("tokens", "`tokens` is missing");
    let tokens = tokens.ok_or_else(missing)?;
    fields.finish();
    check_ids("tokens", &tokens, &app.model)?;
    let text = app.model.tokenizer.decode(&tokens, false);
    let text = text.map_err(|error| ApiError::parameter("tokens", error.to_string()))?;
    Ok(json!({ "prompt": text }))
}

/// `GET /tokenizer_info`.
pub(crate) fn tokenizer_info(app: &App) -> Value {
    let tokenizer = &app.model.tokenizer;
    let eos = tokenizer.eos_token_ids().first().copied();
    let text = |token: i64| tokenizer.decode(&[token], false).ok();
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "vocab_size": tokenizer.vocab_size(),
        "model_max_length": app.model.max_model_len,
        "eos_token": eos.and_then(text),
        "eos_token_id": eos,
        "pad_token": text(tokenizer.pad_token_id()),
        "chat_template": tokenizer.chat_template().map(limbeck_core::ChatTemplate::source),
    })
}
