//! What is known of an example's record that decides when, and how often, it is drawn.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the reply of an example is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A chain of thought, then the answer.
    #[default]
    Chain,
    /// The answer at once.
    Task,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Chain => "chain",
            Self::Task => "task",
        })
    }
}

/// What is known of an example beside its tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traits {
    /// What its reply is.
    pub kind: Kind,
    /// The record's question: examples with the same are chains of one question. Empty for
    /// an example that has none; it is alike to no other.
    pub question: String,
    /// The record's field of knowledge; empty where it is not known.
    pub domain: String,
    /// The record's difficulty, from 1 (easy); 0 where it is not known.
    pub difficulty: u8,
}
