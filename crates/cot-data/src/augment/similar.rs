//! How much two chains say the same.

use std::collections::HashSet;

use crate::clean::token::{ngram_hashes, tokens};

/// The pairs of neighbouring words of a chain; of one word, that word.
pub(super) struct Shingles(HashSet<u64>);

impl Shingles {
    pub(super) fn of(lines: &[String]) -> Self {
        let hashes: Vec<u64> = tokens(&lines.join("\n")).iter().map(|token| token.hash).collect();
        if hashes.len() < 2 {
            return Self(hashes.into_iter().collect());
        }
        Self(ngram_hashes(&hashes, 2).collect())
    }

    /// The Jaccard index.
    pub(super) fn similarity(&self, other: &Self) -> f64 {
        let shared = self.0.intersection(&other.0).count();
        let all = self.0.len() + other.0.len() - shared;
        if all == 0 { 1.0 } else { shared as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_signs_count() {
        let of = |text: &str| Shingles::of(&[text.to_owned()]);
        let one = of("First 3 + 4 = 7 apples, then 7 * 2 = 14");
        assert!((one.similarity(&of("first 3+4=7 apples then 7*2=14")) - 1.0).abs() < 1e-9);
        let other = one.similarity(&of("Two bags of 3 and 4 make 2 * 7 = 14"));
        assert!(other < 0.4, "{other}");
        assert!((of("").similarity(&of("")) - 1.0).abs() < 1e-9);
    }
}
