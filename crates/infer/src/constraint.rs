//! What a request allows to come next, such as text of a grammar.

use std::fmt::Debug;

use limbeck_run::Diagnose;

use crate::{Error, Result};

/// Says token by token what one reply may go on with.
pub trait Constraint: Debug + Send {
    /// The tokens that may come next. Whether the reply may end here is whether the mask
    /// allows a stop token.
    ///
    /// # Errors
    /// Best made with [`Error::constraint`].
    fn allowed(&mut self) -> Result<TokenMask>;

    /// The reply went on with this token, which is no stop token.
    ///
    /// # Errors
    /// As [`Self::allowed`].
    fn accept(&mut self, token: i64) -> Result<()>;
}

/// Makes a constraint for each choice of a request.
pub trait ConstraintFactory: Debug + Send {
    /// A constraint that has seen nothing.
    ///
    /// # Errors
    /// As [`Constraint::allowed`].
    fn start(&self) -> Result<Box<dyn Constraint>>;
}

/// A set of token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenMask {
    words: Vec<u64>,
    vocab_size: usize,
}

impl TokenMask {
    /// None of a vocabulary's tokens.
    pub fn none(vocab_size: usize) -> Self {
        Self { words: vec![0; vocab_size.div_ceil(64)], vocab_size }
    }

    /// All of a vocabulary's tokens.
    pub fn all(vocab_size: usize) -> Self {
        let mut mask = Self { words: vec![u64::MAX; vocab_size.div_ceil(64)], vocab_size };
        if let Some(last) = mask.words.last_mut() {
            *last >>= (64 - vocab_size % 64) % 64;
        }
        mask
    }

    /// Ids from 0 up to this are known.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Adds a token; one outside of the vocabulary is none.
    pub fn allow(&mut self, token: i64) {
        if let Some((word, bit)) = self.place(token) {
            self.words[word] |= bit;
        }
    }

    /// Takes a token out.
    pub fn forbid(&mut self, token: i64) {
        if let Some((word, bit)) = self.place(token) {
            self.words[word] &= !bit;
        }
    }

    /// Whether a token is in the set.
    pub fn allows(&self, token: i64) -> bool {
        self.place(token).is_some_and(|(word, bit)| self.words[word] & bit != 0)
    }

    fn place(&self, token: i64) -> Option<(usize, u64)> {
        let token = usize::try_from(token).ok().filter(|&token| token < self.vocab_size)?;
        Some((token / 64, 1 << (token % 64)))
    }

    /// Sets the logits of all tokens that are not in the set to -inf.
    pub(crate) fn apply(&self, logits: &mut [f32]) {
        for (token, logit) in logits.iter_mut().enumerate() {
            if !self.allows(token as i64) {
                *logit = f32::NEG_INFINITY;
            }
        }
    }
}

impl Error {
    /// Wraps another crate's error about what a constraint allows.
    pub fn constraint(source: impl Diagnose + Send + Sync + 'static) -> Self {
        let (exit, hint) = (source.exit(), source.hint());
        Self::Constraint { exit, hint, source: Box::new(source) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_a_set() {
        let mut mask = TokenMask::none(70);
        for token in [0, 63, 64, 69, 70, -1] {
            mask.allow(token);
        }
        mask.forbid(63);
        let allowed: Vec<i64> = (-2..80).filter(|&token| mask.allows(token)).collect();
        assert_eq!(allowed, [0, 64, 69]);
        for size in [1, 64, 70] {
            let mut mask = TokenMask::all(size);
            assert!((0..size as i64).all(|token| mask.allows(token)));
            (0..size as i64).for_each(|token| mask.forbid(token));
            assert_eq!(mask, TokenMask::none(size));
        }
        let mut logits = vec![1.0; 72];
        mask.apply(&mut logits);
        let left: Vec<usize> = (0..72).filter(|&token| logits[token] > 0.0).collect();
        assert_eq!(left, [0, 64, 69]);
    }
}
