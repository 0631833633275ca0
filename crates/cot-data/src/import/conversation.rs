//! Conversations: the last assistant turn is the reply, the turns before it the question.
//!
//! A lone user turn is the question as it is. Of more turns the question is a transcript,
//! `User: …`, `Assistant: …`, `Tool: …` or `System: …`, with an empty line between turns,
//! and the turns themselves are kept beside it. A system turn at the start is kept apart.

use serde_json::{Map, Value, json};

use super::chain::{answer_of, lines, split_reply};
use super::converted::{Origin, REPLY_FIELD, Refusal, SYSTEM_FIELD, TURNS_FIELD};
use crate::field::{mismatch, shown};
use crate::record::CotRecord;
use crate::rejects::Reason;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    System,
    User,
    Assistant,
    Tool,
}

impl Role {
    /// From one of its names in public data.
    fn of(name: &str) -> Option<Self> {
        Some(match name.to_lowercase().as_str() {
            "system" | "developer" => Self::System,
            "user" | "human" | "prompter" | "instruction" => Self::User,
            "assistant" | "gpt" | "model" | "chatgpt" | "bing" | "bard" | "bot" | "claude"
            | "ai" | "output" => Self::Assistant,
            "tool" | "function" | "observation" | "ipython" | "function_response"
            | "tool_response" => Self::Tool,
            _ => return None,
        })
    }

    /// The name that chat templates use.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::System => "System",
            Self::User => "User",
            Self::Assistant => "Assistant",
            Self::Tool => "Tool",
        }
    }
}

/// One turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Who speaks.
    pub(crate) role: Role,
    /// What is said.
    pub(crate) text: String,
}

/// The question that turns make.
pub(crate) fn render(turns: &[Turn]) -> String {
    match turns {
        [only] => only.text.clone(),
        _ => turns
            .iter()
            .map(|turn| format!("{}: {}", turn.role.title(), turn.text))
            .collect::<Vec<_>>()
            .join("\n\n"),
    }
}

/// The turns that were kept beside a question.
pub(crate) fn turns_of_value(value: &Value) -> Option<Vec<Turn>> {
    let turn = |turn: &Value| {
        let role = Role::of(turn.get("role")?.as_str()?)?;
        Some(Turn { role, text: turn.get("content")?.as_str()?.to_owned() })
    };
    value.as_array()?.iter().map(turn).collect()
}

/// The record of a conversation. `field` names the list for complaints; a system turn
/// may also come from elsewhere.
///
/// # Errors
/// No user turn or no reply, an unknown role, a turn that is no text, or a thought that
/// is not closed.
pub(super) fn record(
    origin: &Origin,
    field: &str,
    entries: Vec<Value>,
    mut system: Option<String>,
    unused: &mut Map<String, Value>,
) -> Result<CotRecord, Refusal> {
    let mut turns = Vec::with_capacity(entries.len());
    let mut thoughts = Vec::with_capacity(entries.len());
    for (index, entry) in entries.into_iter().enumerate() {
        let (turn, thought) = turn(field, index, entry)?;
        turns.push(turn);
        thoughts.push(thought);
    }
    if system.is_none() && turns.first().is_some_and(|turn| turn.role == Role::System) {
        system = Some(turns.remove(0).text);
        thoughts.remove(0);
    }
    let Some(last) = turns.iter().rposition(|turn| turn.role == Role::Assistant) else {
        let detail = format!("expected an assistant's turn in `{field}`, found none");
        return Err(Refusal::new(Reason::MissingAnswer, detail));
    };
    let later = turns.split_off(last + 1);
    if !later.is_empty() {
        unused.insert("later_turns".to_owned(), value_of(&later));
    }
    let reply = turns.pop().map(|turn| turn.text).unwrap_or_default();
    if !turns.iter().any(|turn| turn.role == Role::User) {
        let detail = format!("expected a user's turn in `{field}`, found none before the reply");
        return Err(Refusal::new(Reason::BadField, detail));
    }
    let mut parts = split_reply(&reply)?;
    if parts.chain.is_none() {
        parts.chain = thoughts.swap_remove(last);
    }
    let chain = parts.chain.as_deref().map(lines).unwrap_or_default();
    let (answer, is_part) = answer_of(&parts.rest);
    let mut record = origin.record(render(&turns), chain, answer);
    if let Some(system) = system.filter(|system| !system.is_empty()) {
        record.extra.insert(SYSTEM_FIELD.to_owned(), system.into());
    }
    if turns.len() > 1 {
        record.extra.insert(TURNS_FIELD.to_owned(), value_of(&turns));
    }
    if is_part {
        record.extra.insert(REPLY_FIELD.to_owned(), parts.rest.into());
    }
    Ok(record)
}

fn value_of(turns: &[Turn]) -> Value {
    turns.iter().map(|turn| json!({"role": turn.role.name(), "content": turn.text})).collect()
}

/// One turn and the thought that stands in a field of its own.
fn turn(field: &str, index: usize, entry: Value) -> Result<(Turn, Option<String>), Refusal> {
    let parent = format!("{field}[{index}]");
    let Value::Object(mut map) = entry else {
        let detail = format!("field `{parent}`: expected an object, found {}", shown(&entry));
        return Err(Refusal::new(Reason::BadField, detail));
    };
    let name = map.shift_remove("role").or_else(|| map.shift_remove("from"));
    let role = name.as_ref().and_then(Value::as_str).and_then(Role::of).ok_or_else(|| {
        mismatch(
            &parent,
            "role",
            "system, user, assistant, tool or another name of them",
            name.as_ref(),
        )
    })?;
    let content = map.shift_remove("content").or_else(|| map.shift_remove("value"));
    let text = content.as_ref().and_then(text_of).ok_or_else(|| {
        mismatch(&parent, "content", "a text, or a list of parts that are text", content.as_ref())
    })?;
    let thought = ["reasoning_content", "reasoning", "thinking"]
        .into_iter()
        .find_map(|name| map.get(name).and_then(Value::as_str))
        .filter(|thought| !thought.trim().is_empty())
        .map(str::to_owned);
    Ok((Turn { role, text }, thought))
}

/// A text, or the texts of parts `{"type": "text", "text": …}`.
fn text_of(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => parts.iter().map(|part| part.get("text")?.as_str()).collect(),
        _ => None,
    }
}
