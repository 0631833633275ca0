//! Tasks of two classes, of which one is the one to be found: finance's risky cases.

use serde::{Deserialize, Serialize};

use crate::statistics::normal::Z_95;
use crate::statistics::{Estimate, Proportion};

/// One problem of two classes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// Whether it is of the class to be found.
    pub positive: bool,
    /// Whether the reply says so; `None` where it says neither, which is never right.
    pub predicted: Option<bool>,
    /// How much the model prefers the class to be found: its log-probability less the other's.
    pub score: Option<f64>,
}

/// What the replies to such a task are worth, with 95% intervals. What would divide by nothing is
/// `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binary {
    /// Share of the positive cases that are found: the coverage.
    pub recall: Option<Estimate>,
    /// Share of the negative cases that are taken for positive ones.
    pub false_positive_rate: Option<Estimate>,
    /// Share of those taken for positive that are.
    pub precision: Option<Estimate>,
    /// Harmonic mean of recall and precision. Of Wilson's interval around
    /// `J = TP / (TP + FP + FN)`, as it is `2J / (1 + J)`.
    pub f1: Option<Estimate>,
    /// Share of all cases that are told right.
    pub accuracy: Option<Estimate>,
    /// Area under the receiver's curve, where cases have scores.
    pub auroc: Option<Estimate>,
    /// Replies that name neither class.
    pub unread: u64,
}

impl Binary {
    /// Counts cases.
    pub fn of(cases: &[Case]) -> Self {
        let share = |of: &dyn Fn(&Case) -> bool, holds: &dyn Fn(&Case) -> bool| {
            let found = Proportion::of(cases.iter().filter(|case| of(case)).map(holds));
            (found.n > 0).then(|| Estimate::from(found))
        };
        let taken = |case: &Case| case.predicted == Some(true);
        let right = |case: &Case| case.predicted == Some(case.positive);
        let scored: Vec<(bool, f64)> =
            cases.iter().filter_map(|case| Some((case.positive, case.score?))).collect();
        Self {
            recall: share(&|case| case.positive, &taken),
            false_positive_rate: share(&|case| !case.positive, &taken),
            precision: share(&taken, &|case| case.positive),
            f1: share(&|case| case.positive || taken(case), &|case| case.positive && taken(case))
                .map(|found| {
                    let of = |share: f64| 2.0 * share / (1.0 + share);
                    let (value, low, high) = (of(found.value), of(found.low), of(found.high));
                    Estimate { value, low, high, n: found.n, standard_error: None }
                }),
            accuracy: share(&|_| true, &right),
            auroc: auroc(&scored),
            unread: cases.iter().filter(|case| case.predicted.is_none()).count() as u64,
        }
    }

    /// Those that there are, by lm-eval's way of naming them.
    pub fn metrics(&self) -> impl Iterator<Item = (&'static str, Estimate)> {
        let all = [
            ("recall", self.recall),
            ("false_positive_rate", self.false_positive_rate),
            ("precision", self.precision),
            ("f1", self.f1),
            ("acc", self.accuracy),
            ("auroc", self.auroc),
        ];
        all.into_iter().filter_map(|(name, estimate)| Some((name, estimate?)))
    }
}

/// The chance that a positive case scores higher than a negative one, equal scores counting half.
///
/// The error is `DeLong`'s (1988) by mid-ranks (Sun and Xu 2014); the interval is symmetric in the
/// logarithm of the odds, so that it stays within 0 and 1. Where the classes do not overlap, which
/// leaves no error to measure, its other end is Wilson's for the smaller class. `None` without
/// cases of both classes; scores that are not finite are left out.
pub fn auroc(scored: &[(bool, f64)]) -> Option<Estimate> {
    let of = |class: bool| -> Vec<f64> {
        let cases =
            scored.iter().filter(|(positive, score)| *positive == class && score.is_finite());
        // A negative 0 is equal to the other.
        cases.map(|(_, score)| *score + 0.0).collect()
    };
    let (positive, negative) = (of(true), of(false));
    let (m, n) = (positive.len() as f64, negative.len() as f64);
    if positive.is_empty() || negative.is_empty() {
        return None;
    }
    let all: Vec<f64> = positive.iter().chain(&negative).copied().collect();
    let ranks = mid_ranks(&all);
    let (of_positive, of_negative) = ranks.split_at(positive.len());
    let above: Vec<f64> = of_positive
        .iter()
        .zip(mid_ranks(&positive))
        .map(|(among_all, among_own)| (among_all - among_own) / n)
        .collect();
    let below: Vec<f64> = of_negative
        .iter()
        .zip(mid_ranks(&negative))
        .map(|(among_all, among_own)| 1.0 - (among_all - among_own) / m)
        .collect();
    let value = above.iter().sum::<f64>() / m;
    let error = match (variance(&above), variance(&below)) {
        (Some(above), Some(below)) => Some((above / m + below / n).sqrt()),
        _ => None,
    };
    let (low, high) = match error {
        Some(error) if error > 0.0 && value > 0.0 && value < 1.0 => {
            let (odds, half) =
                ((value / (1.0 - value)).ln(), Z_95 * error / (value * (1.0 - value)));
            let share = |odds: f64| 1.0 / (1.0 + (-odds).exp());
            (share(odds - half), share(odds + half))
        }
        _ => {
            let smaller = positive.len().min(negative.len()) as u64;
            let wilson = Proportion::new((value * smaller as f64).round() as u64, smaller);
            (wilson.low.min(value), wilson.high.max(value))
        }
    };
    Some(Estimate { value, low, high, n: all.len() as u64, standard_error: error })
}

