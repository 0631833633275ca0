//! Distillation: a small student learns from a large teacher's distributions.
//!
//! Reading order: [`divergence`] measures how far the student is from the teacher,
//! [`objective`] mixes that with cross-entropy batch by batch, [`student`] makes the
//! student, [`config`] is what a user sets.

pub mod config;
pub mod divergence;
pub mod error;
pub mod objective;
pub mod student;

pub use config::{DistillConfig, StudentConfig};
pub use error::{Error, Result};
pub use objective::DistillObjective;
