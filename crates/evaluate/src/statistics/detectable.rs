//! How small a difference a number of problems can show.

use super::normal::quantile;

/// What a comparison is to hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Design {
    /// How often a true difference is to be shown. Default 0.8.
    pub power: f64,
    /// How often equal models may be told apart, over all comparisons. Default 0.05.
    pub alpha: f64,
    /// Comparisons that are made together. Holm's procedure is strictest to the first, so the
    /// level is divided by all of them. Default 1.
    pub comparisons: usize,
}

impl Default for Design {
    fn default() -> Self {
        Self { power: 0.8, alpha: 0.05, comparisons: 1 }
    }
}

/// The smallest difference of two models' accuracies on the same problems that `McNemar`'s test
/// shows with the design's power, by Connor's (1987) formula
/// `pairs = (z_α/2 √ψ + z_power √(ψ - d²))² / d²`, where the share `discordance` (ψ) of the problems
/// is solved by one model alone.
///
/// `None` where so few problems can show none: `d` is at most ψ.
pub fn minimum_detectable_difference(pairs: u64, discordance: f64, design: &Design) -> Option<f64> {
    let level = design.alpha / design.comparisons.max(1) as f64;
    let (z_alpha, z_power) = (quantile(1.0 - level / 2.0), quantile(design.power));
    let needed = |difference: f64| {
        let spread = (discordance - difference * difference).max(0.0);
        let root = z_alpha * discordance.sqrt() + z_power * spread.sqrt();
        (root / difference).powi(2)
    };
    let pairs = pairs as f64;
    if discordance.is_nan() || discordance <= 0.0 || needed(discordance) > pairs {
        return None;
    }
    // Fewer problems are needed for a greater difference: halve the interval.
    let (mut low, mut high) = (0.0, discordance.min(1.0));
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if needed(middle) > pairs { low = middle } else { high = middle }
    }
    Some(high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::tests::close;

    /// By hand: (1.95996·√0.4 + 0.84162·√0.36)² / 0.04 = 76.09 pairs for 0.2.
    #[test]
    fn the_difference_that_so_many_pairs_show() {
        let design = Design::default();
        let found = minimum_detectable_difference(76, 0.4, &design).unwrap();
        close(found, 0.2, 5e-4);
        let more = minimum_detectable_difference(1319, 0.2, &design).unwrap();
        // About 2.80·√(0.2 / 1319), as d² is small.
        close(more, 0.0344, 2e-4);
        let several = Design { comparisons: 10, ..design };
        assert!(minimum_detectable_difference(1319, 0.2, &several).unwrap() > 1.2 * more);
        assert!(minimum_detectable_difference(5, 0.1, &design).is_none());
        assert!(minimum_detectable_difference(500, 0.0, &design).is_none());
    }
}
