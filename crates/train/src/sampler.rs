//! The order of the data: shuffled per epoch, cut into micro-batches of examples of like
//! length. A pure function of seed and position, so that a resumed run draws the same
//! batches without replaying those before.

use limbeck_core::seed::{CounterRng, derive};
use serde::{Deserialize, Serialize};

use crate::Example;
use crate::batch::input_length;

/// Where the sampler stands; saved in checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SamplerState {
    /// Full passes done.
    pub epoch: u64,
    /// Micro-batches taken in this pass.
    pub taken: usize,
}

/// Draws micro-batches of indices into the dataset.
#[derive(Debug)]
pub struct Sampler {
    lengths: Vec<usize>,
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
        let lengths = examples.iter().map(input_length).collect();
        let mut sampler = Self { lengths, micro_batch_tokens, seed, state, plan: Vec::new() };
        sampler.plan = sampler.plan_epoch(state.epoch);
        sampler
    }

    /// The next micro-batch; empty only if there is no example at all.
    pub fn next_micro_batch(&mut self) -> Vec<usize> {
        if self.state.taken >= self.plan.len() {
            self.state = SamplerState { epoch: self.state.epoch + 1, taken: 0 };
            self.plan = self.plan_epoch(self.state.epoch);
        }
        let micro_batch = self.plan.get(self.state.taken).cloned().unwrap_or_default();
        self.state.taken += 1;
        micro_batch
    }

    /// Where it stands.
    pub fn state(&self) -> SamplerState {
        self.state
    }

    /// Micro-batches in the current epoch.
    pub fn epoch_length(&self) -> usize {
        self.plan.len()
    }

    fn plan_epoch(&self, epoch: u64) -> Vec<Vec<usize>> {
        let mut rng = CounterRng::new(derive(self.seed, "sampler", epoch));
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
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

    fn examples(count: usize) -> Vec<Example> {
        (0..count)
            .map(|index| {
                let length = 5 + index * 7 % 40;
                Example { id: String::new(), tokens: vec![0; length], weights: vec![1.0; length] }
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
        assert_eq!(sampler.state(), SamplerState { epoch: 1, taken: 1 });
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
}
