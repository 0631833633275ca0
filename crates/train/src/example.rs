//! A conversation as token ids with a weight for each token to be predicted.
//!
//! The mask is derived by rendering the prompt alone and the whole conversation, and
//! taking what the second has more than the first. It needs no generation marks in the
//! template, and a template that loses the reasoning is caught here.

use std::borrow::Cow;
use std::ops::Range;

use limbeck_core::{Message, Tokenizer};

use crate::{Error, Kind, Result, TokenWeights, Traits};

/// Token ids of a conversation and what is learned from it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Example {
    /// The record it came from.
    pub id: String,
    /// The token ids.
    pub tokens: Vec<i64>,
    /// For each token the weight of its prediction in the loss; 0 for the prompt and for
    /// what the template adds by itself. As long as `tokens`; the first is always 0.
    pub weights: Vec<f32>,
    /// What decides when it is drawn. [`Example::render`] knows only the kind.
    pub traits: Traits,
}

/// What ends the chain in a reply.
const CLOSED: &str = "</think>";

/// What the assistant is to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion<'a> {
    /// Think, then answer.
    Chain {
        /// The chain of thought.
        reasoning: &'a str,
        /// The answer.
        answer: &'a str,
    },
    /// Think, go wrong, put it right, then answer. The parts of the chain are lines, joined
    /// by line breaks; an empty one is left out.
    Corrected {
        /// The steps before the first wrong one.
        before: &'a str,
        /// The wrong steps, whose tokens count [`TokenWeights::wrong_step`].
        wrong: &'a str,
        /// What puts it right, and the steps from there on.
        after: &'a str,
        /// The answer.
        answer: &'a str,
    },
    /// Answer at once: the think block is given, closed and empty.
    AnswerOnly {
        /// The answer.
        answer: &'a str,
    },
}

impl Example {
    /// Renders a conversation; `token_weights` say what each part of the reply counts.
    /// Tokens past `max_length` make it an error, never a silent cut: half a chain teaches
    /// to stop in the middle.
    ///
    /// # Errors
    /// [`Error::EmptyMask`], [`Error::Template`]; errors of the tokenizer.
    pub fn render(
        tokenizer: &Tokenizer,
        id: &str,
        prompt: &[Message],
        completion: Completion<'_>,
        max_length: usize,
        token_weights: &TokenWeights,
    ) -> Result<Self> {
        let kind = completion.kind();
        let (reasoning, wrong, answer) = completion.parts();
        let reasoning = reasoning.as_ref();
        let kept = if reasoning.is_empty() { answer } else { reasoning };
        let Texts { prefix, completion } = texts(tokenizer, id, prompt, completion)?;
        let lost = |what| Error::Template { id: id.to_owned(), what };
        if !completion.contains(kept) && !prefix.contains(kept) {
            return Err(lost("the reasoning"));
        }

        // Encoded apart, as generation will see it: a merge across the border would be
        // trained on and then never met.
        let mut tokens = tokenizer.encode(&prefix)?;
        let mut weights = vec![0.0; tokens.len()];
        let (learned, learned_weights) = if token_weights.is_even() && wrong.is_empty() {
            let learned = tokenizer.encode(&completion)?;
            let weights = vec![token_weights.reasoning as f32; learned.len()];
            (learned, weights)
        } else {
            let (learned, starts) = tokenizer.encode_with_starts(&completion)?;
            let from = completion.find(reasoning).ok_or_else(|| lost("the reasoning"))?;
            let chain = from..from + reasoning.len();
            let after = completion.rfind(CLOSED).map_or(chain.end, |at| at + CLOSED.len());
            let from = completion[after..].find(answer).map_or(after, |at| after + at);
            let answer = from..from + answer.len();
            let wrong = chain.start + wrong.start..chain.start + wrong.end;
            let weights = token_weights.of(&starts, &chain, &wrong, &answer);
            (learned, weights)
        };
        let end = learned.iter().position(|token| tokenizer.eos_token_ids().contains(token));
        // After the end of the turn the template goes on by itself.
        let length = end.map_or(learned.len(), |end| end + 1);
        tokens.extend_from_slice(&learned[..length]);
        weights.extend_from_slice(&learned_weights[..length]);
        if let Some(first) = weights.first_mut() {
            *first = 0.0;
        }
        let traits = Traits { kind, ..Traits::default() };
        let example = Self { id: id.to_owned(), tokens, weights, traits };
        if example.tokens.len() > max_length {
            let reason = format!("{} tokens, max_length is {max_length}", example.tokens.len());
            return Err(Error::EmptyMask { id: example.id, reason });
        }
        if !example.weights.iter().any(|&weight| weight > 0.0) {
            let reason = "none has a weight above 0".to_owned();
            return Err(Error::EmptyMask { id: example.id, reason });
        }
        Ok(example)
    }
}

impl<'a> Completion<'a> {
    fn kind(self) -> Kind {
        match self {
            Self::Chain { .. } | Self::Corrected { .. } => Kind::Chain,
            Self::AnswerOnly { .. } => Kind::Task,
        }
    }

