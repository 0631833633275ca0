//! The tokens of a prompt and its reply by what they belong to: the question, the steps of the
//! chain, the answer.

use limbeck_core::Tokenizer;
use limbeck_infer::reasoning::opens_reasoning;
use limbeck_infer::split_reasoning;

use super::Span;
use crate::Result;
use crate::chain::split::split;

/// A text taken apart into tokens and spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tokens {
    /// `[tokens]`.
    pub(super) ids: Vec<i64>,
    /// The piece of the text that each token begins; of a character in several tokens, all of
    /// it with the first.
    pub(super) texts: Vec<String>,
    /// In order and without gaps: from one span's beginning to the next one's.
    pub(super) spans: Vec<Span>,
}

/// Takes a prompt and its reply apart. What a template puts between the parts belongs to the
/// part before it.
pub(super) fn tokens(tokenizer: &Tokenizer, prompt: &str, reply: &str) -> Result<Tokens> {
    let whole = format!("{prompt}{reply}");
    let (ids, starts) = tokenizer.encode_with_starts(&whole)?;
    let mut parts = vec![("question".to_owned(), 0, prompt.trim())];
    let split_reply = split_reasoning(reply, opens_reasoning(prompt));
    let place = |part: &str| prompt.len() + offset(reply, part);
    if let Some(reasoning) = split_reply.reasoning {
        for (index, step) in split(reasoning).into_iter().enumerate() {
            let step = &reasoning[step];
            parts.push((format!("step {}", index + 1), place(step), step));
        }
    }
    if !split_reply.answer.is_empty() {
        parts.push(("answer".to_owned(), place(split_reply.answer), split_reply.answer));
    }
    let mut spans: Vec<Span> = Vec::new();
    for (index, (label, _, text)) in parts.iter().enumerate() {
        let start = spans.last().map_or(0, |before| before.end);
        // A token that reaches over into the next part stays with the first.
        let end = match parts.get(index + 1) {
            Some((_, next, _)) => starts.partition_point(|at| at < next),
            None => ids.len(),
        };
        if start < end {
            spans.push(Span { label: label.clone(), text: (*text).to_owned(), start, end });
        }
    }
    let ends = starts.iter().skip(1).copied().chain([whole.len()]);
    let texts = starts
        .iter()
        .zip(ends)
        .map(|(&start, end)| whole.get(start..end.max(start)).unwrap_or_default().to_owned())
        .collect();
    Ok(Tokens { ids, texts, spans })
}

/// Where a part of a text lies in it, both being slices of the same memory.
fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}
