//! An OpenAI-compatible HTTP server around the engine.
//!
//! [`run`] serves until it is told to stop. The engine lives on a thread of its own, made
//! there by a [`BackendFactory`] and stepped by [`worker`]; handlers hand it requests through
//! a bounded queue and read each one's tokens from a channel that is as long as the request
//! may get, so that no client ever holds up another.
//!
//! Modules in reading order: [`config`]; [`backend`] (what is needed of an
//! engine); [`worker`] (its thread); [`server`] (listening, starting, stopping), [`shutdown`];
//! `app` (routes and what stands around them), `auth`, `limits`; [`openai`] (completions,
//! chats, models); [`adapters`], [`feedback`], `tokens`, `health`, [`metrics`], `page`;
//! [`fake`] (an engine without a model).

#![forbid(unsafe_code)]

pub mod adapters;
mod app;
mod auth;
pub mod backend;
pub mod config;
mod error;
pub mod fake;
pub mod feedback;
mod health;
mod limits;
pub mod metrics;
mod model_info;
pub mod openai;
mod page;
mod recent;
pub mod server;
pub mod shutdown;
mod tokens;
pub mod worker;

pub use adapters::AdapterStore;
pub use backend::{Backend, BackendFactory};
pub use config::ServeConfig;
pub use error::{Error, Result};
pub use model_info::ModelInfo;
pub use server::{Server, Setup, run};
pub use shutdown::Shutdown;
