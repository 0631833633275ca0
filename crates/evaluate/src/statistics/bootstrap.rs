//! The percentile bootstrap over problems (Efron 1979).

use limbeck_core::seed::{CounterRng, derive};

/// Resamples of the bootstrap.
const RESAMPLES: usize = 10_000;

/// 95% percentile interval of the mean over `scale` under resampling of the values, one for
/// each problem; `None` without any.
pub(super) fn bootstrap(values: &[i64], scale: f64, seed: u64) -> Option<(f64, f64)> {
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
