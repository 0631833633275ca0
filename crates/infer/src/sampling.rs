//! Choosing the next token: greedy, or temperature and nucleus sampling (Holtzman et al.,
//! arXiv 1904.09751).
//!
//! Sampling runs in Rust on fp32 logits. The random number of a draw depends only on the
//! seed, the request's index and the position, so that neither the batch a request shares
//! nor the order of requests changes what it draws.

use limbeck_core::seed::{CounterRng, derive};
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

/// How tokens are chosen and when to stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingParams {
    /// Most tokens to generate for a request. Default 256.
    pub max_new_tokens: usize,
    /// Divides the logits; 0 takes the most likely token. Default 0.
    pub temperature: f64,
    /// Draws from the fewest most likely tokens whose probabilities reach this sum; 1 for
    /// all tokens. Default 1.
    pub top_p: f64,
    /// Fixes every draw. Default 0.
    pub seed: u64,
    /// Ids that end a generation. Default none.
    pub stop_token_ids: Vec<i64>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            max_new_tokens: 256,
            temperature: 0.0,
            top_p: 1.0,
            seed: 0,
            stop_token_ids: Vec::new(),
        }
    }
}

impl SamplingParams {
    /// Whether the most likely token is taken, without any draw.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }
}

impl Validate for SamplingParams {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        if self.max_new_tokens == 0 {
            return Err(Invalid::new("max_new_tokens", "at least 1", self.max_new_tokens));
        }
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return Err(Invalid::new("temperature", "a number from 0 up", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(Invalid::new("top_p", "a number above 0, up to 1", self.top_p));
        }
        Ok(())
    }
}

/// The uniform number in [0, 1) that decides the token of `request` at `position`.
fn uniform(seed: u64, request: usize, position: usize) -> f64 {
    let stream = derive(seed, "sample", request as u64);
    CounterRng::new(derive(stream, "position", position as u64)).next_f64()
}

/// Draws a token of `request` at `position` from fp32 logits `[vocab]`.
///
/// `None` if the logits hold no finite maximum or a NaN.
pub(crate) fn sample(
    logits: &[f32],
    params: &SamplingParams,
    request: usize,
    position: usize,
) -> Option<usize> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !highest.is_finite() {
        return None;
    }
    let weight = |logit: f32| (f64::from(logit - highest) / params.temperature).exp();
    let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    if !total.is_finite() {
        return None;
    }
    let uniform = uniform(params.seed, request, position);
    if params.top_p >= 1.0 {
        return draw(logits.iter().map(|&logit| weight(logit)).enumerate(), uniform * total);
    }
    let nucleus = nucleus(logits.iter().map(|&logit| weight(logit)), total, params.top_p);
    let kept: f64 = nucleus.iter().map(|(_, weight)| weight).sum();
    draw(nucleus.into_iter(), uniform * kept)
}

/// The most likely tokens, most likely first (ties by id), up to and including the one
/// whose probability brings their sum to `top_p`.
fn nucleus(
    weights: impl ExactSizeIterator<Item = f64>,
    total: f64,
    top_p: f64,
) -> Vec<(usize, f64)> {
    // A token below this cannot belong to the nucleus: were all others as unlikely, they
    // would not fill the probability that is left out. Sorting the rest is cheap.
    let threshold = total * (1.0 - top_p) / weights.len().max(1) as f64;
    let mut candidates: Vec<(usize, f64)> =
        weights.enumerate().filter(|(_, weight)| *weight >= threshold).collect();
    candidates.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
    let mut sum = 0.0;
    let enough = candidates.iter().position(|(_, weight)| {
        sum += weight;
        sum >= top_p * total
    });
    if let Some(last) = enough {
        candidates.truncate(last + 1);
    }
    candidates
}

