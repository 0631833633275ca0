//! The two numbers of an adapter that must not be just any number.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The rank of an update `B·A`: at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Rank(i64);

impl Rank {
    /// What a configuration without a rank gets.
    pub const DEFAULT: Self = Self(16);

    /// A rank.
    ///
    /// # Errors
    /// [`Error::Value`] below 1.
    pub fn new(rank: i64) -> Result<Self> {
        if rank < 1 {
            let expected = "a whole number of at least 1";
            return Err(Error::Value { what: "rank", expected, found: rank.to_string() });
        }
        Ok(Self(rank))
    }

    /// The number.
    pub fn get(self) -> i64 {
        self.0
    }
}

impl Default for Rank {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<i64> for Rank {
    type Error = Error;

    fn try_from(rank: i64) -> Result<Self> {
        Self::new(rank)
    }
}

impl From<Rank> for i64 {
    fn from(rank: Rank) -> Self {
        rank.0
    }
}

/// The numerator of an update's scale: finite and above 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Alpha(f64);

impl Alpha {
    /// What a configuration without an alpha gets: twice the default rank.
    pub const DEFAULT: Self = Self(32.0);

    /// An alpha.
    ///
    /// # Errors
    /// [`Error::Value`] for anything but a finite number above 0.
    pub fn new(alpha: f64) -> Result<Self> {
        if !(alpha > 0.0 && alpha.is_finite()) {
            let expected = "a finite number above 0";
            return Err(Error::Value { what: "alpha", expected, found: alpha.to_string() });
        }
        Ok(Self(alpha))
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// The factor of the update: `alpha / rank`, or `alpha / √rank` with rsLoRA
    /// (Kalajdzievski 2023, arXiv:2312.03732), under which the update's size does not
    /// shrink as the rank grows.
    pub fn scale(self, rank: Rank, use_rslora: bool) -> f64 {
        let rank = rank.0 as f64;
        self.0 / if use_rslora { rank.sqrt() } else { rank }
    }
}

impl Default for Alpha {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<f64> for Alpha {
    type Error = Error;

    fn try_from(alpha: f64) -> Result<Self> {
        Self::new(alpha)
    }
}

impl From<Alpha> for f64 {
    fn from(alpha: Alpha) -> Self {
        alpha.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_possible_numbers_are_taken() {
        assert_eq!(Rank::new(1).unwrap().get(), 1);
        for rank in [0, -4] {
            let error = Rank::new(rank).unwrap_err().to_string();
            assert!(error.contains("rank") && error.contains(&rank.to_string()), "{error}");
        }
        for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Alpha::new(alpha).is_err(), "{alpha}");
        }
    }

    #[test]
    fn rslora_divides_by_the_root_of_the_rank() {
        let (alpha, rank) = (Alpha::new(8.0).unwrap(), Rank::new(4).unwrap());
        assert!((alpha.scale(rank, false) - 2.0).abs() < 1e-12);
        assert!((alpha.scale(rank, true) - 4.0).abs() < 1e-12);
    }
}
