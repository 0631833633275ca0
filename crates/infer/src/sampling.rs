//! Choosing the next token: greedy, or by temperature from the likeliest tokens, by number,
//! by their share of the probability (Holtzman et al., arXiv 1904.09751) or by their distance
//! from the likeliest (Nguyen et al., arXiv 2407.01082).
//!
//! Sampling runs in Rust on fp32 logits. The random number of a draw depends only on the
//! seed, the request's index and the position, so that neither the batch a request shares
//! nor the order of requests changes what it draws.

use std::collections::BTreeMap;

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
    /// Draws from so many of the most likely tokens; 0 for all tokens. Applied before
    /// `top_p`. Default 0.
    pub top_k: usize,
    /// Draws from tokens that are at least this many times as likely as the most likely one,
    /// after the temperature. Default 0.
    pub min_p: f64,
    /// Divides the positive logits of tokens that the prompt or the reply has, and multiplies
    /// the negative ones. Default 1.
    pub repetition_penalty: f64,
    /// Taken from the logits of tokens that the reply has. Default 0.
    pub presence_penalty: f64,
    /// Taken from the logits of tokens as often as the reply has them. Default 0.
    pub frequency_penalty: f64,
    /// Added to the logits of these ids. Default none.
    pub logit_bias: BTreeMap<i64, f64>,
    /// No stop token is chosen before so many tokens. Default 0.
    pub min_tokens: usize,
    /// Replies to draw for a request. Default 1.
    pub n: usize,
    /// Reports each token's log-probability with those of so many of the most likely tokens,
    /// of what the model says before any other setting has a part. Default none.
    pub logprobs: Option<usize>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            max_new_tokens: 256,
            temperature: 0.0,
            top_p: 1.0,
            seed: 0,
            stop_token_ids: Vec::new(),
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            min_tokens: 0,
            n: 1,
            logprobs: None,
        }
    }
}

impl SamplingParams {
    /// Whether the most likely token is taken, without any draw.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }

    /// Whether tokens count that the prompt or the reply has.
    #[expect(clippy::float_cmp, reason = "1 itself is the value that changes nothing")]
    pub(crate) fn penalises_repetition(&self) -> bool {
        self.repetition_penalty != 1.0
    }

    /// Whether earlier tokens change the logits of the next.
    pub(crate) fn has_penalties(&self) -> bool {
        self.penalises_repetition() || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
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
        if !(0.0..=1.0).contains(&self.min_p) {
            return Err(Invalid::new("min_p", "a number from 0 to 1", self.min_p));
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            let penalty = self.repetition_penalty;
            return Err(Invalid::new("repetition_penalty", "a number above 0", penalty));
        }
        for (name, penalty) in [
            ("presence_penalty", self.presence_penalty),
            ("frequency_penalty", self.frequency_penalty),
        ] {
            if !penalty.is_finite() {
                return Err(Invalid::new(name, "a finite number", penalty));
            }
        }
        if let Some((token, bias)) = self.logit_bias.iter().find(|(_, bias)| bias.is_nan()) {
            let found = format!("{bias} for {token}");
            return Err(Invalid::new("logit_bias", "numbers", found));
        }
        if self.min_tokens > self.max_new_tokens {
            let expected = "at most max_new_tokens";
            return Err(Invalid::new("min_tokens", expected, self.min_tokens));
        }
        if self.n == 0 {
            return Err(Invalid::new("n", "at least 1", self.n));
        }
        Ok(())
    }
}

/// The uniform number in [0, 1) that decides the token of `stream` at `position`.
fn uniform(seed: u64, stream: u64, position: usize) -> f64 {
    let stream = derive(seed, "sample", stream);
    CounterRng::new(derive(stream, "position", position as u64)).next_f64()
}

