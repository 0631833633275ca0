//! From tasks to judged replies.
//!
//! `questions` turns problems into prompts, `generate` and `choose` have a model answer
//! them, [`journal`] keeps what has been answered should the run be killed, `judge` holds
//! replies against the right answers, and `metrics` adds up what a task has of its own.

pub(crate) mod choose;
pub(crate) mod generate;
pub mod journal;
pub(crate) mod judge;
pub(crate) mod lm_eval_samples;
pub(crate) mod metrics;
pub(crate) mod questions;
pub mod replies;
