//! Distillation: a small student learns from a large teacher's distributions, hidden
//! states and attention.
//!
//! Reading order: [`divergence`] measures how far the student's distributions are from
//! the teacher's, [`features`] its hidden states, [`attention`] where it looks ([`key_heads`]
//! chooses whom to follow) and [`relations`] how it relates positions. [`teacher`] is where
//! the teacher's side comes from: memory, a [`capture`] on disk, so that it is asked once, or
//! memory with other tokens, which [`align`] meets; `on_policy` samples the student's own
//! text and [`sequence`] takes the teacher's text alone. [`objective`] mixes all that with
//! cross-entropy batch by batch, [`student`] makes the student, [`config`] is what a user
//! sets. [`mod@repair`] wins back what quantising took from a model.

pub mod align;
pub mod attention;
pub mod capture;
pub mod config;
pub mod divergence;
pub mod error;
pub mod features;
pub mod key_heads;
mod look_back;
pub mod objective;
mod on_policy;
pub mod positions;
pub mod relations;
pub mod repair;
pub mod sequence;
pub mod student;
pub mod teacher;

pub use capture::{CaptureError, CapturedTeacher};
pub use config::{DistillConfig, StudentConfig};
pub use error::{Error, Result};
pub use objective::{DistillObjective, TokenIds};
pub use on_policy::OnPolicySettings;
pub use repair::{Lessons, Norms, Repair, RepairConfig, Text, TunedPart, repair};
pub use student::{Init, Initialisation, Origin, Student, StudentError};
pub use teacher::Teacher;
