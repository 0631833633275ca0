//! Latency and throughput under load: so many requests at a time.

use std::time::{Duration, Instant};

use limbeck_infer::{Engine, EngineConfig, Output, Request, SamplingParams};
use limbeck_model::Decoder;
use limbeck_run::config::Invalid;

use super::{Load, Percentiles};
use crate::Result;

/// Tokens of a block of the engine's pool.
const BLOCK: usize = 16;

/// When a request of a group got its tokens, since the group was submitted.
#[derive(Debug, Clone, Default, PartialEq)]
struct Times {
    tokens: u64,
    first: Option<Duration>,
    last: Duration,
    end: Duration,
}

impl Load {
    /// Has a model continue prompts by `new_tokens` each, `batch` requests at a time: a group is
    /// submitted at once, and the next one when all of it has ended. Prompts are taken again from
    /// the first where a group would not be full. No token stops a reply, so that all groups do the
    /// same work; nothing is taken over from one request to another; a first group, which warms up,
    /// is not counted.
    ///
    /// Times are wall-clock, from the submission of the group. Percentiles are by nearest rank: a
    /// time that some request took. A reply of one token has no time between tokens.
    ///
    /// # Errors
    /// No prompt, or a `batch` or `new_tokens` of 0; a prompt that the model cannot take; logits
    /// that are not finite.
    pub fn measure(
        decoder: &Decoder,
        prompts: &[Vec<i64>],
        batch: usize,
        new_tokens: usize,
        engine: &EngineConfig,
    ) -> Result<Self> {
        for (field, value) in
            [("prompts", prompts.len()), ("batch", batch), ("new_tokens", new_tokens)]
        {
            if value == 0 {
                return Err(Invalid::new(field, "at least 1", value).into());
            }
        }
        let config = EngineConfig {
            max_batch: batch,
            prefix_cache: false,
            max_cache_bytes: pool_bytes(decoder, prompts, batch, new_tokens)
                .min(engine.max_cache_bytes),
            ..engine.clone()
        };
        let engine = Engine::new(decoder, config)?;
        let groups = prompts.len().div_ceil(batch);
        let group =
            |at: usize| (0..batch).map(move |place| &prompts[(at * batch + place) % prompts.len()]);
        let _warm_up = run(&engine, group(0), new_tokens)?;
        let mut times = Vec::with_capacity(groups * batch);
        let mut busy = Duration::ZERO;
        for at in 0..groups {
            let of_group = run(&engine, group(at), new_tokens)?;
            busy += of_group.iter().map(|times| times.end).max().unwrap_or_default();
            times.extend(of_group);
        }
        Ok(Self::of(batch, &times, busy))
    }

    fn of(batch: usize, times: &[Times], busy: Duration) -> Self {
        let seconds = |of: &dyn Fn(&Times) -> Option<Duration>| {
            let found: Vec<f64> =
                times.iter().filter_map(of).map(|time| time.as_secs_f64()).collect();
            Percentiles::of(found).unwrap_or(Percentiles { p50: 0.0, p95: 0.0, p99: 0.0 })
        };
        let tokens: u64 = times.iter().map(|times| times.tokens).sum();
        let per_token = |times: &Times| {
            let between = u32::try_from(times.tokens).ok()?.checked_sub(1).filter(|n| *n > 0)?;
            Some(times.last.checked_sub(times.first?)? / between)
        };
        Self {
            batch,
            requests: times.len() as u64,
            tokens_per_second: tokens as f64 / busy.as_secs_f64().max(f64::MIN_POSITIVE),
            time_to_first_token: seconds(&|times| times.first),
            time_per_output_token: seconds(&per_token),
            latency: seconds(&|times| Some(times.end)),
        }
    }
}

impl Percentiles {
    /// By nearest rank: the smallest value that so many of 100 do not exceed. `None` of nothing.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            let place = (values.len() * percent).div_ceil(100);
            values.get(place.max(1) - 1).copied()
        };
        Some(Self { p50: rank(50)?, p95: rank(95)?, p99: rank(99)? })
    }
}

