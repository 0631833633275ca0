//! Two models on the same problems, problem by problem: `McNemar`'s test (1947) in its exact form,
//! and a paired bootstrap (Efron 1979). Treating their accuracies as independent would throw most
//! of the information away.

#![expect(clippy::doc_markdown, reason = "McNemar is a person")]

use serde::{Deserialize, Serialize};

use super::bootstrap::bootstrap;

/// The difference of two models' accuracies on the same problems.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairedDifference {
    /// Problems that both models answered.
    pub n: u64,
    /// Solved by the first model alone.
    pub only_first: u64,
    /// Solved by the second model alone.
    pub only_second: u64,
    /// Accuracy of the first less that of the second.
    pub difference: f64,
    /// Lower end of the 95% interval, by percentile bootstrap over problems.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// McNemar's exact two-sided p-value: how often equally good models would differ at
    /// least as much.
    pub p_value: f64,
}

impl PairedDifference {
    /// Compares outcomes of the first and the second model, problem by problem; `seed`
    /// fixes the resamples.
    pub fn new(pairs: &[(bool, bool)], seed: u64) -> Self {
        let count = |which: (bool, bool)| pairs.iter().filter(|pair| **pair == which).count();
        let (only_first, only_second) = (count((true, false)), count((false, true)));
        let n = pairs.len();
        let difference =
            if n == 0 { 0.0 } else { (only_first as f64 - only_second as f64) / n as f64 };
        let differences: Vec<i64> =
            pairs.iter().map(|(first, second)| i64::from(*first) - i64::from(*second)).collect();
        let (low, high) = bootstrap(&differences, 1.0, seed).unwrap_or((-1.0, 1.0));
        Self {
            n: n as u64,
            only_first: only_first as u64,
            only_second: only_second as u64,
            difference,
            low,
            high,
            p_value: mcnemar_exact(only_first as u64, only_second as u64),
        }
    }
}

/// McNemar's exact two-sided p-value of `b` against `c` discordant pairs: the probability
/// that a fair coin, thrown `b + c` times, falls at least as unevenly.
pub fn mcnemar_exact(b: u64, c: u64) -> f64 {
    let n = b + c;
    let mut log_term = -(n as f64) * std::f64::consts::LN_2; // ln of C(n, 0) / 2^n
    let mut tail = log_term.exp();
    for k in 1..=b.min(c) {
        log_term += ((n - k + 1) as f64).ln() - (k as f64).ln();
        tail += log_term.exp();
    }
    (2.0 * tail).min(1.0)
}

/// P-values corrected for their number by Holm's step-down procedure (1979), in the given
/// order: rejecting those below a level keeps the chance of any false rejection below it.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&left, &right| p_values[left].total_cmp(&p_values[right]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut highest: f64 = 0.0;
    for (rank, &index) in order.iter().enumerate() {
        let remaining = (p_values.len() - rank) as f64;
        highest = highest.max((remaining * p_values[index]).min(1.0));
        adjusted[index] = highest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::tests::close;

    /// Golden values from exact integer arithmetic.
    #[test]
    fn mcnemar_p_values() {
        close(mcnemar_exact(0, 0), 1.0, 0.0);
        close(mcnemar_exact(5, 5), 1.0, 0.0);
        close(mcnemar_exact(0, 5), 0.0625, 1e-12);
        close(mcnemar_exact(10, 2), 0.038_574_218_75, 1e-12);
        close(mcnemar_exact(59, 6), 4.964_650_327e-12, 1e-20);
        // 2^-999 is far below what f64 could hold as a product of halves times counts.
        let extreme = mcnemar_exact(0, 1000);
        assert!(extreme > 0.0 && extreme < 1e-300);
    }

    #[test]
    fn holm_corrections() {
        let adjusted = holm(&[0.04, 0.01, 0.03, 0.5]);
        for (found, expected) in adjusted.into_iter().zip([0.09, 0.04, 0.09, 0.5]) {
            close(found, expected, 1e-12);
        }
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn the_paired_interval_is_that_of_the_differences() {
        let mut pairs = vec![(true, true); 60];
        pairs.extend(vec![(true, false); 25]);
        pairs.extend(vec![(false, true); 5]);
        pairs.extend(vec![(false, false); 10]);
        let paired = PairedDifference::new(&pairs, 1);
        assert_eq!((paired.n, paired.only_first, paired.only_second), (100, 25, 5));
        close(paired.difference, 0.2, 1e-12);
        // Standard deviation of the differences √(0.30 - 0.04) / √100 = 0.051.
        close(paired.low, 0.2 - 1.96 * 0.051, 0.011);
        close(paired.high, 0.2 + 1.96 * 0.051, 0.011);
        assert!(paired.p_value < 0.001);
        assert_eq!(paired, PairedDifference::new(&pairs, 1));
    }

    #[test]
    fn swapping_the_models_mirrors_the_difference() {
        let pairs = [(true, false), (true, true), (false, false), (true, false), (false, true)];
        let swapped: Vec<_> = pairs.iter().map(|(first, second)| (*second, *first)).collect();
        let (one, other) = (PairedDifference::new(&pairs, 4), PairedDifference::new(&swapped, 4));
        close(one.difference, -other.difference, 1e-12);
        close(one.low, -other.high, 1e-12);
        close(one.p_value, other.p_value, 0.0);
    }

    #[test]
    fn equal_models_and_no_problems() {
        let paired = PairedDifference::new(&[(true, true), (false, false)], 0);
        assert_eq!((paired.difference, paired.low, paired.high), (0.0, 0.0, 0.0));
        close(paired.p_value, 1.0, 0.0);
        assert_eq!(PairedDifference::new(&[], 0).n, 0);
    }
}
