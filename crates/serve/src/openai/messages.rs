//! A chat's messages, and the prompt that the model's template makes of them.

use limbeck_core::Message;
use serde_json::{Map, Value};

use crate::model_info::ModelInfo;

use super::error::{ApiError, ApiResult};
use super::fields::{Fields, wrong};

/// Roles that templates know. `developer` is OpenAI's newer word for `system`.
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// A conversation as a prompt.
#[derive(Debug)]
pub(crate) struct ChatPrompt {
    pub(crate) tokens: Vec<i64>,
    /// The messages as they were given.
    pub(crate) given: Value,
    /// Whether the prompt ends inside a think block.
    pub(crate) opens_reasoning: bool,
    /// Whether the reply will begin with a chain of thought: not where the template has closed
    /// it already.
    pub(crate) thinks: bool,
}

/// Takes the conversation out of a body and renders it.
pub(crate) fn take_conversation(fields: &mut Fields, model: &ModelInfo) -> ApiResult<ChatPrompt> {
    let given = fields.require("messages")?;
    let messages = messages(&given)?;
    let continues = fields.boolean("continue_final_message")?.unwrap_or(false);
    let generates = fields.boolean("add_generation_prompt")?;
    if continues && generates == Some(true) {
        let message = "`continue_final_message` and `add_generation_prompt` exclude each other";
        return Err(ApiError::parameter("continue_final_message", message));
    }
    let variables = match fields.take("chat_template_kwargs") {
        None => Map::new(),
        Some(Value::Object(object)) => object,
        Some(other) => return Err(wrong("chat_template_kwargs", "an object", &other)),
    };
    let template = model
        .tokenizer
        .require_chat_template()
        .map_err(|_| ApiError::invalid("this model has no chat template: use /v1/completions"))?;
    let add_generation_prompt = !continues && generates.unwrap_or(true);
    let mut text = template
        .render_with(&messages, add_generation_prompt, &variables)
        .map_err(|error| refused_by_template(&error))?;
    if continues {
        text = cut_after_final(text, &messages)?;
    }
    let tokens = model
        .tokenizer
        .encode(&text)
        .map_err(|error| ApiError::parameter("messages", error.to_string()))?;
    if tokens.is_empty() {
        return Err(ApiError::parameter("messages", "`messages` give no tokens to go on from"));
    }
    // Only what the template wrote after the last message counts: a user may have written
    // the mark as well.
    let last = messages.last().map_or("", |last| last.content.trim());
    let tail = match text.rfind(last) {
        Some(at) if !continues && !last.is_empty() => &text[at + last.len()..],
        _ => text.as_str(),
    };
    let opens_reasoning = limbeck_infer::reasoning::opens_reasoning(tail);
    let thinks = !continues && !tail.trim_end().ends_with("</think>");
    Ok(ChatPrompt { tokens, given, opens_reasoning, thinks })
}

/// The template's words, without the file that it stands in.
fn refused_by_template(error: &limbeck_core::Error) -> ApiError {
    let message = match error {
        limbeck_core::Error::Template { message, .. } => message.clone(),
        other => other.to_string(),
    };
    ApiError::parameter(
        "messages",
        format!("the chat template refuses this conversation: {message}"),
    )
}

/// The text up to the end of the last message, which the model is to go on with.
fn cut_after_final(mut text: String, messages: &[Message]) -> ApiResult<String> {
    let refused = |message: &str| Err(ApiError::parameter("continue_final_message", message));
    let Some(last) = messages.last().filter(|last| last.role == "assistant") else {
        return refused("the last message is expected to be the assistant's");
    };
    // Templates trim what they write.
    let content = last.content.trim();
    match text.rfind(content) {
        Some(at) if !content.is_empty() => {
            text.truncate(at + content.len());
            Ok(text)
        }
        _ => refused("the chat template does not write the last message as it is"),
    }
}

fn messages(value: &Value) -> ApiResult<Vec<Message>> {
    let Value::Array(items) = value else {
        return Err(wrong("messages", "a list of messages", value));
    };
    if items.is_empty() {
        return Err(ApiError::parameter("messages", "`messages` is an empty list"));
    }
    items.iter().enumerate().map(|(index, item)| message(item, index)).collect()
}

fn message(value: &Value, index: usize) -> ApiResult<Message> {
    let place = format!("messages[{index}]");
    let mut fields = Fields::of(value.clone(), &place)?;
    let role_name = fields.name("role");
    let role = match fields.require("role")? {
        Value::String(role) => role,
        other => return Err(wrong(&role_name, "a string", &other)),
    };
    if !ROLES.contains(&role.as_str()) {
        let shown: String = role.chars().take(40).collect();
        let message =
            format!("`{role_name}` is expected to be one of {}, found {shown:?}", ROLES.join(", "));
        return Err(ApiError::parameter(role_name, message));
    }
    let calls = |value: Value| value.as_array().is_none_or(|calls| !calls.is_empty());
    if fields.take("tool_calls").is_some_and(calls) {
        return Err(ApiError::unsupported(&fields.name("tool_calls"), "calling tools"));
    }
    let content = content(fields.take("content"), &fields.name("content"), &role)?;
    // Both names are in use for the chain of an earlier turn.
    let reasoning = fields.string("reasoning_content")?;
    let reasoning_content = reasoning.or(fields.string("reasoning")?);
    fields.finish();
    let role = if role == "developer" { "system".to_owned() } else { role };
    Ok(Message { role, content, reasoning_content })
}

fn content(value: Option<Value>, name: &str, role: &str) -> ApiResult<String> {
    match value {
        // An assistant's turn may have a chain alone.
        None if role == "assistant" => Ok(String::new()),
        None => Err(ApiError::parameter(name, format!("`{name}` is missing"))),
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) => {
            let mut text = String::new();
            for (index, part) in parts.into_iter().enumerate() {
                let place = format!("{name}[{index}]");
                let mut fields = Fields::of(part, &place)?;
                let kind = fields.string("type")?.unwrap_or_default();
                if kind != "text" {
                    let shown: String = kind.chars().take(40).collect();
                    let message = format!("`{place}.type`: this model reads text, found {shown:?}");
                    return Err(ApiError::parameter(format!("{place}.type"), message));
                }
                let part = fields.string("text")?;
                let missing =
                    || ApiError::parameter(place.clone(), format!("`{place}.text` is missing"));
                text += &part.ok_or_else(missing)?;
                fields.finish();
            }
            Ok(text)
        }
        Some(other) => Err(wrong(name, "a text or a list of parts", &other)),
    }
}
