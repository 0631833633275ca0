//! Replies that were made elsewhere: by `limbeck generate`, a server's client, or lm-eval.

use std::collections::HashMap;
use std::path::Path;

use limbeck_infer::FinishReason;
use serde_json::{Map, Value};

use super::journal::Answer;
use super::questions::Question;
use crate::task::Problem;
use crate::{Error, Result};

/// Replies by the id of the problem, in the order of the file where there are several.
#[derive(Debug, Default)]
pub struct Replies {
    by_id: HashMap<String, Vec<Answer>>,
    /// Of lm-eval's samples, which number the problems.
    by_place: HashMap<usize, Vec<Answer>>,
}

impl Replies {
    /// Reads JSON lines: `{"id", "text"}` with `finish_reason` where it is known (`reply` and
    /// `response` are read too), or lm-eval's `samples_*.jsonl` with `doc_id` and `resps`, of
    /// which each problem counts once, however many filters it has lines for.
    ///
    /// # Errors
    /// A line that is none of these, by its number.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| limbeck_run::Error::read(path, source))?;
        let mut replies = Self::default();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let fields: Map<String, Value> =
                serde_json::from_str(line).map_err(|source| Error::Json {
                    path: path.to_owned(),
                    line: Some(index + 1),
                    expected: "an object with a reply",
                    source,
                })?;
            let place = || format!("{}:{}", path.display(), index + 1);
            let unread = || Error::Replies { place: place(), found: keys(&fields) };
            if let Some(Value::Array(resps)) = fields.get("resps") {
                let number = fields.get("doc_id").and_then(Value::as_u64).ok_or_else(unread)?;
                let texts = resps.iter().flat_map(|resp| match resp {
                    Value::Array(texts) => texts.clone(),
                    other => vec![other.clone()],
                });
                let answers = texts.filter_map(|text| text.as_str().map(answer)).collect();
                replies.by_place.entry(number as usize).or_insert(answers);
                continue;
            }
            let id = match fields.get("id") {
                Some(Value::String(id)) => id.clone(),
                Some(Value::Number(id)) => id.to_string(),
                _ => return Err(unread()),
            };
            let text = ["text", "reply", "response"].iter().find_map(|name| fields.get(*name));
            let mut found = answer(text.and_then(Value::as_str).ok_or_else(unread)?);
            if let Answer::Reply { finish_reason, tokens, .. } = &mut found {
                if fields.get("finish_reason").and_then(Value::as_str) == Some("length") {
                    *finish_reason = FinishReason::Length;
                }
                *tokens = fields.get("tokens").and_then(Value::as_array).map_or(0, Vec::len);
            }
            replies.by_id.entry(id).or_default().push(found);
        }
        Ok(replies)
    }

    /// How many there are to a problem.
    pub(crate) fn count(&self, problem: &Problem) -> usize {
        self.of(problem).len()
    }

    /// The answer to a question.
    pub(crate) fn answer(&self, question: &Question<'_>) -> Answer {
        let known = self.of(question.problem).get(question.repeat).cloned();
        known.unwrap_or_else(|| Answer::Failed { reason: "no reply is given".to_owned() })
    }

    fn of(&self, problem: &Problem) -> &[Answer] {
        let known = self.by_id.get(&problem.record.id);
        known.or_else(|| self.by_place.get(&problem.place)).map_or(&[], Vec::as_slice)
    }
}

fn answer(text: &str) -> Answer {
    Answer::Reply { text: text.to_owned(), tokens: 0, finish_reason: FinishReason::Stop }
}

fn keys(fields: &Map<String, Value>) -> String {
    fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
}
