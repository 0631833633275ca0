//! OpenAI's requests and replies.
//!
//! Modules in reading order: [`error`], [`fields`] (reading a body), `params` (what completions
//! and chats share), `form` (what replies must look like), `prompts` and `messages` (the two kinds of
//! input), `generation` (events
//! into text), `logprobs`, `reasoning_stream`, `stream` (server-sent events), then the
//! endpoints `completions`, `chat` and `models`.

pub(crate) mod chat;
pub(crate) mod completions;
pub mod error;
pub mod fields;
pub(crate) mod form;
mod generation;
mod ids;
mod logprobs;
pub(crate) mod messages;
pub(crate) mod models;
mod params;
pub(crate) mod prompts;
mod reasoning_stream;
mod stream;

pub(crate) use generation::accepted;
