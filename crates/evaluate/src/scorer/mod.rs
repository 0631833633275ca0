//! What a reply is worth: how its answer is read and held against the expected one.
//!
//! Two ways side by side. Compatible with lm-eval 0.4.13, verdict by verdict, traps included:
//! [`filters`] and [`exact_match`] for any of its tasks, [`gsm8k`] for the one that is quoted most,
//! over [`pattern`] (Python's regular expressions). And by meaning: [`robust`].
//! [`repeats`] is over several replies to a problem, [`binary`] over problems of two classes.

pub mod binary;
pub mod exact_match;
pub mod filters;
pub mod gsm8k;
pub mod pattern;
pub mod repeats;
pub mod robust;

use std::fmt;

use serde::{Deserialize, Serialize};

/// What became of an answer. Only [`Self::Correct`] counts as right; the others tell a wrong
/// answer from one that could not be read or never came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Equal to the expected answer.
    Correct,
    /// Read, and different from it.
    Wrong,
    /// The reply came to its end, and holds no answer that can be read.
    Unparsed,
    /// The reply was cut before an answer.
    Truncated,
}

impl Verdict {
    /// All of them, best first.
    pub const ALL: [Self; 4] = [Self::Correct, Self::Wrong, Self::Unparsed, Self::Truncated];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Correct => "correct",
            Self::Wrong => "wrong",
            Self::Unparsed => "unparsed",
            Self::Truncated => "truncated",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
