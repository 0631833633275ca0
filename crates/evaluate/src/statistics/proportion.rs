//! Proportions and other figures with their 95% intervals.
//!
//! Wilson's score interval (Wilson 1927), as recommended by Brown, Cai and `DasGupta` (2001) over
//! the normal one, which fails near 0 and 1.

use serde::{Deserialize, Serialize};

use super::normal::Z_95;

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
        Self::with_interval(successes, n, n as f64)
    }

    /// The proportion among outcomes that come in clusters, the replies to one problem: of each
    /// its successes and its size. The interval is Wilson's of as many independent outcomes as
    /// tell as much (Korn and Graubard 1998): `p (1 − p)` over the variance of the ratio of the
    /// clusters' sums, no more than there are. Where that is not known, as all outcomes are the
    /// same or of one cluster, of as many as there are clusters.
    pub fn of_clusters(clusters: &[(u64, u64)]) -> Self {
        let successes = clusters.iter().map(|cluster| cluster.0).sum();
        let n = clusters.iter().map(|cluster| cluster.1).sum();
        if n == 0 || clusters.len() as u64 == n {
            return Self::new(successes, n);
        }
        let (count, number) = (n as f64, clusters.len() as f64);
        let value = successes as f64 / count;
        let squares: f64 = clusters
            .iter()
            .map(|&(successes, n)| (successes as f64 - value * n as f64).powi(2))
            .sum();
        let variance = squares * number / (number - 1.0).max(1.0) / (count * count);
        let alike = value * (1.0 - value) / variance;
        let unknown = clusters.len() == 1 || alike.is_nan();
        let effective = if unknown { number } else { alike.clamp(1.0, count) };
        Self::with_interval(successes, n, effective)
    }

    /// With Wilson's interval of `count` outcomes.
    fn with_interval(successes: u64, n: u64, count: f64) -> Self {
        let value = successes as f64 / n as f64;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::tests::close;

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
    fn outcomes_in_clusters_tell_less() {
        let interval = |proportion: &Proportion| (proportion.low, proportion.high);
        // Each alone, they are as ever; copies add nothing.
        let alone: Vec<(u64, u64)> = (0..40).map(|at| (u64::from(at < 30), 1)).collect();
        assert_eq!(Proportion::of_clusters(&alone), Proportion::new(30, 40));
        let copies: Vec<(u64, u64)> = alone.iter().map(|&(right, _)| (8 * right, 8)).collect();
        let found = Proportion::of_clusters(&copies);
        assert_eq!((found.successes, found.n), (240, 320));
        // 40 clusters' sample variance counts 39 of them.
        let expected = Proportion::with_interval(30, 40, 39.0);
        close(found.low, expected.low, 1e-9);
        close(found.high, expected.high, 1e-9);
        // Clusters that do not differ at all tell no less than their outcomes.
        let even = Proportion::of_clusters(&[(2, 4); 10]);
        assert_eq!(interval(&even), interval(&Proportion::new(20, 40)));
        // Where nothing failed, only problems count.
        let right = Proportion::of_clusters(&[(16, 16); 10]);
        assert_eq!(interval(&right), interval(&Proportion::new(10, 10)));
        assert_eq!(Proportion::of_clusters(&[]), Proportion::new(0, 0));
        let single = Proportion::of_clusters(&[(3, 4)]);
        assert!(single.low < 0.3 && single.high > 0.9, "{single:?}");
    }

    #[test]
    fn the_standard_error_uses_the_sample_variance() {
        // Outcomes 1, 1, 1, 0: variance 0.25 with n - 1 = 3, over √4.
        close(Proportion::new(3, 4).standard_error().unwrap(), 0.25, 1e-12);
        assert_eq!(Proportion::new(1, 1).standard_error(), None);
    }
}
