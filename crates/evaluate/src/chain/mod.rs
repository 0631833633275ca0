//! Where a chain of thought goes wrong.

use serde::{Deserialize, Serialize};

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
