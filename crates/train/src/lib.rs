//! Training: from rendered conversations to updated parameters.
//!
//! Reading order: [`example`] masks what is learned, [`sampler`] and [`batch`] shape the
//! work, [`objective`] and [`head`] turn a batch into gradients, [`optimizer`] and
//! [`schedule`] turn gradients into steps, [`trainer`] is the loop and [`checkpoint`]
//! what a killed run resumes from.

pub mod batch;
pub mod checkpoint;
pub mod config;
pub mod error;
pub mod example;
pub mod head;
mod muon;
pub mod objective;
pub mod optimizer;
pub mod sampler;
pub mod schedule;
pub mod token_weights;
pub mod trainer;

pub use batch::{Batch, ExampleSpan};
pub use config::TrainConfig;
pub use error::{Error, Result};
pub use example::{Completion, Example};
pub use objective::{Losses, Objective, SupervisedObjective};
pub use token_weights::TokenWeights;
pub use trainer::{TrainReport, Trainer};
