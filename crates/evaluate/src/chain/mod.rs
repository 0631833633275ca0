//! Where a chain of thought goes wrong.
//!
//! Three things tell, each used where those before it say nothing: the steps computed again
//! ([`analyze`], from the text alone), the likelihood of each step under a model
//! ([`likelihood`]), and whether a model that goes on from a step still arrives ([`rollout`];
//! Wang et al., Math-Shepherd, arXiv 2312.08935). How well they locate errors is measured by
//! [`f1`] (Zheng et al., ProcessBench, arXiv 2412.06559).
//!
//! Modules in reading order: [`split`], [`repetition`], `kind`, `text` (the analysis),
//! [`likelihood`], [`rollout`], `combined` (all three in order), `samples`
//! (of judged replies), [`f1`],
//! [`input`] (chains of files), [`summary`].

mod combined;
pub mod f1;
pub mod input;
mod kind;
pub mod likelihood;
pub mod repetition;
pub mod rollout;
mod samples;
pub mod split;
pub mod summary;
mod text;

use serde::{Deserialize, Serialize};

pub use combined::{ModelEvidence, ask_model};
pub use f1::{Located, StepF1};
pub use input::Entry;
pub use samples::{TeacherConfig, ask_of_samples};
pub use summary::ChainSummary;
pub use text::{Chain, ChainReport, StepReport, analyze, analyze_steps, locate};
/// What is wrong with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// A result does not follow from its operands.
    Arithmetic,
    /// A number or a statement is not the question's or an earlier step's: a wrong copy.
    Copy,
    /// The step breaks a rule or does not follow from the steps before it.
    Logic,
    /// The steps hold, and the answer is not what they lead to.
    Conclusion,
    /// The step says again what was said, until the reply is cut.
    Repetition,
    /// The chain ends before it concludes anything.
    Unfinished,
    /// Something is wrong; what is not known.
    Unknown,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Arithmetic,
        Self::Copy,
        Self::Logic,
        Self::Conclusion,
        Self::Repetition,
        Self::Unfinished,
        Self::Unknown,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arithmetic => "arithmetic",
            Self::Copy => "copy",
            Self::Logic => "logic",
            Self::Conclusion => "conclusion",
            Self::Repetition => "repetition",
            Self::Unfinished => "unfinished",
            Self::Unknown => "unknown",
        }
    }
}

/// What tells that a chain goes wrong where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
    /// The step was computed again.
    Check,
    /// A model finds the step much less likely than those before it.
    Likelihood,
    /// A model that goes on from here no longer arrives at the answer.
    Rollout,
    /// The form of the chain: it repeats itself, or does not end.
    Form,
}

/// The first step of a chain that is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breakpoint {
    /// Its index, from 0, among the chain's steps.
    pub step: usize,
    /// What is wrong with it.
    pub kind: ErrorKind,
    /// How sure that is, from 0 to 1.
    pub confidence: f64,
    /// What tells.
    pub evidence: Evidence,
}
