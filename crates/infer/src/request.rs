//! What goes into a session and what comes out.

use crate::constraint::ConstraintFactory;
use crate::engine::FinishReason;
use crate::logprobs::TokenLogprobs;
use crate::sampling::SamplingParams;
use crate::{Error, Result};

/// A prompt to be continued.
#[derive(Debug, Default)]
pub struct Request {
    /// Token ids to continue.
    pub prompt: Vec<i64>,
    /// How tokens are chosen and when to stop.
    pub params: SamplingParams,
    /// What the model is adapted with, by a key that the engine's router knows; none for the
    /// model as it is.
    pub adapters: Option<u64>,
    /// Requests find each other's keys and values only if they have the same salt.
    pub salt: Option<String>,
    /// Requests of lower numbers are begun first, where there is no room in place of higher ones,
    /// and give way last.
    pub priority: i32,
    /// Reports the prompt's log-probabilities, with those of so many of the most likely
    /// tokens. The whole prompt is computed then, whatever is held of it already.
    pub prompt_logprobs: Option<usize>,
    /// What the replies must keep to.
    pub constraint: Option<Box<dyn ConstraintFactory>>,
}

/// The number of a request in its session: from 0, in the order of submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Something that has happened to a request.
#[derive(Debug)]
pub enum Output {
    /// The prompt has been read. Before any token, of requests that asked for it.
    Prompt {
        /// Which request.
        request: RequestId,
        /// For each token of the prompt given those before it; `None` for the first.
        logprobs: Vec<Option<TokenLogprobs>>,
    },
    /// A reply has gone on.
    Token {
        /// Which request.
        request: RequestId,
        /// Which of its replies, from 0.
        choice: usize,
        /// The token, which is no stop token.
        token: i64,
        /// If asked for.
        logprobs: Option<TokenLogprobs>,
    },
    /// A reply has ended.
    Finished {
        /// Which request.
        request: RequestId,
        /// Which of its replies, from 0.
        choice: usize,
        /// Why.
        reason: FinishReason,
        /// The stop token, if it was one.
        stop_token: Option<i64>,
        /// Tokens of the prompt that did not have to be computed, as an earlier request left
        /// their keys and values.
        cached_tokens: usize,
    },
    /// A request has ended without a result. The others go on.
    Failed {
        /// Which request.
        request: RequestId,
        /// Why.
        error: Error,
    },
}

/// How a session stands, and what it has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Replies that hold blocks.
    pub running: usize,
    /// Replies that wait for their turn, for the first time or again.
    pub waiting: usize,
    /// Blocks that nobody holds.
    pub free_blocks: usize,
    /// All blocks.
    pub total_blocks: usize,
    /// Blocks, held or free, whose content a new request can find.
    pub cached_blocks: usize,
    /// Slots of held blocks that are filled: `(total - free) · 16` less this is waste.
    pub used_slots: usize,
    /// Tokens that were looked for among what earlier requests left.
    pub prefix_queries: u64,
    /// Tokens that were found.
    pub prefix_hits: u64,
    /// How often a reply had to give back its blocks for others to go on.
    pub preemptions: u64,
    /// Tokens of the prompts that were begun.
    pub prompt_tokens: u64,
    /// Tokens chosen, stop tokens included.
    pub generated_tokens: u64,
    /// Steps that computed something.
    pub steps: u64,
    /// Tokens computed in the last of them.
    pub last_step_tokens: usize,
}

/// A prompt's log-probabilities as far as they are known.
#[derive(Debug)]
pub(crate) struct PromptLogprobs {
    num_top: usize,
    /// For the tokens from the second on.
    known: Vec<TokenLogprobs>,
    reported: bool,
}

impl PromptLogprobs {
    pub(crate) fn new(num_top: usize) -> Self {
        Self { num_top, known: Vec::new(), reported: false }
    }

    /// The first position whose logits are still needed.
    pub(crate) fn next_position(&self) -> usize {
        self.known.len()
    }

    /// Reads the logits after `position`, where `target` follows.
    pub(crate) fn read(
        &mut self,
        logits: &[f32],
        request: usize,
        position: usize,
        target: i64,
    ) -> Result<()> {
        let logprobs = crate::logprobs::token_logprobs(logits, target, self.num_top)
            .ok_or(Error::NotFinite { index: request, position: position + 1 })?;
        self.known.push(logprobs);
        Ok(())
    }

    /// All of them, the first time.
    pub(crate) fn report(&mut self) -> Option<Vec<Option<TokenLogprobs>>> {
        if std::mem::replace(&mut self.reported, true) {
            return None;
        }
        let known = std::mem::take(&mut self.known).into_iter().map(Some);
        Some(std::iter::once(None).chain(known).collect())
    }

    /// Whether they have been given out.
    pub(crate) fn is_reported(&self) -> bool {
        self.reported
    }
}
