//! The engine's live interface: requests in, tokens out step by step.
//!
//! The types of `limbeck_infer::Session`, spelled out here until that crate has them; the
//! file is then a list of re-exports.

use std::collections::BTreeMap;
use std::fmt::Debug;

use limbeck_infer::{Error, FinishReason, Result};

/// How tokens are chosen and when a choice ends.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// Most tokens to generate for a choice, at least 1.
    pub max_new_tokens: usize,
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f64,
    /// Draws from the fewest most likely tokens whose probabilities reach this sum.
    pub top_p: f64,
    /// Draws from this many most likely tokens; 0 for all.
    pub top_k: usize,
    /// Leaves out tokens less likely than this share of the most likely one.
    pub min_p: f64,
    /// Divides (or multiplies) logits of tokens in prompt and output; 1 for none.
    pub repetition_penalty: f64,
    /// Taken from the logits of tokens in the output.
    pub presence_penalty: f64,
    /// Taken from the logits of tokens in the output, as often as they occur.
    pub frequency_penalty: f64,
    /// Added to logits, by token id.
    pub logit_bias: BTreeMap<i64, f64>,
    /// Stop tokens are not chosen before this many tokens.
    pub min_tokens: usize,
    /// Choices of one prompt.
    pub n: usize,
    /// Log-probabilities of the chosen token and this many of the likeliest.
    pub logprobs: Option<usize>,
    /// Fixes every draw.
    pub seed: u64,
    /// Ids that end a choice.
    pub stop_token_ids: Vec<i64>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            max_new_tokens: 256,
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            min_tokens: 0,
            n: 1,
            logprobs: None,
            seed: 0,
            stop_token_ids: Vec::new(),
        }
    }
}

/// The tokens that a grammar allows next, by id.
pub type TokenMask = Vec<bool>;

/// Narrows what one choice may say.
pub trait Constraint: Debug + Send {
    /// The tokens allowed next.
    fn allowed(&mut self) -> Result<TokenMask>;
    /// Hears which token was chosen.
    fn accept(&mut self, token: i64) -> Result<()>;
}

/// Makes a [`Constraint`] for each choice of a request.
pub trait ConstraintFactory: Debug + Send {
    /// A constraint at its beginning.
    fn start(&self) -> Result<Box<dyn Constraint>>;
}

/// One prompt to continue.
#[derive(Debug)]
pub struct Request {
    /// Token ids, at least one.
    pub prompt: Vec<i64>,
    /// How to continue it.
    pub params: SamplingParams,
    /// A key that the router knows adapters by; `None` for the base model.
    pub adapters: Option<u64>,
    /// Keeps cached prefixes apart from those of requests with another salt.
    pub salt: Option<String>,
    /// Lower goes first.
    pub priority: i32,
    /// Log-probabilities of the prompt's tokens and this many of the likeliest.
    pub prompt_logprobs: Option<usize>,
    /// What the choices may say.
    pub constraint: Option<Box<dyn ConstraintFactory>>,
}

/// Names a request from its submission to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Natural log-probabilities at one position.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// The token that stands there.
    pub token: i64,
    /// Its log-probability.
    pub logprob: f32,
    /// 1 for the most likely token.
    pub rank: usize,
    /// The most likely tokens, most likely first; the same float for the same token.
    pub top: Vec<(i64, f32)>,
}

/// What a step produced.
#[derive(Debug)]
pub enum Output {
    /// The prompt has been read; before any token of the request.
    Prompt {
        /// The request.
        request: RequestId,
        /// One entry a prompt token, `None` for the first.
        logprobs: Vec<Option<TokenLogprobs>>,
    },
    /// One more token of a choice; stop tokens are not among them.
    Token {
        /// The request.
        request: RequestId,
        /// From 0.
        choice: usize,
        /// The token's id.
        token: i64,
        /// If the request asked for them.
        logprobs: Option<TokenLogprobs>,
    },
    /// A choice has ended; the request has when all its choices have.
    Finished {
        /// The request.
        request: RequestId,
        /// From 0.
        choice: usize,
        /// Why.
        reason: FinishReason,
        /// The stop token, where one was the reason.
        stop_token: Option<i64>,
        /// Prompt tokens that were taken from the prefix cache.
        cached_tokens: usize,
    },
    /// The request failed; others go on.
    Failed {
        /// The request.
        request: RequestId,
        /// Why.
        error: Error,
    },
}

/// How things stand, and counts since the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sequences that are computed.
    pub running: usize,
    /// Sequences that wait.
    pub waiting: usize,
    /// Blocks that hold nothing needed.
    pub free_blocks: usize,
    /// All blocks of the cache.
    pub total_blocks: usize,
    /// Free blocks that still hold a known prefix.
    pub cached_blocks: usize,
    /// Filled token slots of held blocks.
    pub used_slots: usize,
    /// Prompt tokens looked up in the prefix cache.
    pub prefix_queries: u64,
    /// Those found.
    pub prefix_hits: u64,
    /// Sequences put back to wait.
    pub preemptions: u64,
    /// Prompt tokens computed or found.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Steps made.
    pub steps: u64,
    /// Tokens of the last step.
    pub last_step_tokens: usize,
}