    /// The chain, the bytes of the wrong steps within it, and the answer.
    fn parts(self) -> (Cow<'a, str>, Range<usize>, &'a str) {
        match self {
            Self::Chain { reasoning, answer } => (Cow::Borrowed(reasoning), 0..0, answer),
            Self::AnswerOnly { answer } => (Cow::Borrowed(""), 0..0, answer),
            Self::Corrected { before, wrong, after, answer } => {
                let mut chain = before.to_owned();
                let mut append = |lines: &str| {
                    if !chain.is_empty() && !lines.is_empty() {
                        chain.push('\n');
                    }
                    let start = chain.len();
                    chain.push_str(lines);
                    start..chain.len()
                };
                let wrong = append(wrong);
                append(after);
                (Cow::Owned(chain), wrong, answer)
            }
        }
    }
}

/// A conversation as text: what the model is given, and what it is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    /// The prompt's turns and the beginning of the assistant's.
    pub prefix: String,
    /// The reply, and what the template ends it with.
    pub completion: String,
}

/// A conversation as the template renders it.
///
/// # Errors
/// [`Error::Template`] where the whole does not begin with the prompt.
pub fn texts(
    tokenizer: &Tokenizer,
    id: &str,
    prompt: &[Message],
    completion: Completion<'_>,
) -> Result<Texts> {
    let prefix = prompt_text(tokenizer, prompt, completion.kind() == Kind::Chain)?;
    let (reasoning, _, answer) = completion.parts();
    let content = format!("<think>\n{reasoning}\n</think>\n\n{answer}");
    let mut messages = prompt.to_vec();
    messages.push(Message::assistant(content));
    let whole = tokenizer.require_chat_template()?.render(&messages, false, None)?;
    match whole.strip_prefix(&prefix) {
        Some(completion) => Ok(Texts { completion: completion.to_owned(), prefix }),
        None => Err(Error::Template {
            id: id.to_owned(),
            what: "the prompt as the beginning of the whole conversation",
        }),
    }
}

/// The text that a model is prompted with: the turns so far and the beginning of the
/// assistant's, with a closed empty think block unless it is to think.
///
/// # Errors
/// Errors of the template.
pub fn prompt_text(tokenizer: &Tokenizer, prompt: &[Message], think: bool) -> Result<String> {
    let enable_thinking = if think { None } else { Some(false) };
    Ok(tokenizer.require_chat_template()?.render(prompt, true, enable_thinking)?)
}

#[cfg(test)]
mod tests {
    use limbeck_core::tokenizer_training::{TokenizerConfig, train};

    use super::*;

    fn tokenizer(template: Option<&str>) -> (tempfile::TempDir, Tokenizer) {
        let folder = tempfile::tempdir().unwrap();
        let config = TokenizerConfig { vocab_size: 280, ..TokenizerConfig::default() };
        train(["2 + 3 = 5 and so on"].into_iter(), &config, folder.path()).unwrap();
        if let Some(template) = template {
            std::fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
        }
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        (folder, tokenizer)
    }

    const CHAIN: Completion<'_> = Completion::Chain { reasoning: "2 + 3 = 5", answer: "5" };

    fn learned(tokenizer: &Tokenizer, example: &Example) -> String {
        let tokens: Vec<i64> = example
            .tokens
            .iter()
            .zip(&example.weights)
            .filter(|(_, weight)| **weight > 0.0)
            .map(|(token, _)| *token)
            .collect();
        tokenizer.decode(&tokens, false).unwrap()
    }

    #[test]
    fn the_completion_and_its_end_are_learned_and_nothing_else() {
        let (_folder, tokenizer) = tokenizer(None);
        let prompt = [Message::user("2 + 3?")];
        let example =
            Example::render(&tokenizer, "a", &prompt, CHAIN, 1000, &TokenWeights::default())
                .unwrap();
        assert_eq!(learned(&tokenizer, &example), "<think>\n2 + 3 = 5\n</think>\n\n5<|im_end|>");
        let short = Completion::AnswerOnly { answer: "5" };
        let example =
            Example::render(&tokenizer, "a", &prompt, short, 1000, &TokenWeights::default())
                .unwrap();
        assert_eq!(learned(&tokenizer, &example), "5<|im_end|>");
        let text = tokenizer.decode(&example.tokens, false).unwrap();
        assert!(
            text.ends_with("<|im_start|>assistant\n<think>\n\n</think>\n\n5<|im_end|>"),
            "{text}"
        );
    }

    #[test]
    fn each_part_counts_by_its_weight() {
        let (_folder, tokenizer) = tokenizer(None);
        let prompt = [Message::user("2 + 3?")];
        let weights = TokenWeights { reasoning: 0.5, answer: 3.0, template: 0.0, wrong_step: 0.0 };
        let example = Example::render(&tokenizer, "a", &prompt, CHAIN, 1000, &weights).unwrap();
        let part = |weight: f32| by_weight(&tokenizer, &example, weight);
        assert_eq!((part(0.5).as_str(), part(3.0).as_str()), ("2 + 3 = 5", "5"));
        let plain =
            Example::render(&tokenizer, "a", &prompt, CHAIN, 1000, &TokenWeights::default());
        assert_eq!(example.tokens, plain.unwrap().tokens, "the tokens are the same");
        let chain = TokenWeights { answer: 0.0, ..weights };
        let short = Completion::AnswerOnly { answer: "5" };
        let empty = Example::render(&tokenizer, "a", &prompt, short, 1000, &chain).unwrap_err();
        assert!(matches!(empty, Error::EmptyMask { .. }), "{empty}");
    }