/// Draws a token at `position` from fp32 logits `[vocab]`; replies of different `stream`s draw
/// differently.
///
/// `None` if the logits hold no finite maximum or a NaN.
pub(crate) fn sample(
    logits: &[f32],
    params: &SamplingParams,
    stream: u64,
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
    let uniform = uniform(params.seed, stream, position);
    if params.top_k > 0 || params.min_p > 0.0 {
        let mut likely = logits.iter().map(|&logit| weight(logit)).enumerate().collect();
        keep_likely(&mut likely, params);
        let kept: f64 = likely.iter().map(|(_, weight)| weight).sum();
        return draw(likely.into_iter(), uniform * kept);
    }
    if params.top_p >= 1.0 {
        return draw(logits.iter().map(|&logit| weight(logit)).enumerate(), uniform * total);
    }
    let nucleus = nucleus(logits.iter().map(|&logit| weight(logit)), total, params.top_p);
    let kept: f64 = nucleus.iter().map(|(_, weight)| weight).sum();
    draw(nucleus.into_iter(), uniform * kept)
}

/// Leaves the tokens that `min_p`, `top_k` and `top_p` leave one after the other, most likely
/// first (ties by id). The highest weight is 1.
fn keep_likely(tokens: &mut Vec<(usize, f64)>, params: &SamplingParams) {
    let descending = |left: &(usize, f64), right: &(usize, f64)| {
        right.1.total_cmp(&left.1).then(left.0.cmp(&right.0))
    };
    tokens.retain(|(_, weight)| *weight > 0.0 && *weight >= params.min_p);
    if params.top_k > 0 && params.top_k < tokens.len() {
        let _ = tokens.select_nth_unstable_by(params.top_k, descending);
        tokens.truncate(params.top_k);
    }
    tokens.sort_unstable_by(descending);
    if params.top_p < 1.0 {
        let total: f64 = tokens.iter().map(|(_, weight)| weight).sum();
        let mut sum = 0.0;
        let enough = tokens.iter().position(|(_, weight)| {
            sum += weight;
            sum >= params.top_p * total
        });
        tokens.truncate(enough.map_or(tokens.len(), |last| last + 1));
    }
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
    fn top_k_and_min_p_leave_the_likeliest() {
        let logits = [0.0, 1.0, 2.0, 1.0];
        let with = |top_k, min_p, top_p| {
            let params = SamplingParams { top_k, min_p, ..params(1.0, top_p) };
            let seen = frequencies(&logits, &params);
            (0..4).filter(|&token| seen[token] > 0.0).collect::<Vec<usize>>()
        };
        assert_eq!(with(1, 0.0, 1.0), [2]);
        assert_eq!(with(2, 0.0, 1.0), [1, 2]);
        assert_eq!(with(3, 0.0, 1.0), [1, 2, 3]);
        assert_eq!(with(9, 0.0, 1.0), [0, 1, 2, 3]);
        // e^-1 = 0.37, e^-2 = 0.14 as likely as the likeliest.
        assert_eq!(with(0, 0.36, 1.0), [1, 2, 3]);
        assert_eq!(with(0, 0.38, 1.0), [2]);
        // The share is of what the others leave: e^2 / (e^2 + e) = 0.73.
        assert_eq!(with(2, 0.0, 0.7), [2]);
        assert_eq!(with(2, 0.0, 0.75), [1, 2]);
        let seen = frequencies(&logits, &SamplingParams { top_k: 2, ..params(1.0, 1.0) });
        assert!((seen[2] - 0.7311).abs() < 0.012, "{seen:?}");
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
            ("min_p", SamplingParams { min_p: -0.1, ..default() }),
            ("repetition_penalty", SamplingParams { repetition_penalty: 0.0, ..default() }),
            ("presence_penalty", SamplingParams { presence_penalty: f64::NAN, ..default() }),
            ("frequency_penalty", SamplingParams { frequency_penalty: f64::INFINITY, ..default() }),
            ("logit_bias", SamplingParams { logit_bias: [(3, f64::NAN)].into(), ..default() }),
            ("min_tokens", SamplingParams { min_tokens: 257, ..default() }),
            ("n", SamplingParams { n: 0, ..default() }),
        ];
        for (field, params) in cases {
            assert_eq!(params.validate().unwrap_err().field, field);
        }
    }
}
