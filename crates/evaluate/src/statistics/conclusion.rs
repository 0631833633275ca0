//! What a difference comes to, in a word.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{PairedDifference, holm};

/// How often equal models may be told apart, over all comparisons that are made together.
const ALPHA: f64 = 0.05;

/// What a difference between two models shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// The whole interval is above 0.
    Better,
    /// The whole interval is below 0.
    Worse,
    /// The interval holds 0, or the test does not bear it out.
    NoDifferenceShown,
}

impl Conclusion {
    /// What an interval of a difference says.
    pub fn of(low: f64, high: f64) -> Self {
        match (low, high) {
            (low, _) if low > 0.0 => Self::Better,
            (_, high) if high < 0.0 => Self::Worse,
            _ => Self::NoDifferenceShown,
        }
    }

    /// What an interval says if the test bears it out at 5%; `p_value` corrected for the number of
    /// comparisons.
    pub fn tested(low: f64, high: f64, p_value: f64) -> Self {
        if p_value < ALPHA { Self::of(low, high) } else { Self::NoDifferenceShown }
    }
}

impl fmt::Display for Conclusion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::NoDifferenceShown => "no difference shown",
        })
    }
}

/// What comparisons show that are made together, in their order: each p-value after Holm's
/// correction, and the conclusion about the first model of the pair.
pub fn conclude(differences: &[PairedDifference]) -> Vec<(f64, Conclusion)> {
    let p_values: Vec<f64> = differences.iter().map(|difference| difference.p_value).collect();
    let of = |(difference, p_value): (&PairedDifference, f64)| {
        (p_value, Conclusion::tested(difference.low, difference.high, p_value))
    };
    differences.iter().zip(holm(&p_values)).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conclusion_needs_the_whole_interval_on_one_side() {
        assert_eq!(Conclusion::of(0.001, 0.1), Conclusion::Better);
        assert_eq!(Conclusion::of(-0.1, -0.001), Conclusion::Worse);
        for (low, high) in [(-0.1, 0.1), (0.0, 0.1), (-0.1, 0.0), (0.0, 0.0)] {
            assert_eq!(Conclusion::of(low, high), Conclusion::NoDifferenceShown, "{low} {high}");
        }
    }

    #[test]
    fn many_comparisons_need_more() {
        let pairs = |first: usize, second: usize| {
            let mut pairs = vec![(true, false); first];
            pairs.extend(vec![(false, true); second]);
            pairs.extend(vec![(true, true); 80]);
            PairedDifference::new(&pairs, 1)
        };
        // p = 0.0386 alone, 0.116 after two more.
        let alone = conclude(&[pairs(10, 2)]);
        assert_eq!(alone[0].1, Conclusion::Better);
        let three = conclude(&[pairs(10, 2), pairs(5, 5), pairs(0, 30)]);
        let words: Vec<_> = three.iter().map(|(_, conclusion)| conclusion.to_string()).collect();
        assert_eq!(words, ["no difference shown", "no difference shown", "worse"]);
    }
}
