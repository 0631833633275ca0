//! What the tokens of each part of a reply count in the loss.

use std::ops::Range;

use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

/// The `[….train.weights]` table. A weight is relative to the others: the loss is divided
/// by the sum over all tokens of a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenWeights {
    /// Tokens of the chain of thought. Default 1.
    pub reasoning: f64,
    /// Tokens of the answer behind it. Default 1.
    pub answer: f64,
    /// Tokens that every reply has: the marks around the chain and the end of the turn.
    /// Default 1.
    pub template: f64,
}

impl Default for TokenWeights {
    fn default() -> Self {
        Self { reasoning: 1.0, answer: 1.0, template: 1.0 }
    }
}

impl TokenWeights {
    /// Whether all tokens count alike, so that no token's part need be known.
    pub(crate) fn is_even(&self) -> bool {
        let first = self.reasoning.to_bits();
        self.answer.to_bits() == first && self.template.to_bits() == first
    }

    /// The weights of tokens that begin at these bytes of a completion, in which the chain
    /// and the answer lie at the given bytes. A token across a border counts by where it
    /// begins.
    pub(crate) fn of(
        &self,
        starts: &[usize],
        reasoning: &Range<usize>,
        answer: &Range<usize>,
    ) -> Vec<f32> {
        let of = |start: &usize| {
            let weight = if reasoning.contains(start) {
                self.reasoning
            } else if answer.contains(start) {
                self.answer
            } else {
                self.template
            };
            weight as f32
        };
        starts.iter().map(of).collect()
    }
}

impl Validate for TokenWeights {
    fn validate(&self) -> Result<(), Invalid> {
        let all =
            [("reasoning", self.reasoning), ("answer", self.answer), ("template", self.template)];
        for (field, weight) in all {
            if !(weight >= 0.0 && weight.is_finite()) {
                return Err(Invalid::new(field, "a number from 0 up", weight));
            }
        }
        if all.iter().all(|(_, weight)| *weight == 0.0) {
            return Err(Invalid::new("reasoning", "one weight above 0", "three zeros"));
        }
        Ok(())
    }
}
