//! What a paired comparison says in words, and what it could have shown.

use serde::Serialize;

use crate::statistics::PairedDifference;

/// Level of a test, two-sided, after correction for the number of comparisons.
const LEVEL: f64 = 0.05;
/// Quantiles of the standard normal for that level and for a power of 80 %.
const Z_LEVEL: f64 = 1.959_963_984_540_054;
const Z_POWER: f64 = 0.841_621_233_572_914;

/// What a comparison of two models on the same problems says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// The first model solves more, beyond chance.
    Better,
    /// The first model solves fewer, beyond chance.
    Worse,
    /// The problems do not tell the models apart.
    NoDifferenceShown,
}

impl Conclusion {
    /// Beyond chance where the corrected p-value is below 5 % and the interval leaves out 0.
    pub fn of(difference: &PairedDifference, adjusted_p_value: f64) -> Self {
        let PairedDifference { low, high, .. } = *difference;
        match adjusted_p_value < LEVEL {
            true if low > 0.0 => Self::Better,
            true if high < 0.0 => Self::Worse,
            _ => Self::NoDifferenceShown,
        }
    }

    /// As a reader sees it.
    pub fn words(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoDifferenceShown => "no difference shown",
        }
    }

    /// A sign beside the words, which do not rest on colour.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Better => "▲",
            Self::Worse => "▼",
            Self::NoDifferenceShown => "=",
        }
    }

    /// The style that the page draws it in.
    pub(super) fn style(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoDifferenceShown => "neither",
        }
    }
}

/// The smallest difference that a comparison with so many problems, of which so many part the
/// models, would show in 4 of 5 cases: `(z₀.₉₇₅ + z₀.₈)·√(discordant / n) / √n` (Connor 1987,
/// without its small correction). `None` where no problem parts them.
pub fn detectable_difference(difference: &PairedDifference) -> Option<f64> {
    let discordant = difference.only_first + difference.only_second;
    if discordant == 0 || difference.n == 0 {
        return None;
    }
    Some((Z_LEVEL + Z_POWER) * (discordant as f64).sqrt() / difference.n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(only_first: u64, only_second: u64) -> PairedDifference {
        let mut pairs = vec![(true, true); 1000 - (only_first + only_second) as usize];
        pairs.extend(vec![(true, false); only_first as usize]);
        pairs.extend(vec![(false, true); only_second as usize]);
        PairedDifference::new(&pairs, 1)
    }

    #[test]
    fn both_the_test_and_the_interval_must_agree() {
        let (more, fewer) = (difference(60, 10), difference(10, 60));
        assert_eq!(Conclusion::of(&more, more.p_value), Conclusion::Better);
        assert_eq!(Conclusion::of(&fewer, fewer.p_value), Conclusion::Worse);
        assert_eq!(Conclusion::of(&more, 0.06), Conclusion::NoDifferenceShown);
        let even = difference(20, 20);
        assert_eq!(Conclusion::of(&even, even.p_value), Conclusion::NoDifferenceShown);
    }

    #[test]
    fn what_could_be_shown_follows_from_the_problems_that_part_the_models() {
        // 100 of 1,000 part them: 2.8016 · √0.1 / √1000 = 0.02802.
        let found = detectable_difference(&difference(50, 50)).unwrap();
        assert!((found - 0.028_016).abs() < 1e-5, "{found}");
        assert_eq!(detectable_difference(&difference(0, 0)), None);
    }
}
