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
    /// Tokens of the wrong steps of a corrected chain, which the model is to read but not to
    /// write. Default 0.
    pub wrong_step: f64,
}

impl Default for TokenWeights {
    fn default() -> Self {
        Self { reasoning: 1.0, answer: 1.0, template: 1.0, wrong_step: 0.0 }
    }
}

impl TokenWeights {
    /// Whether all tokens of a reply without wrong steps count alike, so that no token's part
    /// need be known.
    pub(crate) fn is_even(&self) -> bool {
        let first = self.reasoning.to_bits();
        self.answer.to_bits() == first && self.template.to_bits() == first
    }

    /// The weights of tokens that begin at these bytes of a completion, in which the chain
    /// and the answer lie at the given bytes. A token across a border counts by where it
    /// begins, but one that reaches into the wrong steps belongs to them.
    pub(crate) fn of(
        &self,
        starts: &[usize],
        reasoning: &Range<usize>,
        wrong: &Range<usize>,
        answer: &Range<usize>,
    ) -> Vec<f32> {
        // Tokens of one character begin at the same byte, so that the next one's start would
        // be no end.
        let end = |at: usize| {
            let later = starts[at..].iter().find(|&&start| start > starts[at]);
            later.copied().unwrap_or(usize::MAX)
        };
        let of = |(at, start): (usize, &usize)| {
            let weight = if *start < wrong.end && end(at) > wrong.start {
                self.wrong_step
            } else if reasoning.contains(start) {
                self.reasoning
            } else if answer.contains(start) {
                self.answer
            } else {
                self.template
            };
            weight as f32
        };
        starts.iter().enumerate().map(of).collect()
    }
}

impl Validate for TokenWeights {
    fn validate(&self) -> Result<(), Invalid> {
        let all =
            [("reasoning", self.reasoning), ("answer", self.answer), ("template", self.template)];
        for (field, weight) in all.into_iter().chain([("wrong_step", self.wrong_step)]) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_reaches_into_a_wrong_step_belongs_to_it() {
        let weights = TokenWeights { reasoning: 1.0, answer: 3.0, template: 2.0, wrong_step: 0.0 };
        // Tokens at bytes 0..2, 2..4 (template), 4..7, 7..9, twice 9..12 (one character in
        // two tokens), 12..14, and 14.. (answer); the wrong step lies at 8..10.
        let starts = [0, 2, 4, 7, 9, 9, 12, 14];
        let found = weights.of(&starts, &(4..14), &(8..10), &(14..20));
        assert_eq!(found, [2.0, 2.0, 1.0, 0.0, 0.0, 0.0, 1.0, 3.0]);
        let whole = weights.of(&starts, &(4..14), &(0..0), &(14..20));
        assert_eq!(whole, [2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 3.0], "there is no wrong step");
    }

    #[test]
    fn impossible_weights_name_their_key() {
        let wrong = TokenWeights { wrong_step: -1.0, ..TokenWeights::default() };
        assert_eq!(wrong.validate().unwrap_err().field, "wrong_step");
        let zeros = TokenWeights { reasoning: 0.0, answer: 0.0, template: 0.0, wrong_step: 1.0 };
        assert_eq!(zeros.validate().unwrap_err().field, "reasoning");
        TokenWeights::default().validate().unwrap();
    }
}
