//! Which group the next micro-batch is of, and how the groups' shares adapt.
//!
//! The update is that of `DoReMi` (Xie et al. 2023, arXiv 2305.10429, algorithm 1): shares
//! grow exponentially with the excess of a group's loss over its reference, clipped at 0,
//! and are then mixed with equal ones. Two things differ. The paper weighs the loss by the
//! shares and draws evenly; here the shares are those of the draws. And it clips the excess
//! of each token; here, where a reference is one number, that of the group's mean.

use serde::{Deserialize, Serialize};

/// Everything about the shares that changes; saved in checkpoints bit by bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SharesState {
    #[serde(with = "bits")]
    shares: Vec<f64>,
    /// By how many micro-batches each group is behind its share.
    #[serde(with = "bits")]
    credits: Vec<f64>,
    /// Weighted losses of this interval.
    #[serde(with = "bits")]
    sums: Vec<f64>,
    /// Weights of this interval.
    #[serde(with = "bits")]
    weights: Vec<f64>,
    /// Mean losses of the last interval in which a group was drawn; NaN before.
    #[serde(with = "bits")]
    losses: Vec<f64>,
}

/// Exact in JSON, NaN included.
mod bits {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(values: &[f64], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(|value| value.to_bits()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
        Ok(Vec::<u64>::deserialize(from)?.into_iter().map(f64::from_bits).collect())
    }
}

/// How the shares adapt.
#[derive(Debug, Clone, PartialEq)]
pub struct Adaptation {
    /// The loss that each group is compared with, nats a token.
    pub references: Vec<f64>,
    /// η.
    pub step_size: f64,
    /// Part of the shares that is dealt out evenly.
    pub smoothing: f64,
}

/// The shares of some groups.
#[derive(Debug)]
pub struct Shares {
    adaptation: Option<Adaptation>,
    state: SharesState,
}

impl Shares {
    /// These shares, fixed unless there is an adaptation.
    pub fn new(shares: Vec<f64>, adaptation: Option<Adaptation>) -> Self {
        let zeros = vec![0.0; shares.len()];
        let state = SharesState {
            credits: zeros.clone(),
            sums: zeros.clone(),
            weights: zeros,
            losses: vec![f64::NAN; shares.len()],
            shares,
        };
        Self { adaptation, state }
    }

    /// Where it stands.
    pub fn state(&self) -> &SharesState {
        &self.state
    }

    /// Goes on from where another stood; whether that had equally many groups.
    pub fn restore(&mut self, state: &SharesState) -> bool {
        let lists = [&state.shares, &state.credits, &state.sums, &state.weights, &state.losses];
        let fits = lists.iter().all(|list| list.len() == self.state.shares.len());
        if fits {
            self.state = state.clone();
        }
        fits
    }

    /// The group of the next micro-batch: the one that is furthest behind its share, so that
    /// after any number of draws each is within one of it.
    pub fn next_group(&mut self) -> usize {
        let SharesState { shares, credits, .. } = &mut self.state;
        let mut next = 0;
        for group in 0..shares.len() {
            credits[group] += shares[group];
            if credits[group] > credits[next] {
                next = group;
            }
        }
        credits[next] -= 1.0;
        next
    }

    /// Counts a micro-batch whose losses have this weighted sum and whose weights this one. A
    /// loss that is not finite is left out.
    pub fn observe(&mut self, group: usize, weighted_loss: f64, weight: f64) {
        if weighted_loss.is_finite() {
            self.state.sums[group] += weighted_loss;
            self.state.weights[group] += weight;
        }
    }

    /// Ends an interval: takes its mean losses and adapts the shares to them. A group that
    /// was not drawn counts with its last loss, one that never was with its reference.
    pub fn end_interval(&mut self) {
        let SharesState { shares, sums, weights, losses, .. } = &mut self.state;
        for (group, loss) in losses.iter_mut().enumerate() {
            if weights[group] > 0.0 {
                *loss = sums[group] / weights[group];
            }
        }
        sums.fill(0.0);
        weights.fill(0.0);
        let Some(Adaptation { references, step_size, smoothing }) = &self.adaptation else {
            return;
        };
        let excess = |group: usize| (losses[group] - references[group]).max(0.0);
        // Of the differences alone, so that a large excess does not overflow.
        let highest = (0..shares.len()).map(excess).fold(0.0, f64::max);
        for (group, share) in shares.iter_mut().enumerate() {
            *share *= (step_size * (excess(group) - highest)).exp();
        }
        let sum: f64 = shares.iter().sum();
        let even = smoothing / shares.len() as f64;
        for share in shares.iter_mut() {
            *share = (1.0 - smoothing) * (*share / sum) + even;
        }
    }

    /// The share of each group.
    pub fn shares(&self) -> &[f64] {
        &self.state.shares
    }

