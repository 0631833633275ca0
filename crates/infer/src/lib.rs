//! Sampling, key-value caching, batched generation and scoring.
//!
//! [`Engine`] is the wall: callers hand it token ids and get token ids or
//! log-probabilities back, and never see how requests are batched, padded or cached.
//!
//! Modules in reading order: [`sampling`] (what to draw and how), [`engine`] (the entry
//! point and its limits), `batch` (one left-padded batch and its cache), `generate` (the
//! decoding loop), [`score`] (log-probabilities of given tokens), [`router`] (requests that
//! the model treats differently), [`reasoning`] (a reply split into chain of thought and
//! answer).

mod batch;
pub mod engine;
mod error;
mod generate;
pub mod reasoning;
pub mod router;
pub mod sampling;
pub mod score;

pub use engine::{Engine, EngineConfig, FinishReason, Generation};
pub use error::{Error, Result};
pub use reasoning::{Reply, split_reasoning};
pub use router::RowRouter;
pub use sampling::SamplingParams;
pub use score::Score;
