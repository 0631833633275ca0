//! Easy examples first (Bengio et al. 2009, "Curriculum learning"): the highest difficulty
//! that is admitted grows with the steps.

use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

use crate::Example;

/// How the highest admitted difficulty grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CurriculumKind {
    /// All examples from the first step.
    #[default]
    None,
    /// In a straight line from the lowest difficulty to the highest.
    Linear,
    /// Level by level, each for equally many steps, however far apart they are.
    Staged,
}

/// The `[….train.curriculum]` table. Records of unknown difficulty (0) are always admitted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CurriculumConfig {
    /// `none`, `linear` or `staged`. Default `none`.
    pub kind: CurriculumKind,
    /// Share of the steps after which all difficulties are admitted. Default 0.5.
    pub share: f64,
}

impl Default for CurriculumConfig {
    fn default() -> Self {
        Self { kind: CurriculumKind::None, share: 0.5 }
    }
}

impl Validate for CurriculumConfig {
    fn validate(&self) -> Result<(), Invalid> {
        if self.share > 0.0 && self.share <= 1.0 {
            return Ok(());
        }
        Err(Invalid::new("share", "a number above 0 and up to 1", self.share))
    }
}

/// A curriculum over the difficulties of some examples.
#[derive(Debug, Clone, PartialEq)]
pub struct Curriculum {
    kind: CurriculumKind,
    /// The difficulties there are, ascending.
    levels: Vec<u8>,
    /// Steps until all are admitted.
    growth_steps: f64,
}

impl Curriculum {
    /// The curriculum of a run of `steps` steps; nothing where there is none, or nothing to
    /// order.
    pub fn new<'a>(
        config: &CurriculumConfig,
        steps: u64,
        examples: impl Iterator<Item = &'a Example>,
    ) -> Option<Self> {
        let mut levels: Vec<u8> =
            examples.map(|example| example.traits.difficulty).filter(|&level| level > 0).collect();
        levels.sort_unstable();
        levels.dedup();
        let useful = config.kind != CurriculumKind::None && levels.len() > 1;
        let growth_steps = config.share * steps as f64;
        useful.then_some(Self { kind: config.kind, levels, growth_steps })
    }

    /// The highest difficulty that a step, counted from 0, admits: always one that there is.
    pub fn admitted(&self, step: u64) -> u8 {
        let progress = (step as f64 / self.growth_steps).min(1.0);
        let (lowest, highest) = (self.levels[0], self.levels[self.levels.len() - 1]);
        let stage = match self.kind {
            CurriculumKind::None => self.levels.len() - 1,
            CurriculumKind::Linear => {
                let span = f64::from(highest) - f64::from(lowest);
                let limit = f64::from(lowest) + progress * span;
                // Rounding must not keep the last level out for ever.
                self.levels.partition_point(|&level| f64::from(level) <= limit + 1e-9) - 1
            }
            CurriculumKind::Staged => {
                let stages = self.levels.len();
                ((progress * stages as f64) as usize).min(stages - 1)
            }
        };
        self.levels[stage]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Traits;

    fn curriculum(kind: CurriculumKind, share: f64, difficulties: &[u8]) -> Option<Curriculum> {
        let examples: Vec<Example> = difficulties
            .iter()
            .map(|&difficulty| Example {
                traits: Traits { difficulty, ..Traits::default() },
                ..Example::default()
            })
            .collect();
        Curriculum::new(&CurriculumConfig { kind, share }, 100, examples.iter())
    }

    fn changes(curriculum: &Curriculum) -> Vec<(u64, u8)> {
        let mut changes: Vec<(u64, u8)> = Vec::new();
        for step in 0..100 {
            let level = curriculum.admitted(step);
            if changes.last().is_none_or(|&(_, last)| last != level) {
                changes.push((step, level));
            }
        }
        changes
    }

    #[test]
    fn linear_follows_the_difficulty_and_staged_the_levels() {
        let levels = [9, 1, 0, 3, 1];
        let linear = curriculum(CurriculumKind::Linear, 0.8, &levels).unwrap();
        assert_eq!(changes(&linear), [(0, 1), (20, 3), (80, 9)]);
        let staged = curriculum(CurriculumKind::Staged, 0.6, &levels).unwrap();
        assert_eq!(changes(&staged), [(0, 1), (20, 3), (40, 9)]);
    }

    #[test]
    fn there_is_none_without_levels_to_order() {
        assert_eq!(curriculum(CurriculumKind::None, 0.5, &[1, 2]), None);
        assert_eq!(curriculum(CurriculumKind::Linear, 0.5, &[0, 2, 2]), None);
        assert_eq!(curriculum(CurriculumKind::Staged, 0.5, &[]), None);
    }

    #[test]
    fn a_share_outside_is_refused() {
        for share in [0.0, 1.5, f64::NAN] {
            let config = CurriculumConfig { share, ..CurriculumConfig::default() };
            assert_eq!(config.validate().unwrap_err().field, "share");
        }
        CurriculumConfig::default().validate().unwrap();
    }
}
