//! The micro-batches of each step: from one sampler, or from one for each group of a mix.

use std::collections::BTreeMap;

use limbeck_core::seed::derive;
use serde::{Deserialize, Serialize};

use crate::curriculum::Curriculum;
use crate::mix::{LOSS, MixBy};
use crate::sampler::{Sampler, SamplerState};
use crate::shares::{Adaptation, Shares, SharesState};
use crate::{Error, Example, Kind, Result, TrainConfig};

/// Where a feed stands; saved in checkpoints.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FeedState {
    /// Of each group's sampler, by the groups' names.
    pub samplers: Vec<SamplerState>,
    /// The groups' shares; none before the first step.
    pub shares: Option<SharesState>,
}

/// A micro-batch to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draw {
    /// The group that it is of.
    pub group: usize,
    /// Its examples.
    pub indices: Vec<usize>,
}

/// Deals the examples out in micro-batches.
#[derive(Debug)]
pub struct Feed {
    /// Empty names for the only group where there is no mix.
    groups: Vec<(String, Sampler)>,
    shares: Shares,
    adapt_interval: u64,
    is_mixed: bool,
}

impl Feed {
    /// A feed from its start. `by_phase`: an update schedule says which kind of examples
    /// each step has, see [`Feed::draw`]; the mix's shares then have no say.
    ///
    /// # Errors
    /// [`Error::EmptyDataset`] without examples; [`Error::Mix`] where a group has no example,
    /// share or reference loss, or the mix cannot be had by phase.
    pub fn new(
        examples: &[Example],
        config: &TrainConfig,
        seed: u64,
        by_phase: bool,
    ) -> Result<Self> {
        if examples.is_empty() {
            let reason = "no record was left after rendering".to_owned();
            return Err(Error::EmptyDataset { reason });
        }
        let mix = &config.mix;
        if by_phase && (mix.dynamic || mix.by != MixBy::Kind) {
            let reason = "an update schedule goes by kind, not by dynamic shares or domain";
            return Err(Error::Mix { reason: reason.to_owned() });
        }
        let mut members: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        let is_mixed = mix.is_on() || by_phase;
        for (index, example) in examples.iter().enumerate() {
            let name = if is_mixed { mix.group(example) } else { String::new() };
            members.entry(name).or_default().push(index);
        }
        let names: Vec<String> = members.keys().cloned().collect();
        let shares = if by_phase {
            if let [only] = &names[..] {
                let reason = format!("an update schedule needs both kinds, and all are {only}");
                return Err(Error::Mix { reason });
            }
            vec![0.0; names.len()]
        } else if is_mixed {
            mix.first_shares(&names)?
        } else {
            vec![1.0]
        };
        let adaptation = mix.dynamic.then(|| Adaptation {
            references: names.iter().map(|name| mix.reference_losses[name]).collect(),
            step_size: mix.step_size,
            smoothing: mix.smoothing,
        });
        let sampler = |(name, indices): (String, Vec<usize>)| {
            let of_group = indices.iter().map(|&index| &examples[index]);
            let curriculum = Curriculum::new(&config.curriculum, config.steps, of_group);
            let seed =
                if is_mixed { derive(seed, &format!("examples of {name}"), 0) } else { seed };
            let sampler = Sampler::of(
                examples,
                indices,
                config.questions.chains_per_question,
                curriculum,
                config.micro_batch_tokens,
                seed,
                SamplerState::default(),
            );
            (name, sampler)
        };
        Ok(Self {
            groups: members.into_iter().map(sampler).collect(),
            shares: Shares::new(shares, adaptation),
            adapt_interval: mix.adapt_interval,
            is_mixed,
        })
    }

    /// Goes on from where another feed over the same examples stood.
    ///
    /// # Errors
    /// [`Error::Mix`] if that had other groups.
    pub fn restore(&mut self, state: &FeedState) -> Result<()> {
        let shares_fit = state.shares.as_ref().is_none_or(|shares| self.shares.restore(shares));
        if !shares_fit || state.samplers.len() != self.groups.len() {
            let found = state.samplers.len();
            let reason = format!("the checkpoint has {found} groups, not {}", self.groups.len());
            return Err(Error::Mix { reason });
        }
        for ((_, sampler), state) in self.groups.iter_mut().zip(&state.samplers) {
            sampler.restore(*state);
        }
        Ok(())
    }

    /// The micro-batches of a step, counted from 0; all of one kind where `only` says so.
    pub fn draw(&mut self, step: u64, count: usize, only: Option<Kind>) -> Vec<Draw> {
        for (_, sampler) in &mut self.groups {
            sampler.begin_step(step);
        }
        let only = only.map(|kind| kind.to_string());
        let only = only.and_then(|name| self.groups.iter().position(|(group, _)| *group == name));
        (0..count)
            .map(|_| {
                let group = only.unwrap_or_else(|| self.shares.next_group());
                Draw { group, indices: self.groups[group].1.next_micro_batch() }
            })
            .collect()
    }

