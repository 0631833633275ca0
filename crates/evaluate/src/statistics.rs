//! Uncertainty of proportions and of differences between models on the same problems.
//!
//! - Wilson's score interval (Wilson 1927), as recommended by Brown, Cai and DasGupta
//!   (2001) over the normal one, which fails near 0 and 1.
//! - McNemar's test (1947) in its exact form, and a paired bootstrap (Efron 1979): two
//!   models that answer the same problems are compared problem by problem. Treating their
//!   accuracies as independent would throw most of the information away.

#![expect(clippy::doc_markdown, reason = "McNemar and DasGupta are people")]

use limbeck_core::seed::{CounterRng, derive};
use serde::{Deserialize, Serialize};

/// The 97.5% quantile of the standard normal: two-sided 95% intervals.
const Z_95: f64 = 1.959_963_984_540_054;

/// Resamples of the bootstrap.
const RESAMPLES: usize = 10_000;

/// A proportion with its 95% interval by Wilson.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proportion {
    /// How many did.
    pub successes: u64,
    /// Out of how many.
    pub n: u64,
    /// `successes / n`; 0 when `n` is 0.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Proportion {
    /// The proportion of `successes` among `n`; the interval of none is everything.
    pub fn new(successes: u64, n: u64) -> Self {
        if n == 0 {
            return Self { successes, n, value: 0.0, low: 0.0, high: 1.0 };
        }
        let count = n as f64;
        let value = successes as f64 / count;
        let z_squared = Z_95 * Z_95;
        let centre = (value + z_squared / (2.0 * count)) / (1.0 + z_squared / count);
        let spread = value * (1.0 - value) / count + z_squared / (4.0 * count * count);
        let half = Z_95 * spread.sqrt() / (1.0 + z_squared / count);
        // At the ends, rounding would leave the interval beside its own value.
        let low = if successes == 0 { 0.0 } else { (centre - half).max(0.0) };
        let high = if successes == n { 1.0 } else { (centre + half).min(1.0) };
        Self { successes, n, value, low, high }
    }

    /// The proportion of true values.
    pub fn of(outcomes: impl IntoIterator<Item = bool>) -> Self {
        let (mut successes, mut n) = (0, 0);
        for outcome in outcomes {
            n += 1;
            successes += u64::from(outcome);
        }
        Self::new(successes, n)
    }

    /// Standard error of the mean with the sample variance, as lm-eval reports it; `None`
    /// below two samples.
    pub fn standard_error(&self) -> Option<f64> {
        let variance = self.value * (1.0 - self.value);
        (self.n > 1).then(|| (variance / (self.n - 1) as f64).sqrt())
    }
}

/// A figure with its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// What it was counted over.
    pub n: u64,
    /// Its standard error, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
}

impl From<Proportion> for Estimate {
    fn from(proportion: Proportion) -> Self {
        let Proportion { n, value, low, high, .. } = proportion;
        Self { value, low, high, n, standard_error: proportion.standard_error() }
    }
}

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

/// The accuracy of several runs of one kind on the same problems.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PooledAccuracy {
    /// Mean of the runs' accuracies.
    pub mean: f64,
    /// Lower end of the 95% interval, by percentile bootstrap over problems.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Each run's accuracy.
    pub by_run: Vec<f64>,
    /// Standard deviation of those, with n − 1; `None` below two runs.
    pub standard_deviation: Option<f64>,
}

impl PooledAccuracy {
    /// Pools runs, each with an outcome for every problem, all in the same order.
    pub fn new(runs: &[Vec<bool>], seed: u64) -> Self {
        let solved = solved(runs);
        let (low, high) = bootstrap(&solved, runs.len() as f64, seed).unwrap_or((0.0, 1.0));
        let by_run: Vec<f64> = runs.iter().map(|run| accuracy(run)).collect();
        let mean = mean(&by_run);
        let squares: f64 = by_run.iter().map(|value| (value - mean).powi(2)).sum();
        let standard_deviation =
            (runs.len() > 1).then(|| (squares / (runs.len() - 1) as f64).sqrt());
        Self { mean, low, high, by_run, standard_deviation }
    }
}

/// The difference of the mean accuracies of two kinds of runs on the same problems.
///
/// A problem's outcome is the share of the runs that solve it, and the interval comes from
/// resampling problems: it says how far other problems could move the difference of these
/// runs. What other seeds would do is to be read from [`Self::by_run`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PooledDifference {
    /// Mean accuracy of the first kind less that of the second.
    pub difference: f64,
    /// Lower end of the 95% interval, by percentile bootstrap over problems.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// The difference of each pair of runs.
    pub by_run: Vec<f64>,
}

impl PooledDifference {
    /// Compares runs, the first with the first and so on; as many of each kind, each with an
    /// outcome for every problem, all in the same order.
    pub fn new(first: &[Vec<bool>], second: &[Vec<bool>], seed: u64) -> Self {
        let (ours, theirs) = (solved(first), solved(second));
        let differences: Vec<i64> =
            ours.iter().zip(&theirs).map(|(ours, theirs)| ours - theirs).collect();
        let runs = first.len() as f64;
        let (low, high) = bootstrap(&differences, runs, seed).unwrap_or((-1.0, 1.0));
        let by_run: Vec<f64> = first
            .iter()
            .zip(second)
            .map(|(first, second)| accuracy(first) - accuracy(second))
            .collect();
        // Of the integers: equal kinds differ by 0 and not by a rounding error.
        let total: i64 = differences.iter().sum();
        let outcomes = (runs * differences.len() as f64).max(1.0);
        Self { difference: total as f64 / outcomes, low, high, by_run }
    }
}

