//! The `[data]` table of a pipeline file: how many records of what kind.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::clean::CleanConfig;
use crate::error::ConfigError;
use crate::family::Family;
use crate::generate::MAX_LEVEL;
use crate::split::{Split, SplitFractions};

/// Most records that one split may have; a guard against a slip of the keyboard.
const MOST_RECORDS: usize = 100_000_000;

/// What [`build_splits`](crate::build_splits) generates. Each split has as many records
/// of one level as of another, and of one family as of another unless `weights` says
/// otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Families of problems. Default: `["arith", "logic", "spatial"]`.
    pub families: Vec<Family>,
    /// Difficulty levels, from 1 to 4. Default: `[1, 2, 3, 4]`.
    pub levels: Vec<u8>,
    /// Relative share of each family; one that is not named has 1. Default: none named.
    pub weights: BTreeMap<Family, f64>,
    /// Records to train on. Default: 48000.
    pub num_train: usize,
    /// Records to watch training with. Default: 480.
    pub num_validation: usize,
    /// Records to evaluate on. Default: 1200.
    pub num_test: usize,
    /// Records to calibrate a quantiser with. Default: 240.
    pub num_calibration: usize,
    /// Seed of the generators, from 0. Default: 0.
    pub seed: u64,
    /// Share of all problems that belongs to each split, whatever is drawn from it.
    pub fractions: SplitFractions,
    /// Share, from 0 to 1, of the generated training records whose chain is the short one.
    /// Default: 0.
    pub short_share: f64,
    /// Files of records (JSONL, JSONL.zst or Parquet) to train on beside the generated ones,
    /// from the working directory. Default: none.
    pub sources: Vec<PathBuf>,
    /// How the training split is cleaned; without the table it is not. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clean: Option<CleanConfig>,
    /// Wrong chains with one labelled mistake and corrected ones, half and half, to make from
    /// the training split. Default: 0.
    pub num_negatives: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            families: Family::CORE.to_vec(),
            levels: (1..=MAX_LEVEL).collect(),
            weights: BTreeMap::new(),
            num_train: 48_000,
            num_validation: 480,
            num_test: 1_200,
            num_calibration: 240,
            seed: 0,
            fractions: SplitFractions::default(),
            short_share: 0.0,
            sources: Vec::new(),
            clean: None,
            num_negatives: 0,
        }
    }
}

impl DataConfig {
    /// How many records a split shall have.
    pub fn num_records(&self, split: Split) -> usize {
        match split {
            Split::Train => self.num_train,
            Split::Validation => self.num_validation,
            Split::Test => self.num_test,
            Split::Calibration => self.num_calibration,
        }
    }

    /// The weight of a family.
    pub fn weight(&self, family: Family) -> f64 {
        self.weights.get(&family).copied().unwrap_or(1.0)
    }

    /// Whether every value is possible.
    ///
    /// # Errors
    /// Names the first field that is not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |field: &str, expected: &str, got: String| {
            Err(ConfigError { field: field.to_owned(), expected: expected.to_owned(), got })
        };
        if has_repeats(&self.families) || self.families.is_empty() {
            let names: Vec<&str> = self.families.iter().map(|family| family.name()).collect();
            return refuse("families", "different families, at least one", format!("{names:?}"));
        }
        let known = self.levels.iter().all(|level| (1..=MAX_LEVEL).contains(level));
        if !known || has_repeats(&self.levels) || self.levels.is_empty() {
            let expected = "different levels from 1 to 4, at least one";
            return refuse("levels", expected, format!("{:?}", self.levels));
        }
        for (family, weight) in &self.weights {
            let field = format!("weights.{}", family.name());
            if !self.families.contains(family) {
                return refuse(&field, "a family that `families` lists", "another".to_owned());
            }
            if !(weight.is_finite() && *weight > 0.0) {
                return refuse(&field, "a number above 0", weight.to_string());
            }
        }
        if !(0.0..=1.0).contains(&self.short_share) {
            return refuse("short_share", "a number from 0 to 1", self.short_share.to_string());
        }
        self.fractions.validate()?;
        if let Some(clean) = &self.clean {
            clean.validate()?;
        }
        if self.num_negatives > MOST_RECORDS {
            let expected = format!("at most {MOST_RECORDS}");
            return refuse("num_negatives", &expected, self.num_negatives.to_string());
        }
        for split in Split::ALL {
            let field = format!("num_{}", split.name());
            let wanted = self.num_records(split);
            if wanted > MOST_RECORDS {
                let expected = format!("at most {MOST_RECORDS}");
                return refuse(&field, &expected, wanted.to_string());
            }
            if wanted > 0 && self.fractions.of(split) <= 0.0 {
                let expected = format!("0, since fractions.{} is 0", split.name());
                return refuse(&field, &expected, wanted.to_string());
            }
        }
        if Split::ALL.into_iter().all(|split| self.num_records(split) == 0) {
            return refuse("num_train", "a record in at least one split", "0 in all".to_owned());
        }
        Ok(())
    }
}

fn has_repeats<T: PartialEq>(items: &[T]) -> bool {
    (1..items.len()).any(|place| items[..place].contains(&items[place]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: &DataConfig) -> String {
        config.validate().map_or_else(|error| error.field, |()| String::new())
    }

    #[test]
    fn the_default_is_possible() {
        assert_eq!(DataConfig::default().validate(), Ok(()));
    }

    #[test]
    fn impossible_values_are_refused_by_name() {
        let base = DataConfig::default;
        let cases = [
            ("families", DataConfig { families: vec![], ..base() }),
            ("families", DataConfig { families: vec![Family::Logic; 2], ..base() }),
            ("levels", DataConfig { levels: vec![], ..base() }),
            ("levels", DataConfig { levels: vec![0], ..base() }),
            ("levels", DataConfig { levels: vec![5], ..base() }),
            ("levels", DataConfig { levels: vec![1, 1], ..base() }),
            ("weights.logic", DataConfig { weights: [(Family::Logic, -1.0)].into(), ..base() }),
            (
                "weights.logic",
                DataConfig {
                    weights: [(Family::Logic, 1.0)].into(),
                    families: vec![Family::Arith],
                    ..base()
                },
            ),
            ("num_test", DataConfig { num_test: usize::MAX, ..base() }),
            ("num_negatives", DataConfig { num_negatives: usize::MAX, ..base() }),
            (
                "clean.near_duplicate_threshold",
                DataConfig {
                    clean: Some(CleanConfig {
                        near_duplicate_threshold: 2.0,
                        ..CleanConfig::default()
                    }),
                    ..base()
                },
            ),
            (
                "num_train",
                DataConfig {
                    num_train: 0,
                    num_validation: 0,
                    num_test: 0,
                    num_calibration: 0,
                    ..base()
                },
            ),
            (
                "num_calibration",
                DataConfig {
                    fractions: SplitFractions {
                        calibration: 0.0,
                        train: 0.88,
                        ..SplitFractions::default()
                    },
                    ..base()
                },
            ),
            (
                "fractions",
                DataConfig {
                    fractions: SplitFractions { train: 0.5, ..SplitFractions::default() },
                    ..base()
                },
            ),
        ];
        for (field, config) in cases {
            assert_eq!(refused(&config), field, "{config:?}");
        }
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = serde_json::from_str::<DataConfig>(r#"{"num_trian": 5}"#).unwrap_err();
        assert!(error.to_string().contains("num_trian"), "{error}");
        let family = serde_json::from_str::<DataConfig>(r#"{"families": ["magic"]}"#).unwrap_err();
        assert!(family.to_string().contains("arith"), "{family}");
    }
}