    /// The mean loss of each group in the last interval in which it was drawn, or in this one
    /// if that is the first; nothing where it was not drawn yet.
    pub fn losses(&self) -> Vec<Option<f64>> {
        let SharesState { sums, weights, losses, .. } = &self.state;
        (0..losses.len())
            .map(|group| match (losses[group].is_nan(), weights[group] > 0.0) {
                (false, _) => Some(losses[group]),
                (true, true) => Some(sums[group] / weights[group]),
                (true, false) => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapting(shares: &[f64], references: &[f64], step_size: f64, smoothing: f64) -> Shares {
        let references = references.to_vec();
        let adaptation = Adaptation { references, step_size, smoothing };
        Shares::new(shares.to_vec(), Some(adaptation))
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
    }

    #[test]
    fn draws_keep_to_the_shares() {
        let shares = [0.5, 0.3, 0.2, 0.0];
        let mut drawn = [0.0; 4];
        let mut mix = Shares::new(shares.to_vec(), None);
        for count in 1..=1000 {
            drawn[mix.next_group()] += 1.0;
            for (drawn, share) in drawn.iter().zip(shares) {
                assert!((drawn - share * f64::from(count)).abs() < 1.0 + 1e-9);
            }
        }
        close(&drawn, &[500.0, 300.0, 200.0, 0.0]);
    }

    #[test]
    fn an_update_equals_the_formula() {
        let mut mix = adapting(&[0.5, 0.3, 0.2], &[1.0, 2.0, 0.5], 2.0, 0.1);
        // Weighted means 1.5, 1.0 (below its reference) and 0.75.
        mix.observe(0, 10.0, 5.0);
        mix.observe(0, 5.0, 5.0);
        mix.observe(1, 4.0, 4.0);
        mix.observe(2, 1.5, 2.0);
        mix.observe(2, f64::NAN, 2.0);
        mix.end_interval();
        let grown = [0.5 * 1_f64.exp(), 0.3, 0.2 * 0.5_f64.exp()];
        let sum: f64 = grown.iter().sum();
        close(mix.shares(), &grown.map(|share| 0.9 * share / sum + 0.1 / 3.0));
        close(&mix.losses().into_iter().flatten().collect::<Vec<_>>(), &[1.5, 1.0, 0.75]);
    }

    #[test]
    fn a_group_that_was_not_drawn_counts_as_it_did() {
        let mut mix = adapting(&[0.5, 0.5], &[1.0, 1.0], 1.0, 0.0);
        assert_eq!(mix.losses(), [None, None]);
        mix.observe(0, 2.0, 1.0);
        assert_eq!(mix.losses(), [Some(2.0), None]);
        mix.end_interval();
        let e = 1_f64.exp();
        close(mix.shares(), &[e / (e + 1.0), 1.0 / (e + 1.0)]);
        // Another interval without any draw: the first group's last loss counts again.
        mix.end_interval();
        close(mix.shares(), &[e * e / (e * e + 1.0), 1.0 / (e * e + 1.0)]);
        let huge = &mut adapting(&[0.5, 0.5], &[0.0, 0.0], 1.0, 0.0);
        huge.observe(0, 1e9, 1.0);
        huge.end_interval();
        close(huge.shares(), &[1.0, 0.0]);
    }

    #[test]
    fn fixed_shares_stay_and_losses_are_still_measured() {
        let mut mix = Shares::new(vec![0.25, 0.75], None);
        mix.observe(1, 6.0, 2.0);
        mix.end_interval();
        assert_eq!(mix.shares(), [0.25, 0.75]);
        assert_eq!(mix.losses(), [None, Some(3.0)]);
    }

    #[test]
    fn its_state_survives_json_bit_by_bit() {
        let mut mix = adapting(&[0.1, 0.9], &[0.0, 0.0], 1.0, 1e-3);
        for round in 0..7 {
            let group = mix.next_group();
            mix.observe(group, 0.1 + f64::from(round) / 3.0, 0.7);
            if round % 2 == 1 {
                mix.end_interval();
            }
        }
        let text = serde_json::to_string(mix.state()).unwrap();
        let state: SharesState = serde_json::from_str(&text).unwrap();
        let mut resumed = adapting(&[0.1, 0.9], &[0.0, 0.0], 1.0, 1e-3);
        assert!(resumed.restore(&state));
        for round in 0..20 {
            let group = mix.next_group();
            assert_eq!(resumed.next_group(), group);
            for mix in [&mut mix, &mut resumed] {
                mix.observe(group, f64::from(round) / 7.0, 0.3);
                mix.end_interval();
            }
            let bits = |mix: &Shares| mix.shares().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&mix), bits(&resumed));
        }
        assert!(!Shares::new(vec![1.0], None).restore(&state), "of another number of groups");
    }
}
