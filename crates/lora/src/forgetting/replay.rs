//! Records of earlier tasks among those of a new one, at a share of the draws.

use limbeck_run::config::{Invalid, Validate};
use limbeck_train::Example;
use limbeck_train::mix::{MixBy, MixConfig};
use serde::{Deserialize, Serialize};

/// The group of the task that is being learned.
const NEW: &str = "new";

/// How much of earlier tasks is seen again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplayConfig {
    /// Share of the micro-batches, above 0 and below 1, that are of earlier tasks; each of
    /// them has as many as another. Default 0.25, what Ibrahim et al. 2024 (arXiv:2403.08763)
    /// find right where the new data is far from the old.
    pub share: f64,
    /// Training records kept of each task. Default 512.
    pub records: usize,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self { share: 0.25, records: 512 }
    }
}

impl Validate for ReplayConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        if !(self.share > 0.0 && self.share < 1.0) {
            return Err(Invalid::new("share", "a number above 0 and below 1", self.share));
        }
        if self.records == 0 {
            return Err(Invalid::new("records", "at least 1", self.records));
        }
        Ok(())
    }
}

impl ReplayConfig {
    /// The examples of a new task and those kept of earlier ones, which are given in turn, and
    /// the mix that draws from them. Micro-batches are of one task; over any number of steps
    /// each task is within one micro-batch of its share.
    pub fn mix(&self, new: &[Example], earlier: &[&[Example]]) -> (Vec<Example>, MixConfig) {
        let mut mix = MixConfig { by: MixBy::Domain, ..MixConfig::default() };
        let of_group = |examples: &[Example], count: usize, group: &str| -> Vec<Example> {
            let examples = examples.iter().take(count).cloned();
            examples
                .map(|mut example| {
                    group.clone_into(&mut example.traits.domain);
                    example
                })
                .collect()
        };
        let mut examples = of_group(new, new.len(), NEW);
        let kept: Vec<&[Example]> =
            earlier.iter().copied().filter(|examples| !examples.is_empty()).collect();
        let share = if kept.is_empty() { 0.0 } else { self.share };
        mix.shares.insert(NEW.to_owned(), 1.0 - share);
        for (task, earlier) in kept.iter().enumerate() {
            let group = format!("earlier-{task}");
            examples.extend(of_group(earlier, self.records, &group));
            mix.shares.insert(group, share / kept.len() as f64);
        }
        (examples, mix)
    }
}

#[cfg(test)]
mod tests {
    use limbeck_train::TrainConfig;
    use limbeck_train::feed::Feed;

    use super::*;

    fn examples(task: &str, count: usize) -> Vec<Example> {
        (0..count)
            .map(|index| Example {
                id: format!("{task}-{index}"),
                tokens: vec![1; 20],
                weights: vec![1.0; 20],
                ..Example::default()
            })
            .collect()
    }

    #[test]
    fn earlier_tasks_have_their_share_of_the_draws_and_no_more_records_than_kept() {
        let (new, base, first) = (examples("new", 90), examples("base", 50), examples("first", 8));
        let config = ReplayConfig { share: 0.4, records: 10 };
        let (all, mix) = config.mix(&new, &[&base, &first]);
        assert_eq!(all.len(), 90 + 10 + 8);
        let train = TrainConfig { micro_batch_tokens: 100, mix, ..TrainConfig::default() };
        let mut feed = Feed::new(&all, &train, 1, false).unwrap();
        let mut drawn = [0, 0, 0];
        for step in 0..100 {
            for draw in feed.draw(step, 1, None) {
                let tasks: Vec<&str> =
                    draw.indices.iter().map(|&at| all[at].id.split('-').next().unwrap()).collect();
                assert!(tasks.iter().all(|task| *task == tasks[0]));
                let place = ["new", "base", "first"].iter().position(|name| *name == tasks[0]);
                drawn[place.unwrap()] += 1;
            }
        }
        assert_eq!(drawn, [60, 20, 20]);
    }

    #[test]
    fn without_an_earlier_task_all_is_new() {
        let (all, mix) = ReplayConfig::default().mix(&examples("new", 5), &[&[]]);
        assert_eq!(all.len(), 5);
        let train = TrainConfig { mix, ..TrainConfig::default() };
        assert!(Feed::new(&all, &train, 1, false).is_ok());
    }

    #[test]
    fn impossible_values_name_their_key() {
        ReplayConfig::default().validate().unwrap();
        for (field, config) in [
            ("share", ReplayConfig { share: 1.0, records: 1 }),
            ("share", ReplayConfig { share: f64::NAN, records: 1 }),
            ("records", ReplayConfig { share: 0.5, records: 0 }),
        ] {
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }
}
