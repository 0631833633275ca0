//! Which split a problem belongs to: a function of its signature alone, so no problem is
//! in two splits, in other words or in another data set of the same fractions.

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;
use crate::rng::stable_hash;

/// Part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// To train on.
    Train,
    /// To watch training with.
    Validation,
    /// To evaluate on.
    Test,
    /// To calibrate a quantiser with.
    Calibration,
}

impl Split {
    /// All splits.
    pub const ALL: [Self; 4] = [Self::Train, Self::Validation, Self::Test, Self::Calibration];

    /// The name, also of its file without the ending.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
            Self::Calibration => "calibration",
        }
    }
}

/// Share of all problems that belongs to each split; together 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SplitFractions {
    /// Default: 0.85.
    pub train: f64,
    /// Default: 0.04.
    pub validation: f64,
    /// Default: 0.08.
    pub test: f64,
    /// Default: 0.03.
    pub calibration: f64,
}

impl Default for SplitFractions {
    fn default() -> Self {
        Self { train: 0.85, validation: 0.04, test: 0.08, calibration: 0.03 }
    }
}

impl SplitFractions {
    /// The share of a split.
    pub fn of(&self, split: Split) -> f64 {
        match split {
            Split::Train => self.train,
            Split::Validation => self.validation,
            Split::Test => self.test,
            Split::Calibration => self.calibration,
        }
    }

    /// Whether the shares are from 0 to 1 and together 1.
    ///
    /// # Errors
    /// Names the first share that is not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for split in Split::ALL {
            let share = self.of(split);
            if !(0.0..=1.0).contains(&share) {
                return Err(ConfigError {
                    field: format!("fractions.{}", split.name()),
                    expected: "a number from 0 to 1".to_owned(),
                    got: share.to_string(),
                });
            }
        }
        let total: f64 = Split::ALL.into_iter().map(|split| self.of(split)).sum();
        if (total - 1.0).abs() > 1e-9 {
            return Err(ConfigError {
                field: "fractions".to_owned(),
                expected: "shares that are together 1".to_owned(),
                got: total.to_string(),
            });
        }
        Ok(())
    }
}

/// The split of a problem.
pub fn split_of(signature: &str, fractions: &SplitFractions) -> Split {
    let hash = stable_hash(format!("split/{signature}").as_bytes());
    // 53 bits fill a double's mantissa, so the point is in 0..1.
    let point = (hash >> 11) as f64 / (1_u64 << 53) as f64;
    let mut upper = 0.0;
    for split in Split::ALL {
        upper += fractions.of(split);
        if point < upper {
            return split;
        }
    }
    // Only rounding of the sum can lead here.
    Split::Train
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_kept_and_do_not_depend_on_anything_else() {
        let fractions = SplitFractions::default();
        let mut counts = [0_usize; 4];
        for number in 0..20_000 {
            counts[split_of(&number.to_string(), &fractions) as usize] += 1;
        }
        for split in Split::ALL {
            let share = counts[split as usize] as f64 / 20_000.0;
            assert!((share - fractions.of(split)).abs() < 0.01, "{counts:?}");
        }
    }
}