    /// Counts a micro-batch's losses for its group: the cross-entropy where the objective
    /// tells it, which is what references are measured in, else what was minimised.
    /// `total_weight` is what the losses were divided by, `weight_sum` the micro-batch's own.
    pub fn observe(
        &mut self,
        group: usize,
        losses: &[(&'static str, f64)],
        weight_sum: f64,
        total_weight: f64,
    ) {
        let told = losses.iter().find(|(name, _)| *name == "cross_entropy");
        if let Some((_, loss)) = told.or_else(|| losses.first()) {
            self.shares.observe(group, loss * total_weight, weight_sum);
        }
    }

    /// To be called after each step, with the number of those done: adapts the shares where
    /// it is time.
    pub fn end_step(&mut self, steps_done: u64) {
        if steps_done.is_multiple_of(self.adapt_interval) {
            self.shares.end_interval();
        }
    }

    /// `share_<group>` and, where it is known, `loss_<group>` of a mix, the latter in nats a
    /// token over the last interval; nothing without a mix.
    pub fn metrics(&self) -> Vec<(String, f64)> {
        if !self.is_mixed {
            return Vec::new();
        }
        let mut metrics = Vec::new();
        let groups = self.groups.iter().zip(self.shares.shares()).zip(self.shares.losses());
        for (((name, _), share), loss) in groups {
            metrics.push((format!("share_{name}"), *share));
            metrics.extend(loss.map(|loss| (format!("{LOSS}{name}"), loss)));
        }
        metrics
    }

    /// Passes done over the group that has had the fewest, of those that are drawn at all.
    pub fn epoch(&self) -> u64 {
        let drawn = self.groups.iter().zip(self.shares.shares());
        let drawn = drawn.filter(|((_, sampler), share)| **share > 0.0 || sampler.has_begun());
        drawn.map(|((_, sampler), _)| sampler.state().epoch).min().unwrap_or(0)
    }

    /// Where it stands.
    pub fn state(&self) -> FeedState {
        FeedState {
            samplers: self.groups.iter().map(|(_, sampler)| sampler.state()).collect(),
            shares: Some(self.shares.state().clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Traits;
    use crate::curriculum::{CurriculumConfig, CurriculumKind};
    use crate::mix::MixConfig;

    /// Each third one a task; two domains, three difficulties.
    fn examples(count: usize) -> Vec<Example> {
        (0..count)
            .map(|index| {
                let length = 5 + index * 7 % 40;
                let traits = Traits {
                    kind: if index % 3 == 0 { Kind::Task } else { Kind::Chain },
                    question: format!("q{}", index / 2),
                    domain: ["logic", "", "spatial"][index % 3].to_owned(),
                    difficulty: (index % 4) as u8,
                };
                Example {
                    id: index.to_string(),
                    tokens: vec![0; length],
                    weights: vec![1.0; length],
                    traits,
                }
            })
            .collect()
    }

    fn config(mix: MixConfig) -> TrainConfig {
        TrainConfig { steps: 100, micro_batch_tokens: 200, mix, ..TrainConfig::default() }
    }

    fn tasks(share: f64) -> MixConfig {
        MixConfig { task_share: Some(share), ..MixConfig::default() }
    }

    #[test]
    fn without_a_mix_it_is_the_plain_sampler() {
        let examples = examples(200);
        let mut feed = Feed::new(&examples, &config(MixConfig::default()), 5, false).unwrap();
        let mut sampler = Sampler::new(&examples, 200, 5, SamplerState::default());
        for step in 0..100 {
            for draw in feed.draw(step, 2, None) {
                assert_eq!(draw.indices, sampler.next_micro_batch());
            }
            feed.end_step(step + 1);
        }
        assert_eq!(feed.epoch(), sampler.state().epoch);
        assert!(feed.epoch() > 0 && feed.metrics().is_empty());
    }

    #[test]
    fn a_micro_batch_is_of_one_group_and_the_groups_keep_to_their_shares() {
        let examples = examples(200);
        let mut feed = Feed::new(&examples, &config(tasks(0.25)), 5, false).unwrap();
        let mut num_tasks = 0;
        for step in 0..50 {
            for draw in feed.draw(step, 4, None) {
                let kinds: Vec<Kind> =
                    draw.indices.iter().map(|&index| examples[index].traits.kind).collect();
                assert!(kinds.iter().all(|kind| *kind == kinds[0]));
                num_tasks += usize::from(kinds[0] == Kind::Task);
            }
        }
        assert_eq!(num_tasks, 50);
        let names: Vec<String> = feed.metrics().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["share_chain", "share_task"]);
    }

    #[test]
    fn groups_by_domain_and_what_has_none() {
        let mix = MixConfig { by: MixBy::Domain, ..MixConfig::default() };
        let mut feed = Feed::new(&examples(200), &config(mix), 5, false).unwrap();
        feed.draw(0, 3, None);
        let metrics = feed.metrics();
        let names: Vec<&str> = metrics.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["share_logic", "share_spatial", "share_unknown"]);
        assert!(metrics.iter().all(|(_, share)| (share - 1.0 / 3.0).abs() < 1e-12));
    }

    fn dynamic() -> TrainConfig {
        let reference_losses =
            BTreeMap::from([("chain".to_owned(), 0.5), ("task".to_owned(), 1.0)]);
        let mix = MixConfig { dynamic: true, reference_losses, adapt_interval: 3, ..tasks(0.5) };
        TrainConfig {
            curriculum: CurriculumConfig { kind: CurriculumKind::Linear, share: 0.6 },
            ..config(mix)
        }
    }

    /// A step of an imagined run in which chains stay above their reference.
    fn imagined_step(feed: &mut Feed, step: u64) -> Vec<Draw> {
        let draws = feed.draw(step, 2, None);
        for draw in &draws {
            // Two micro-batches of weight 4 and one loss a token, as a step would tell it.
            let loss = if draw.group == 0 { 0.8 } else { 0.9 };
            let told = [("loss", 100.0), ("cross_entropy", loss * 4.0 / 8.0)];
            feed.observe(draw.group, &told, 4.0, 8.0);
        }
        feed.end_step(step + 1);
        draws
    }

    #[test]
    fn what_lags_behind_its_reference_gets_more() {
        let mut feed = Feed::new(&examples(200), &dynamic(), 5, false).unwrap();
        for step in 0..3 {
            imagined_step(&mut feed, step);
        }
        let metrics: BTreeMap<String, f64> = feed.metrics().into_iter().collect();
        assert!((metrics["loss_chain"] - 0.8).abs() < 1e-12, "{metrics:?}");
        assert!((metrics["loss_task"] - 0.9).abs() < 1e-12, "{metrics:?}");
        // Excess 0.3 and, clipped, 0; then smoothing.
        let grown = 0.3_f64.exp() / (0.3_f64.exp() + 1.0);
        assert!((metrics["share_chain"] - (0.999 * grown + 0.0005)).abs() < 1e-12);
    }

    #[test]
    fn it_resumes_at_every_step_bit_by_bit() {
        let examples = examples(200);
        let mut whole = Feed::new(&examples, &dynamic(), 5, false).unwrap();
        for step in 0..100 {
            let text = serde_json::to_string(&whole.state()).unwrap();
            let mut resumed = Feed::new(&examples, &dynamic(), 5, false).unwrap();
            resumed.restore(&serde_json::from_str(&text).unwrap()).unwrap();
            assert_eq!(imagined_step(&mut whole, step), imagined_step(&mut resumed, step));
            let bits = |feed: &Feed| {
                feed.metrics().into_iter().map(|(_, value)| value.to_bits()).collect::<Vec<_>>()
            };
            assert_eq!(bits(&whole), bits(&resumed), "{step}");
        }
    }

    #[test]
    fn a_schedule_decides_the_kind_of_a_step() {
        let examples = examples(200);
        let mut feed = Feed::new(&examples, &config(MixConfig::default()), 5, true).unwrap();
        for (step, kind) in [(0, Kind::Chain), (1, Kind::Task), (2, Kind::Chain)] {
            for draw in feed.draw(step, 3, Some(kind)) {
                assert!(draw.indices.iter().all(|&index| examples[index].traits.kind == kind));
            }
        }
    }

    #[test]
    fn what_cannot_be_mixed_is_an_error() {
        let refused = |examples: &[Example], config: &TrainConfig, by_phase| {
            Feed::new(examples, config, 5, by_phase).unwrap_err().to_string()
        };
        let all = examples(30);
        let chains: Vec<Example> =
            all.iter().filter(|example| example.traits.kind == Kind::Chain).cloned().collect();
        let plain = config(MixConfig::default());
        let found = refused(&chains, &plain, true);
        assert!(found.contains("all are chain"), "{found}");
        let found = refused(&all, &dynamic(), true);
        assert!(found.contains("dynamic"), "{found}");
        let found = refused(&chains, &config(tasks(0.5)), false);
        assert!(found.contains("0.5 for task"), "{found}");
        let found = refused(&[], &plain, false);
        assert!(found.contains("no record"), "{found}");
        let mut feed = Feed::new(&all, &plain, 5, false).unwrap();
        let state = Feed::new(&all, &config(tasks(0.5)), 5, false).unwrap().state();
        assert!(matches!(feed.restore(&state), Err(Error::Mix { .. })));
    }
}
