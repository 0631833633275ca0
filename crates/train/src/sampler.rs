//! The order of the data: shuffled per epoch, cut into micro-batches of examples of like
//! length. A pure function of seed and position, so that a resumed run draws the same
//! batches without replaying those before. A curriculum holds back what is too difficult;
//! when it admits more, a new pass begins.

use limbeck_core::seed::{CounterRng, derive};
use serde::{Deserialize, Serialize};

use crate::Example;
use crate::batch::input_length;
use crate::curriculum::Curriculum;
use crate::questions::{ChainsPerQuestion, grouped};

/// Where the sampler stands; saved in checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SamplerState {
    /// Passes done; one that a curriculum ends early counts.
    pub epoch: u64,
    /// Micro-batches taken in this pass.
    pub taken: usize,
    /// The highest difficulty of this pass; 0 without a curriculum.
    pub level: u8,
}

/// Draws micro-batches of indices into the dataset.
#[derive(Debug)]
pub struct Sampler {
    lengths: Vec<usize>,
    difficulties: Vec<u8>,
    /// A pass holds one example of each.
    choices: Vec<Vec<usize>>,
    curriculum: Option<Curriculum>,
    micro_batch_tokens: usize,
    seed: u64,
    state: SamplerState,
    plan: Vec<Vec<usize>>,
}

/// Examples sorted by length together: enough that padding is small, few enough that
/// batches stay mixed.
const WINDOW: usize = 2048;

impl Sampler {
    /// A sampler over the examples; a micro-batch holds at most `micro_batch_tokens`
    /// positions, padding included, but always one example.
    pub fn new(
        examples: &[Example],
        micro_batch_tokens: usize,
        seed: u64,
        state: SamplerState,
    ) -> Self {
        let all = (0..examples.len()).collect();
        Self::of(examples, all, ChainsPerQuestion::All, None, micro_batch_tokens, seed, state)
    }

    /// As [`Sampler::new`], over the examples at `indices` alone, as a curriculum admits
    /// them.
    pub fn of(
        examples: &[Example],
        indices: Vec<usize>,
        chains: ChainsPerQuestion,
        curriculum: Option<Curriculum>,
        micro_batch_tokens: usize,
        seed: u64,
        state: SamplerState,
    ) -> Self {
        let choices = match chains {
            ChainsPerQuestion::All => indices.into_iter().map(|index| vec![index]).collect(),
            ChainsPerQuestion::OnePerEpoch => grouped(examples, &indices),
        };
        let mut sampler = Self {
            lengths: examples.iter().map(input_length).collect(),
            difficulties: examples.iter().map(|example| example.traits.difficulty).collect(),
            choices,
            curriculum,
            micro_batch_tokens,
            seed,
            state,
            plan: Vec::new(),
        };
        sampler.plan = sampler.plan_epoch(state.epoch);
        sampler
    }

    /// To be called before the micro-batches of each step, counted from 0: begins a new pass
    /// if the curriculum admits more than before.
    pub fn begin_step(&mut self, step: u64) {
        let Some(curriculum) = &self.curriculum else { return };
        let level = curriculum.admitted(step);
        if level == self.state.level {
            return;
        }
        let epoch = self.state.epoch + u64::from(self.state.taken > 0);
        self.state = SamplerState { epoch, taken: 0, level };
        self.plan = self.plan_epoch(epoch);
    }

    /// The next micro-batch; empty only if there is no example at all.
    pub fn next_micro_batch(&mut self) -> Vec<usize> {
        if self.state.taken >= self.plan.len() {
            self.state =
                SamplerState { epoch: self.state.epoch + 1, taken: 0, level: self.state.level };
            self.plan = self.plan_epoch(self.state.epoch);
        }
        let micro_batch = self.plan.get(self.state.taken).cloned().unwrap_or_default();
        self.state.taken += 1;
        micro_batch
    }

    /// Goes on from where another over the same examples stood.
    pub fn restore(&mut self, state: SamplerState) {
        self.state = state;
        self.plan = self.plan_epoch(state.epoch);
    }

    /// Whether anything was drawn.
    pub fn has_begun(&self) -> bool {
        self.state.epoch > 0 || self.state.taken > 0
    }

    /// Where it stands.
    pub fn state(&self) -> SamplerState {
        self.state
    }

    /// Micro-batches in the current epoch.
    pub fn epoch_length(&self) -> usize {
        self.plan.len()
    }

    /// The example of a choice that a pass holds, if the curriculum admits any.
    fn chosen(&self, number: usize, choice: &[usize], epoch: u64) -> Option<usize> {
        let admits = |index: &&usize| {
            self.curriculum.is_none() || self.difficulties[**index] <= self.state.level
        };
        let admitted: Vec<usize> = choice.iter().filter(admits).copied().collect();
        if admitted.len() < 2 {
            return admitted.first().copied();
        }
        // From a random one on they take turns, so that none waits longer than it must.
        let first = derive(self.seed, "chain of a question", number as u64);
        Some(admitted[(first.wrapping_add(epoch) % admitted.len() as u64) as usize])
    }

