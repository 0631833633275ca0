//! Sampling, paged key-value caching, continuous batching, generation and scoring.
//!
//! [`Engine`] is the wall: callers hand it token ids and get token ids or log-probabilities
//! back, and never see how requests are batched or cached. [`Session`] is its live form, for
//! requests that come and go.
//!
//! Modules in reading order: [`sampling`] (what to draw and how), [`constraint`] (what may be
//! drawn), `sampler` (one reply's choices), [`logprobs`], [`engine`] (the entry point and its
//! limits), [`request`] (what goes into a session and comes out), `blocks` (who holds which
//! block of the cache), `sequence` and `scheduler` (what a step computes), [`session`] (the
//! step), `passes` (its forward passes), `replies` (what their logits bring), `generate` (a
//! session from beginning to end), [`speculative`] (the same with a draft), [`grammar`]
//! (constraints to a form),
//! [`score`] (log-probabilities of given tokens), [`router`] (requests that the model treats
//! differently), [`text`] (tokens to text, as they come), [`reasoning`] (a reply split into chain
//! of thought and answer).

mod blocks;
pub mod constraint;
pub mod engine;
mod error;
mod generate;
pub mod grammar;
pub mod logprobs;
mod passes;
pub mod reasoning;
mod replies;
pub mod request;
pub mod router;
mod sampler;
pub mod sampling;
mod scheduler;
pub mod score;
mod sequence;
pub mod session;
pub mod speculative;
pub mod text;

pub use limbeck_model::paged::BLOCK_SIZE;

pub use constraint::{Constraint, ConstraintFactory, TokenMask};
pub use engine::{Engine, EngineConfig, FinishReason, Generation};
pub use error::{Error, Result};
pub use grammar::{Grammar, GrammarCompiler, GrammarError};
pub use logprobs::TokenLogprobs;
pub use reasoning::{Reply, split_reasoning};
pub use request::{Output, Request, RequestId, Stats};
pub use router::RowRouter;
pub use sampling::SamplingParams;
pub use score::Score;
pub use session::Session;
pub use speculative::{Speculative, SpeculativeStats};
pub use text::{Delta, TextStream};