/// Variance with n − 1; `None` below two values.
fn variance(values: &[f64]) -> Option<f64> {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| squares / (count - 1.0))
}

/// Ranks from 1; equal values share the mean of theirs.
fn mid_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&left, &right| values[left].total_cmp(&values[right]));
    let mut ranks = vec![0.0; values.len()];
    for equal in order.chunk_by(|&left, &right| values[left].total_cmp(&values[right]).is_eq()) {
        // Places are counted over the chunks before.
        let before = equal[0];
        let start =
            order.partition_point(|&other| values[other].total_cmp(&values[before]).is_lt());
        let rank = start as f64 + f64::midpoint(equal.len() as f64, 1.0);
        for &place in equal {
            ranks[place] = rank;
        }
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::tests::close;

    fn cases(counts: [(bool, Option<bool>, usize); 5]) -> Vec<Case> {
        let of = |(positive, predicted, count)| {
            std::iter::repeat_n(Case { positive, predicted, score: None }, count)
        };
        counts.into_iter().flat_map(of).collect()
    }

    #[test]
    fn rates_have_their_own_denominators() {
        let found = Binary::of(&cases([
            (true, Some(true), 6),
            (true, Some(false), 3),
            (true, None, 1),
            (false, Some(true), 2),
            (false, Some(false), 18),
        ]));
        let value = |estimate: Option<Estimate>| {
            let estimate = estimate.unwrap();
            (estimate.value, estimate.n)
        };
        assert_eq!(value(found.recall), (0.6, 10));
        assert_eq!(value(found.false_positive_rate), (0.1, 20));
        assert_eq!(value(found.precision), (0.75, 8));
        assert_eq!(value(found.accuracy), (0.8, 30));
        let f1 = found.f1.unwrap();
        close(f1.value, 2.0 * 0.6 * 0.75 / 1.35, 1e-12);
        assert!(f1.low < f1.value && f1.value < f1.high && f1.n == 12);
        assert_eq!((found.unread, found.auroc), (1, None));
        assert_eq!(found.metrics().count(), 5);
    }

    #[test]
    fn what_divides_by_nothing_is_none() {
        let none = [(true, None, 0), (true, None, 0), (true, None, 0), (true, None, 0)];
        let [a, b, c, d] = none;
        let found = Binary::of(&cases([(false, Some(false), 4), a, b, c, d]));
        assert_eq!((found.recall, found.precision, found.f1), (None, None, None));
        close(found.false_positive_rate.unwrap().value, 0.0, 0.0);
        let empty = Binary::of(&[]);
        assert_eq!(empty.accuracy, None);
    }

    /// By counting pairs, apart from ranks.
    #[test]
    fn auroc_counts_pairs() {
        let scored: Vec<(bool, f64)> = [
            (true, 3.0),
            (true, 1.0),
            (true, 2.0),
            (true, 2.0),
            (false, 2.0),
            (false, 0.0),
            (false, 1.0),
            (false, -4.0),
            (false, 2.5),
        ]
        .to_vec();
        let (mut wins, mut pairs) = (0.0, 0.0);
        for (_, one) in scored.iter().filter(|case| case.0) {
            for (_, other) in scored.iter().filter(|case| !case.0) {
                pairs += 1.0;
                wins += match one.total_cmp(other) {
                    std::cmp::Ordering::Greater => 1.0,
                    std::cmp::Ordering::Equal => 0.5,
                    std::cmp::Ordering::Less => 0.0,
                };
            }
        }
        let found = auroc(&scored).unwrap();
        close(found.value, wins / pairs, 1e-12);
        assert!(found.low > 0.0 && found.low < found.value && found.high < 1.0);
        let mirrored: Vec<_> = scored.iter().map(|(class, score)| (!class, *score)).collect();
        close(auroc(&mirrored).unwrap().value, 1.0 - found.value, 1e-12);
        assert!(auroc(&mirrored).unwrap().standard_error.is_some());
    }

    /// By `DeLong`'s placements, summed by hand: positives 3, 1 against negatives 2, 0 place at
    /// (1, 0.5), negatives at (0.5, 1): variances 0.125 each, over 2 each.
    #[test]
    fn the_error_is_delongs() {
        let found = auroc(&[(true, 3.0), (true, 1.0), (false, 2.0), (false, 0.0)]).unwrap();
        close(found.value, 0.75, 1e-12);
        close(found.standard_error.unwrap(), 0.125_f64.sqrt(), 1e-12);
    }

    #[test]
    fn classes_apart_leave_a_one_sided_interval() {
        let scored: Vec<_> = (0..20).map(|at| (at < 10, -f64::from(at))).collect();
        let found = auroc(&scored).unwrap();
        assert_eq!((found.value, found.high), (1.0, 1.0));
        close(found.low, 0.722_467, 1e-6);
        assert_eq!(auroc(&[(true, 1.0), (false, f64::NAN)]), None);
    }
}
