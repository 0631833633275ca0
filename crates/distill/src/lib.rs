//! Distillation: a small student learns from a large teacher's distributions, hidden
//! states and attention.
//!
//! Reading order: [`divergence`] measures how far the student's distributions are from
//! the teacher's, [`features`] its hidden states, [`attention`] where it looks;
//! [`objective`] mixes that with cross-entropy batch by batch, [`student`] makes the
//! student, [`config`] is what a user sets. [`capture`] keeps a teacher's distributions on
//! disk, so that it is asked once.

pub mod attention;
pub mod capture;
pub mod config;
pub mod divergence;
pub mod error;
pub mod features;
mod look_back;
pub mod objective;
pub mod student;

pub use capture::{CaptureError, CapturedTeacher};
pub use config::{DistillConfig, StudentConfig};
pub use error::{Error, Result};
pub use objective::DistillObjective;