/// The item at which the running sum of weights passes `target`; the last one of any
/// weight if rounding leaves the sum short.
fn draw(items: impl Iterator<Item = (usize, f64)>, target: f64) -> Option<usize> {
    let mut sum = 0.0;
    let mut last = None;
    for (token, weight) in items {
        if weight > 0.0 {
            sum += weight;
            last = Some(token);
            if sum > target {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(temperature: f64, top_p: f64) -> SamplingParams {
        SamplingParams { temperature, top_p, seed: 7, ..SamplingParams::default() }
    }

    fn frequencies(logits: &[f32], params: &SamplingParams) -> Vec<f64> {
        let draws = 20_000;
        let mut counts = vec![0.0; logits.len()];
        for position in 0..draws {
            counts[sample(logits, params, 3, position).unwrap()] += 1.0;
        }
        counts.into_iter().map(|count| count / draws as f64).collect()
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0, 1.0, 2.0, f32::NEG_INFINITY];
        let seen = frequencies(&logits, &params(1.0, 1.0));
        for (seen, expected) in seen.iter().zip([0.0900, 0.2447, 0.6652, 0.0]) {
            assert!((seen - expected).abs() < 0.012, "{seen} {expected}");
        }
    }

    #[test]
    fn the_nucleus_is_the_fewest_likeliest_tokens() {
        // softmax(0, 1, 2) = 0.09, 0.24, 0.67: 0.67 alone falls short of 0.7.
        let seen = frequencies(&[0.0, 1.0, 2.0], &params(1.0, 0.7));
        assert!(seen[0] < 1e-12);
        assert!((seen[1] - 0.2689).abs() < 0.012, "{seen:?}");
        let seen = frequencies(&[0.0, 1.0, 2.0], &params(1.0, 0.6));
        assert_eq!(seen, [0.0, 0.0, 1.0]);
    }

    #[test]
    fn a_flat_distribution_keeps_enough_tokens() {
        let weights = vec![1.0; 10];
        assert_eq!(nucleus(weights.into_iter(), 10.0, 0.45).len(), 5);
    }

    #[test]
    fn a_low_temperature_approaches_greedy() {
        let logits = [0.5, 0.6, -1.0];
        assert!(
            (0..100).all(|position| sample(&logits, &params(1e-3, 1.0), 0, position) == Some(1))
        );
    }

    #[test]
    fn a_draw_depends_on_seed_request_and_position_alone() {
        let logits: Vec<f32> = (0..50).map(|index| (index as f32 * 0.7).sin()).collect();
        let one = params(1.0, 0.9);
        let draws = |params: &SamplingParams, request| -> Vec<Option<usize>> {
            (0..40).map(|position| sample(&logits, params, request, position)).collect()
        };
        assert_eq!(draws(&one, 0), draws(&one, 0));
        assert_ne!(draws(&one, 0), draws(&one, 1));
        assert_ne!(draws(&one, 0), draws(&SamplingParams { seed: 8, ..one.clone() }, 0));
    }

    #[test]
    fn logits_without_a_maximum_are_refused() {
        assert_eq!(sample(&[f32::NEG_INFINITY; 3], &params(1.0, 1.0), 0, 0), None);
        assert_eq!(sample(&[0.0, f32::NAN], &params(1.0, 1.0), 0, 0), None);
        assert_eq!(sample(&[0.0, f32::INFINITY], &params(1.0, 1.0), 0, 0), None);
    }

    #[test]
    fn impossible_values_name_their_key() {
        SamplingParams::default().validate().unwrap();
        let default = SamplingParams::default;
        let cases = [
            ("max_new_tokens", SamplingParams { max_new_tokens: 0, ..default() }),
            ("temperature", SamplingParams { temperature: -0.1, ..default() }),
            ("temperature", SamplingParams { temperature: f64::NAN, ..default() }),
            ("top_p", SamplingParams { top_p: 0.0, ..default() }),
            ("top_p", SamplingParams { top_p: 1.5, ..default() }),
        ];
        for (field, params) in cases {
            assert_eq!(params.validate().unwrap_err().field, field);
        }
    }
}