    /// The text of the tokens of each weight, in their order.
    fn by_weight(tokenizer: &Tokenizer, example: &Example, weight: f32) -> String {
        let of = example.tokens.iter().zip(&example.weights);
        let tokens: Vec<i64> = of
            .filter(|(_, found)| (**found - weight).abs() < 1e-6)
            .map(|(token, _)| *token)
            .collect();
        tokenizer.decode(&tokens, false).unwrap()
    }

    const CORRECTED: Completion<'_> = Completion::Corrected {
        before: "2 + 3 = 5",
        wrong: "5 + 1 = 7",
        after: "not `7` but `6`",
        answer: "6",
    };

    #[test]
    fn the_wrong_step_of_a_corrected_chain_is_read_and_not_learned() {
        let (_folder, tokenizer) = tokenizer(None);
        let prompt = [Message::user("2 + 3 + 1?")];
        let even = TokenWeights::default();
        let example = Example::render(&tokenizer, "a", &prompt, CORRECTED, 1000, &even).unwrap();
        let whole = tokenizer.decode(&example.tokens, false).unwrap();
        let chain = "<think>\n2 + 3 = 5\n5 + 1 = 7\nnot `7` but `6`\n</think>\n\n6<|im_end|>";
        assert!(whole.ends_with(chain), "{whole}");
        assert_eq!(
            learned(&tokenizer, &example),
            "<think>\n2 + 3 = 5\n\nnot `7` but `6`\n</think>\n\n6<|im_end|>"
        );
        assert_eq!(example.traits.kind, Kind::Chain);
        // The masked tokens are exactly those between the two line breaks.
        let (prefix, _) = whole.split_once("<think>\n2").unwrap();
        let prompt_tokens = tokenizer.encode(prefix).unwrap().len();
        let masked: Vec<i64> = example.tokens[prompt_tokens..]
            .iter()
            .zip(&example.weights[prompt_tokens..])
            .filter(|(_, weight)| **weight == 0.0)
            .map(|(token, _)| *token)
            .collect();
        assert_eq!(masked, tokenizer.encode("5 + 1 = 7").unwrap());

        let weights = TokenWeights { reasoning: 0.5, answer: 3.0, template: 2.0, wrong_step: 0.25 };
        let example = Example::render(&tokenizer, "a", &prompt, CORRECTED, 1000, &weights).unwrap();
        assert_eq!(by_weight(&tokenizer, &example, 0.25), "5 + 1 = 7");
        assert_eq!(by_weight(&tokenizer, &example, 0.5), "2 + 3 = 5\n\nnot `7` but `6`");
        assert_eq!(by_weight(&tokenizer, &example, 3.0), "6");
    }

    #[test]
    fn a_chain_that_is_wrong_from_its_first_step_begins_masked() {
        let (_folder, tokenizer) = tokenizer(None);
        let completion =
            Completion::Corrected { before: "", wrong: "5 + 1 = 7", after: "no, 6", answer: "6" };
        let prompt = [Message::user("Q")];
        let even = TokenWeights::default();
        let example = Example::render(&tokenizer, "a", &prompt, completion, 1000, &even).unwrap();
        let expected = "<think>\n\nno, 6\n</think>\n\n6<|im_end|>";
        assert_eq!(learned(&tokenizer, &example), expected);
        let nothing = TokenWeights { reasoning: 0.0, answer: 0.0, template: 0.0, wrong_step: 0.0 };
        let error =
            Example::render(&tokenizer, "a", &prompt, completion, 1000, &nothing).unwrap_err();
        assert!(matches!(error, Error::EmptyMask { .. }), "{error}");
    }

    #[test]
    fn a_template_that_deletes_reasoning_is_refused() {
        let stripping = "{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>')[-1] }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
        let (_folder, tokenizer) = tokenizer(Some(stripping));
        let error = Example::render(
            &tokenizer,
            "r7",
            &[Message::user("Q")],
            CHAIN,
            1000,
            &TokenWeights::default(),
        )
        .unwrap_err();
        assert!(matches!(&error, Error::Template { id, .. } if id == "r7"), "{error}");
    }

    #[test]
    fn a_record_longer_than_the_limit_is_an_error_not_a_cut() {
        let (_folder, tokenizer) = tokenizer(None);
        let error = Example::render(
            &tokenizer,
            "long",
            &[Message::user("Q")],
            CHAIN,
            5,
            &TokenWeights::default(),
        )
        .unwrap_err();
        assert!(matches!(error, Error::EmptyMask { .. }), "{error}");
    }
}
