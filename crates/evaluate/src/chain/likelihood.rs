//! How likely a model finds the steps of a chain, by the tokens.
//!
//! A model that knows the matter is surprised by the first token that is wrong, and may be less
//! so by what follows from it. So a step is rated by its most surprising token, and held against
//! the steps before it: a chain about which the model is unsure throughout has no outlier.

use std::ops::Range;

use limbeck_core::{Message, Tokenizer};
use limbeck_infer::Engine;
use limbeck_infer::reasoning::opens_reasoning;

use crate::Result;

/// A chain whose steps are to be rated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rateable<'a> {
    /// The problem.
    pub question: &'a str,
    /// The chain of thought, without its marks.
    pub reasoning: &'a str,
    /// What follows it.
    pub answer: &'a str,
    /// Whether the chain was closed: its end and the answer are rated with its last step.
    pub closed: bool,
}

/// How likely a model finds a step, with the white space behind it; the last step with the end
/// of the chain and the answer, since the chain may be wrong in ending there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepLikelihood {
    /// Tokens rated.
    pub tokens: usize,
    /// Mean of their negative log-likelihood, in nats.
    pub mean: f64,
    /// The highest, in nats.
    pub peak: f64,
}

/// The prompt of a question as the model is asked it, up to where its chain begins.
///
/// # Errors
/// A tokenizer without a chat template.
pub(super) fn opening(tokenizer: &Tokenizer, question: &str) -> Result<String> {
    let template = tokenizer.require_chat_template()?;
    let mut text = template.render(&[Message::user(question)], true, None)?;
    if !opens_reasoning(&text) {
        text.push_str("<think>\n");
    }
    Ok(text)
}

/// Rates the steps of chains, whose places are those of [`super::split::split`]. A chain that is
/// too long for the model, or has no step, has no ratings. `progress` hears of chains rated.
///
/// # Errors
/// A tokenizer without a chat template; logits that are not finite.
pub fn rate(
    engine: &Engine<'_>,
    tokenizer: &Tokenizer,
    chains: &[(Rateable<'_>, &[Range<usize>])],
    max_tokens: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Vec<StepLikelihood>>> {
    let mut sequences = Vec::new();
    let mut owners = Vec::new();
    for (index, (chain, places)) in chains.iter().enumerate() {
        let mut text = opening(tokenizer, chain.question)?;
        let starts: Vec<usize> = places.iter().map(|place| text.len() + place.start).collect();
        text.push_str(chain.reasoning);
        if chain.closed {
            text.push_str("\n</think>\n\n");
            text.push_str(chain.answer);
        }
        let (tokens, token_starts) = tokenizer.encode_with_starts(&text)?;
        if starts.is_empty() || tokens.is_empty() || tokens.len() > max_tokens {
            progress(1);
            continue;
        }
        // Each token belongs to the last step that begins no later than it.
        let steps: Vec<Option<usize>> = token_starts
            .iter()
            .map(|at| starts.partition_point(|start| start <= at).checked_sub(1))
            .collect();
        sequences.push(tokens);
        owners.push((index, steps));
    }
    let scores = engine.score_with(&sequences, false, progress)?;
    let mut ratings: Vec<Vec<StepLikelihood>> = chains.iter().map(|_| Vec::new()).collect();
    for ((index, steps), score) in owners.into_iter().zip(scores) {
        let none = StepLikelihood { tokens: 0, mean: 0.0, peak: 0.0 };
        let mut rated = vec![none; chains[index].1.len()];
        for (step, logprob) in steps.into_iter().zip(score.logprobs) {
            let (Some(step), Some(logprob)) = (step, logprob) else { continue };
            let surprise = -f64::from(logprob);
            rated[step].tokens += 1;
            rated[step].mean += surprise;
            rated[step].peak = rated[step].peak.max(surprise);
        }
        for step in &mut rated {
            step.mean /= step.tokens.max(1) as f64;
        }
        ratings[index] = rated;
    }
    Ok(ratings)
}
