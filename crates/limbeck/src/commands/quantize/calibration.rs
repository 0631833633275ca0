//! The texts that a model is calibrated on.

use std::path::Path;

use anyhow::Result;
use limbeck_core::{Message, Tokenizer};
use limbeck_cot_data::read_jsonl;
use limbeck_distill::Text;
use limbeck_train::{Completion, Example, TokenWeights};

use crate::commands::score::read_requests;

/// What other families' templates mark turns with: a tokenizer that does not know a mark
/// spells it, and the model would be calibrated on what it never sees.
const TURN_MARKS: [&str; 6] =
    ["<|im_start|>", "<start_of_turn>", "<|start_header_id|>", "[INST]", "<｜User｜>", "<|user|>"];

/// Texts as the model sees them in use.
#[derive(Debug, Default)]
pub(crate) struct CalibrationTexts {
    /// Their tokens.
    pub(crate) sequences: Vec<Vec<i64>>,
    /// Where each one's reply begins; 1 where it is all one text.
    replies: Vec<usize>,
}

impl CalibrationTexts {
    /// For a repair.
    pub(crate) fn texts(&self) -> impl Iterator<Item = Text<'_>> {
        let texts = self.sequences.iter().zip(&self.replies);
        texts.map(|(tokens, &reply)| Text { tokens, reply })
    }
}

/// Records rendered by the model's chat template, or `score`-style lines as they are.
pub(crate) fn read(tokenizer: &Tokenizer, path: &Path, limit: usize) -> Result<CalibrationTexts> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| limbeck_core::Error::Read { path: path.to_owned(), source })?;
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let is_record = serde_json::from_str::<serde_json::Value>(first)
        .is_ok_and(|value| value.get("thought_process").is_some());
    if !is_record {
        check_marks(tokenizer, path, &text)?;
        let requests = read_requests(tokenizer, path)?.into_iter();
        let sequences: Vec<_> = requests.map(|request| request.tokens).take(limit).collect();
        return Ok(CalibrationTexts { replies: vec![1; sequences.len()], sequences });
    }
    let mut texts = CalibrationTexts::default();
    for record in read_jsonl(path)?.iter().take(limit) {
        let reasoning = record.reasoning();
        let completion = Completion::Chain { reasoning: &reasoning, answer: &record.answer };
        let prompt = [Message::user(record.question.as_str())];
        let even = TokenWeights::default();
        let example =
            Example::render(tokenizer, &record.id, &prompt, completion, usize::MAX, &even)?;
        let reply = example.weights.iter().position(|&weight| weight > 0.0);
        texts.replies.push(reply.unwrap_or(example.tokens.len()));
        texts.sequences.push(example.tokens);
    }
    Ok(texts)
}

/// Refuses texts with the marks of a template that is not the model's.
fn check_marks(tokenizer: &Tokenizer, path: &Path, text: &str) -> Result<()> {
    let foreign = TURN_MARKS
        .into_iter()
        .find(|mark| text.contains(mark) && tokenizer.token_id(mark).is_none());
    let Some(mark) = foreign else { return Ok(()) };
    let line = text.lines().position(|line| line.contains(mark)).unwrap_or(0);
    let expected = "texts in this model's chat template";
    let found = format!("{mark}, which is no token of it; give records, which are rendered in it");
    Err(crate::commands::line_error(path, line, expected, &found))
}