    fn plan_epoch(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut rng = CounterRng::new(derive(self.seed, "sampler", epoch));
        let choices = self.choices.iter().enumerate();
        let mut order: Vec<usize> =
            choices.filter_map(|(number, choice)| self.chosen(number, choice, epoch)).collect();
        rng.shuffle(&mut order);
        let mut plan = Vec::new();
        for window in order.chunks_mut(WINDOW) {
            window.sort_by_key(|&index| self.lengths[index]);
            let mut micro_batch: Vec<usize> = Vec::new();
            for &index in window.iter() {
                // Sorted: the new example is the longest of the batch so far.
                let padded = (micro_batch.len() + 1) * self.lengths[index];
                if !micro_batch.is_empty() && padded > self.micro_batch_tokens {
                    plan.push(std::mem::take(&mut micro_batch));
                }
                micro_batch.push(index);
            }
            if !micro_batch.is_empty() {
                plan.push(micro_batch);
            }
        }
        rng.shuffle(&mut plan);
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Traits;
    use crate::curriculum::{CurriculumConfig, CurriculumKind};

    fn examples(count: usize) -> Vec<Example> {
        (0..count)
            .map(|index| {
                let length = 5 + index * 7 % 40;
                Example {
                    tokens: vec![0; length],
                    weights: vec![1.0; length],
                    traits: Traits {
                        question: format!("q{}", index / 3),
                        difficulty: (index % 5) as u8,
                        ..Traits::default()
                    },
                    ..Example::default()
                }
            })
            .collect()
    }

    #[test]
    fn an_epoch_holds_every_example_once_within_the_budget() {
        let examples = examples(500);
        let mut sampler = Sampler::new(&examples, 200, 1, SamplerState::default());
        let mut seen = Vec::new();
        for _ in 0..sampler.epoch_length() {
            let micro_batch = sampler.next_micro_batch();
            let longest =
                micro_batch.iter().map(|&index| examples[index].tokens.len() - 1).max().unwrap();
            assert!(longest * micro_batch.len() <= 200);
            seen.extend(micro_batch);
        }
        assert_eq!(sampler.state().epoch, 0);
        seen.sort_unstable();
        assert_eq!(seen, (0..500).collect::<Vec<_>>());
        sampler.next_micro_batch();
        assert_eq!(sampler.state(), SamplerState { epoch: 1, taken: 1, level: 0 });
    }

    #[test]
    fn a_resumed_sampler_draws_what_the_first_would_have() {
        let examples = examples(300);
        let mut whole = Sampler::new(&examples, 200, 1, SamplerState::default());
        for _ in 0..whole.epoch_length() + 3 {
            whole.next_micro_batch();
        }
        let mut resumed = Sampler::new(&examples, 200, 1, whole.state());
        for _ in 0..50 {
            assert_eq!(whole.next_micro_batch(), resumed.next_micro_batch());
        }
    }

    #[test]
    fn an_example_longer_than_the_budget_comes_alone() {
        let examples = examples(60);
        let mut sampler = Sampler::new(&examples, 10, 1, SamplerState::default());
        for _ in 0..sampler.epoch_length() {
            let micro_batch = sampler.next_micro_batch();
            assert!(
                micro_batch.len() == 1
                    || micro_batch.iter().all(|&i| examples[i].tokens.len() <= 6)
            );
        }
    }

    fn ladder(examples: &[Example], chains: ChainsPerQuestion, state: SamplerState) -> Sampler {
        let config = CurriculumConfig { kind: CurriculumKind::Staged, share: 0.8 };
        let curriculum = Curriculum::new(&config, 50, examples.iter());
        assert!(curriculum.is_some());
        let all = (0..examples.len()).collect();
        Sampler::of(examples, all, chains, curriculum, 200, 1, state)
    }

    #[test]
    fn a_curriculum_admits_no_example_before_its_time() {
        let examples = examples(300);
        let mut sampler = ladder(&examples, ChainsPerQuestion::All, SamplerState::default());
        let mut hardest = Vec::new();
        for step in 0..50 {
            sampler.begin_step(step);
            let mut level = 0;
            for _ in 0..4 {
                let micro_batch = sampler.next_micro_batch();
                let longest = micro_batch.iter().map(|&i| examples[i].tokens.len() - 1).max();
                assert!(longest.unwrap() * micro_batch.len() <= 200);
                let found = micro_batch.iter().map(|&i| examples[i].traits.difficulty).max();
                level = level.max(found.unwrap());
            }
            hardest.push(level);
        }
        // Four levels over 40 steps; 10 steps of four micro-batches meet each level there is.
        for (stage, steps) in hardest.chunks(10).enumerate() {
            assert_eq!(steps.iter().max(), Some(&(stage.min(3) as u8 + 1)), "stage {stage}");
        }
        assert_eq!(sampler.state().level, 4);
    }

    #[test]
    fn a_curriculum_resumes_at_every_step() {
        let examples = examples(120);
        for chains in [ChainsPerQuestion::All, ChainsPerQuestion::OnePerEpoch] {
            let mut whole = ladder(&examples, chains, SamplerState::default());
            for step in 0..50 {
                let mut resumed = ladder(&examples, chains, whole.state());
                whole.begin_step(step);
                resumed.begin_step(step);
                for _ in 0..3 {
                    assert_eq!(whole.next_micro_batch(), resumed.next_micro_batch(), "{step}");
                }
                assert_eq!(whole.state(), resumed.state());
            }
        }
    }

    #[test]
    fn one_chain_a_question_and_all_of_them_in_turn() {
        let examples = examples(90);
        let all = (0..examples.len()).collect();
        let one = ChainsPerQuestion::OnePerEpoch;
        let mut sampler = Sampler::of(&examples, all, one, None, 200, 1, SamplerState::default());
        let mut seen = Vec::new();
        for _ in 0..3 {
            let mut questions = Vec::new();
            for _ in 0..sampler.epoch_length() {
                let micro_batch = sampler.next_micro_batch();
                questions.extend(micro_batch.iter().map(|index| index / 3));
                seen.extend(micro_batch);
            }
            questions.sort_unstable();
            assert_eq!(questions, (0..30).collect::<Vec<_>>());
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..90).collect::<Vec<_>>());
    }
}