/// How many of the runs solve each problem.
fn solved(runs: &[Vec<bool>]) -> Vec<i64> {
    let problems = runs.iter().map(Vec::len).min().unwrap_or(0);
    (0..problems).map(|problem| runs.iter().map(|run| i64::from(run[problem])).sum()).collect()
}

fn accuracy(run: &[bool]) -> f64 {
    Proportion::of(run.iter().copied()).value
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// 95% percentile interval of the mean over `scale` under resampling of the values, one for
/// each problem; `None` without any.
fn bootstrap(values: &[i64], scale: f64, seed: u64) -> Option<(f64, f64)> {
    if values.is_empty() {
        return None;
    }
    let mut random = CounterRng::new(derive(seed, "bootstrap", 0));
    let mut sums: Vec<i64> = (0..RESAMPLES)
        .map(|_| (0..values.len()).map(|_| values[random.below(values.len())]).sum())
        .collect();
    sums.sort_unstable();
    let quantile = |share: f64| {
        // Linear interpolation between order statistics (numpy's default).
        let place = share * (RESAMPLES - 1) as f64;
        let (lower, fraction) = (place.floor() as usize, place.fract());
        let upper = (lower + 1).min(RESAMPLES - 1);
        let between = sums[lower] as f64 * (1.0 - fraction) + sums[upper] as f64 * fraction;
        between / (scale * values.len() as f64)
    };
    Some((quantile(0.025), quantile(0.975)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "expected {expected}, found {found}");
    }

    /// Golden values from the closed form, evaluated apart from this code.
    #[test]
    fn wilson_intervals() {
        let cases = [
            (10, 20, 0.299_298, 0.700_702),
            (0, 10, 0.0, 0.277_533),
            (10, 10, 0.722_467, 1.0),
            (1, 3, 0.061_492, 0.792_340),
            (659, 1319, 0.472_678, 0.526_566),
        ];
        for (successes, n, low, high) in cases {
            let proportion = Proportion::new(successes, n);
            close(proportion.low, low, 1e-6);
            close(proportion.high, high, 1e-6);
        }
        close(Proportion::new(0, 0).high, 1.0, 0.0);
    }

    #[test]
    fn the_standard_error_uses_the_sample_variance() {
        // Outcomes 1, 1, 1, 0: variance 0.25 with n - 1 = 3, over √4.
        close(Proportion::new(3, 4).standard_error().unwrap(), 0.25, 1e-12);
        assert_eq!(Proportion::new(1, 1).standard_error(), None);
    }

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

    /// Runs of 100 problems, each of which solves the first so many.
    fn runs(solved: &[usize]) -> Vec<Vec<bool>> {
        solved.iter().map(|&count| (0..100).map(|problem| problem < count).collect()).collect()
    }

    #[test]
    fn runs_are_pooled_by_problem() {
        let pooled = PooledAccuracy::new(&runs(&[60, 70, 80]), 1);
        close(pooled.mean, 0.7, 1e-12);
        close(pooled.standard_deviation.unwrap(), 0.1, 1e-12);
        for (found, expected) in pooled.by_run.iter().zip([0.6, 0.7, 0.8]) {
            close(*found, expected, 1e-12);
        }
        // Shares 1 (60 problems), 2/3 (10), 1/3 (10), 0 (20): variance
        // 0.6 + 10/225 + 10/900 - 0.49 = 0.1656, deviation 0.4069 over √100.
        close(pooled.low, 0.7 - 1.96 * 0.0407, 0.011);
        close(pooled.high, 0.7 + 1.96 * 0.0407, 0.011);
        assert_eq!(PooledAccuracy::new(&runs(&[60]), 1).standard_deviation, None);
    }

    #[test]
    fn a_pooled_difference_is_paired_by_problem_and_by_run() {
        let (first, second) = (runs(&[60, 70, 80]), runs(&[50, 65, 80]));
        let pooled = PooledDifference::new(&first, &second, 1);
        close(pooled.difference, 0.05, 1e-12);
        for (found, expected) in pooled.by_run.iter().zip([0.1, 0.05, 0.0]) {
            close(*found, expected, 1e-12);
        }
        // 15 problems differ, each by a third: variance 15/900 - 0.0025 = 0.01417. Unpaired,
        // the interval would be more than four times as wide.
        close(pooled.low, 0.05 - 1.96 * 0.0119, 0.005);
        close(pooled.high, 0.05 + 1.96 * 0.0119, 0.005);
        assert_eq!(pooled, PooledDifference::new(&first, &second, 1));
        let mirrored = PooledDifference::new(&second, &first, 1);
        close(mirrored.difference, -pooled.difference, 1e-12);
        close(mirrored.low, -pooled.high, 1e-12);
    }

    /// One run of each kind is the plain paired comparison.
    #[test]
    fn a_single_run_is_compared_as_two_models_are() {
        let (first, second) = (runs(&[63]), runs(&[41]));
        let pooled = PooledDifference::new(&first, &second, 9);
        let pairs: Vec<(bool, bool)> =
            first[0].iter().copied().zip(second[0].iter().copied()).collect();
        let paired = PairedDifference::new(&pairs, 9);
        close(pooled.difference, paired.difference, 1e-12);
        close(pooled.low, paired.low, 1e-12);
        close(pooled.high, paired.high, 1e-12);
    }

    #[test]
    fn equal_runs_differ_by_exactly_nothing() {
        let pooled = PooledDifference::new(&runs(&[30, 10]), &runs(&[30, 10]), 0);
        assert_eq!((pooled.difference, pooled.low, pooled.high), (0.0, 0.0, 0.0));
        let none = PooledDifference::new(&[vec![]], &[vec![]], 0);
        assert_eq!((none.difference, none.low, none.high), (0.0, -1.0, 1.0));
    }
}
