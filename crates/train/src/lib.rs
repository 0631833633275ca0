//! Training: from rendered conversations to updated parameters.
//!
//! Reading order: [`example`] masks what is learned, [`questions`], [`curriculum`] and
//! [`mix`] say what is drawn when, [`sampler`], [`feed`] and [`batch`] shape the work,
//! [`objective`], [`head`] and [`recompute`] turn a batch into gradients, [`optimizer`],
//! [`optimizer_groups`] and [`schedule`] turn gradients into steps, [`average`] smooths them,
//! [`validation`] and [`selection`] judge them, [`estimate`] tells the memory, [`trainer`] is
//! the loop and [`checkpoint`] what a killed run resumes from; [`rate_finder`] looks for a
//! learning rate before all that.

pub mod average;
pub mod batch;
pub mod checkpoint;
pub mod config;
pub mod curriculum;
pub mod error;
pub mod estimate;
pub mod example;
pub mod feed;
pub mod head;
pub mod mix;
pub mod objective;
pub mod optimizer;
pub mod optimizer_groups;
pub mod questions;
pub mod rate_finder;
pub mod recompute;
pub mod sampler;
pub mod schedule;
pub mod selection;
pub mod shares;
pub mod token_weights;
pub mod trainer;
pub mod traits;
pub mod update_schedule;
pub mod validation;

pub use batch::{Batch, ExampleSpan};
pub use config::{MetricKind, TrainConfig};
pub use error::{Error, Result};
pub use estimate::MemoryEstimate;
pub use example::{Completion, Example};
pub use objective::{Losses, Objective, ObjectiveMemory, SupervisedObjective};
pub use optimizer_groups::ParameterGroup;
pub use token_weights::TokenWeights;
pub use trainer::{TrainReport, Trainer};
pub use traits::{Kind, Traits};
pub use update_schedule::UpdateSchedule;
pub use validation::ValidationMetric;
