//! Several runs of one kind, such as seeds, on the same problems.

use serde::{Deserialize, Serialize};

use super::Proportion;
use super::bootstrap::bootstrap;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::PairedDifference;
    use crate::statistics::tests::close;

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
