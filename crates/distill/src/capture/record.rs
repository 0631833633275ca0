//! What is kept of the teacher for one record.

/// The teacher's distributions at the positions of a record that carry a loss, each as
/// its likeliest tokens and the mass of all others together.
#[derive(Debug, Clone, PartialEq)]
pub struct CapturedRecord {
    /// Input positions, ascending: the distribution at position t is that of token t + 1.
    pub positions: Vec<u32>,
    /// Tokens at each position.
    pub top_k: usize,
    /// Token ids, `[positions, top_k]`, the likeliest first.
    pub ids: Vec<i32>,
    /// Their natural log-probabilities, `[positions, top_k]`, falling in each row.
    pub log_probs: Vec<f32>,
    /// log(1 − Σ exp(`log_probs`)) at each position: the log-mass of all other tokens,
    /// −∞ where there is none.
    pub log_tail: Vec<f32>,
}

impl CapturedRecord {
    /// Whether the parts fit each other, a record of `num_tokens` tokens and a vocabulary.
    pub(super) fn check(&self, num_tokens: usize, vocab_size: i64) -> Result<(), String> {
        let num_values = self.positions.len() * self.top_k;
        let lengths = [self.ids.len(), self.log_probs.len(), self.log_tail.len()];
        if lengths != [num_values, num_values, self.positions.len()] {
            return Err(format!(
                "{} positions of {} tokens, and {} ids, {} log-probabilities, {} tails",
                self.positions.len(),
                self.top_k,
                lengths[0],
                lengths[1],
                lengths[2]
            ));
        }
        // The last token is never an input.
        let bound = num_tokens.saturating_sub(1);
        if self.positions.last().is_some_and(|&last| last as usize >= bound) {
            return Err(format!("positions beyond its {bound} inputs"));
        }
        if !self.positions.is_sorted_by(|first, second| first < second) {
            return Err("positions that do not ascend".to_owned());
        }
        if self.ids.iter().any(|&id| id < 0 || i64::from(id) >= vocab_size) {
            return Err(format!("ids beyond the vocabulary's {vocab_size} tokens"));
        }
        let falls = |row: &[f32]| row.is_sorted_by(|first, second| first >= second);
        let is_log = |value: &f32| *value <= MAX_LOG_PROB;
        if !self.log_probs.chunks(self.top_k.max(1)).all(falls)
            || !self.log_probs.iter().chain(&self.log_tail).all(is_log)
        {
            return Err("log-probabilities above 0 or not falling".to_owned());
        }
        Ok(())
    }

    /// The row of an input position.
    pub fn row_of(&self, position: usize) -> Option<usize> {
        let position = u32::try_from(position).ok()?;
        self.positions.binary_search(&position).ok()
    }
}

/// log 1, and what float32 may make of it.
const MAX_LOG_PROB: f32 = 1e-4;