/// Bytes of a pool that holds a whole group, at most 8 a value.
fn pool_bytes(decoder: &Decoder, prompts: &[Vec<i64>], batch: usize, new_tokens: usize) -> u64 {
    let config = decoder.config();
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0) + new_tokens;
    let slots = (longest.div_ceil(BLOCK) + 1) * BLOCK * batch;
    let values =
        2 * config.num_hidden_layers() as i64 * config.num_key_value_heads * config.head_dim;
    slots as u64 * values.unsigned_abs() * 8
}

/// Runs one group from its submission to its end.
fn run<'a>(
    engine: &Engine<'_>,
    prompts: impl Iterator<Item = &'a Vec<i64>>,
    new_tokens: usize,
) -> Result<Vec<Times>> {
    let mut session = engine.session()?;
    let prompts: Vec<Vec<i64>> = prompts.cloned().collect();
    let mut times = vec![Times::default(); prompts.len()];
    let params = SamplingParams { max_new_tokens: new_tokens, ..SamplingParams::default() };
    let begin = Instant::now();
    for prompt in prompts {
        session.submit(Request { prompt, params: params.clone(), ..Request::default() })?;
    }
    while !session.is_idle() {
        let outputs = session.step()?;
        let now = begin.elapsed();
        for output in outputs {
            match output {
                Output::Token { request, .. } => {
                    if let Some(times) = times.get_mut(request.0 as usize) {
                        times.tokens += 1;
                        times.first.get_or_insert(now);
                        times.last = now;
                    }
                }
                Output::Finished { request, .. } => {
                    if let Some(times) = times.get_mut(request.0 as usize) {
                        times.end = now;
                    }
                }
                Output::Failed { error, .. } => return Err(error.into()),
                Output::Prompt { .. } => {}
            }
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use limbeck_core::test_device;
    use serde_json::json;
    use tch::Kind;

    use super::*;

    #[test]
    fn percentiles_are_values_that_occur() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let expected = Percentiles { p50: 50.0, p95: 95.0, p99: 99.0 };
        assert_eq!(Percentiles::of(hundred), Some(expected));
        let few = Percentiles::of(vec![3.0, 1.0, 2.0]).unwrap();
        assert_eq!((few.p50, few.p95, few.p99), (2.0, 3.0, 3.0));
        assert_eq!(Percentiles::of(vec![]), None);
    }

    #[test]
    fn times_add_up() {
        let millis = Duration::from_millis;
        let of = |tokens, first, last, end| Times {
            tokens,
            first: Some(millis(first)),
            last: millis(last),
            end: millis(end),
        };
        let times = [of(3, 10, 30, 30), of(1, 20, 20, 40)];
        let load = Load::of(2, &times, millis(50));
        assert_eq!((load.batch, load.requests), (2, 2));
        assert!((load.tokens_per_second - 80.0).abs() < 1e-9);
        assert_eq!((load.time_to_first_token.p50, load.time_to_first_token.p99), (0.01, 0.02));
        // The reply of one token says nothing of the time between two.
        assert_eq!((load.time_per_output_token.p50, load.time_per_output_token.p99), (0.01, 0.01));
        assert_eq!((load.latency.p50, load.latency.p95), (0.03, 0.04));
    }

    #[test]
    fn every_request_gets_all_its_tokens() {
        let config = json!({
            "model_type": "qwen2", "vocab_size": 97, "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
            "tie_word_embeddings": true, "hidden_act": "silu"
        });
        let decoder = Decoder::init(&config, 5, test_device(), Kind::Float).unwrap();
        let prompts = [vec![1, 2, 3], vec![4; 20], vec![5, 6]];
        let engine = EngineConfig::default();
        let load = Load::measure(&decoder, &prompts, 2, 5, &engine).unwrap();
        assert_eq!((load.batch, load.requests), (2, 4));
        assert!(load.tokens_per_second > 0.0);
        let (first, latency) = (load.time_to_first_token, load.latency);
        assert!(first.p50 > 0.0 && first.p50 <= latency.p50, "{load:?}");
        assert!(load.time_per_output_token.p50 > 0.0);
        for (prompts, batch, tokens) in
            [(&prompts[..0], 1, 1), (&prompts[..], 0, 1), (&prompts, 1, 0)]
        {
            assert!(Load::measure(&decoder, prompts, batch, tokens, &engine).is_err());
        }
        assert!(Load::measure(&decoder, &[vec![1; 60]], 1, 9, &engine).is_err());
    }
}
