//! The parameters that completions and chats share: what to sample, when to stop, what to
//! stream.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use limbeck_infer::SamplingParams;

use super::error::{ApiError, ApiResult};
use super::fields::{Fields, wrong};
use super::form::Form;

/// Most log-probabilities of other tokens that may be asked for at a position.
pub(super) const MAX_LOGPROBS: usize = 20;
/// OpenAI allows 4 stop strings; other clients send more.
const MAX_STOPS: usize = 16;
/// A stop string is held back while it may be beginning, so it has a bound.
const MAX_STOP_BYTES: usize = 1024;

/// What a request says about sampling and streaming, apart from how many tokens.
#[derive(Debug)]
pub(super) struct Params {
    pub(super) sampling: SamplingParams,
    /// Strings that end a choice.
    pub(super) stop: Vec<String>,
    pub(super) skip_special: bool,
    pub(super) stream: bool,
    /// Whether a stream ends with a chunk of counts.
    pub(super) include_usage: bool,
    pub(super) priority: i32,
    pub(super) salt: Option<String>,
    /// What replies must look like.
    pub(super) form: Option<Form>,
}

/// What the parameters are checked against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) vocab_size: i64,
    pub(super) max_choices: usize,
    /// Tokens that end a reply of this model.
    pub(super) eos_token_ids: &'a [i64],
}

impl Params {
    /// Takes the shared parameters out of a body.
    pub(super) fn take(fields: &mut Fields, bounds: Bounds<'_>) -> ApiResult<Self> {
        let stream = fields.boolean("stream")?.unwrap_or(false);
        let include_usage = match fields.take("stream_options") {
            None => false,
            Some(_) if !stream => {
                return Err(ApiError::parameter(
                    "stream_options",
                    "`stream_options` goes with `stream`: true only",
                ));
            }
            Some(value) => {
                let mut options = Fields::of(value, "stream_options")?;
                let include = options.boolean("include_usage")?.unwrap_or(false);
                options.finish();
                include
            }
        };
        let min_tokens = fields.count("min_tokens", 0..=1 << 24)?.unwrap_or(0);
        let ignore_eos = fields.boolean("ignore_eos")?.unwrap_or(false);
        let mut stop_token_ids = fields.token_ids("stop_token_ids")?.unwrap_or_default();
        if let Some(id) = stop_token_ids.iter().find(|id| **id >= bounds.vocab_size) {
            let message = format!("`stop_token_ids` has {id}, which is no token of this model");
            return Err(ApiError::parameter("stop_token_ids", message));
        }
        if !ignore_eos {
            stop_token_ids.extend(bounds.eos_token_ids);
        }
        stop_token_ids.sort_unstable();
        stop_token_ids.dedup();
        let top_p = fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0);
        if top_p == 0.0 {
            return Err(ApiError::parameter("top_p", "`top_p` is expected above 0, found 0"));
        }
        let repetition_penalty = fields.number("repetition_penalty", 0.0..=10.0)?.unwrap_or(1.0);
        if repetition_penalty == 0.0 {
            let message = "`repetition_penalty` is expected above 0, found 0";
            return Err(ApiError::parameter("repetition_penalty", message));
        }
        let sampling = SamplingParams {
            temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(1.0),
            top_p,
            // -1 is vLLM's word for all tokens.
            top_k: fields.integer("top_k", -1..=1 << 32)?.unwrap_or(0).max(0) as usize,
            min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(0.0),
            repetition_penalty,
            presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            logit_bias: fields.token_numbers("logit_bias", &(-100.0..=100.0), bounds.vocab_size)?,
            min_tokens,
            n: fields.count("n", 1..=bounds.max_choices)?.unwrap_or(1),
            seed: match fields.integer("seed", i64::MIN..=i64::MAX)? {
                Some(seed) => seed as u64,
                None => fresh_seed(),
            },
            stop_token_ids,
            ..SamplingParams::default()
        };
        let priority = fields.integer("priority", i32::MIN.into()..=i32::MAX.into())?;
        fields.string("user")?;
        Ok(Self {
            sampling,
            stop: take_stops(fields)?,
            skip_special: fields.boolean("skip_special_tokens")?.unwrap_or(true),
            stream,
            include_usage,
            priority: priority.map_or(0, |priority| priority as i32),
            salt: fields.string("cache_salt")?,
            form: Form::take(fields)?,
        })
    }
}

fn take_stops(fields: &mut Fields) -> ApiResult<Vec<String>> {
    let stops = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                other => Err(wrong("stop", "a string or a list of strings", &other)),
            })
            .collect::<ApiResult<Vec<_>>>()?,
        Some(other) => return Err(wrong("stop", "a string or a list of strings", &other)),
    };
    if stops.len() > MAX_STOPS {
        let message = format!("`stop` takes {MAX_STOPS} strings at most, found {}", stops.len());
        return Err(ApiError::parameter("stop", message));
    }
    if stops.iter().any(|stop| stop.is_empty() || stop.len() > MAX_STOP_BYTES) {
        let message = format!("strings in `stop` are expected to have 1 to {MAX_STOP_BYTES} bytes");
        return Err(ApiError::parameter("stop", message));
    }
    Ok(stops)
}

/// A seed for a request that names none: different ones for different requests.
fn fresh_seed() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    RandomState::new().hash_one(COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(body: &str) -> ApiResult<Params> {
        let bounds = Bounds { vocab_size: 100, max_choices: 4, eos_token_ids: &[2] };
        Params::take(&mut Fields::parse(body.as_bytes()).unwrap(), bounds)
    }

    #[track_caller]
    fn refused(body: &str, param: &str) {
        let error = take(body).unwrap_err();
        assert_eq!(error.status(), 400);
        assert_eq!(error.body()["error"]["param"], param, "{body}");
    }

    #[test]
    fn defaults_are_openais() {
        let params = take("{}").unwrap();
        assert!((params.sampling.temperature - 1.0).abs() < 1e-12);
        assert_eq!(params.sampling.stop_token_ids, [2]);
        assert_eq!(params.sampling.n, 1);
        assert_ne!(take("{}").unwrap().sampling.seed, params.sampling.seed);
        assert_eq!(take(r#"{"seed": 7}"#).unwrap().sampling.seed, 7);
    }

    #[test]
    fn stop_has_several_forms() {
        assert_eq!(take(r#"{"stop": "a"}"#).unwrap().stop, ["a"]);
        assert_eq!(take(r#"{"stop": ["a", "b"]}"#).unwrap().stop, ["a", "b"]);
        assert!(take(r#"{"stop": null}"#).unwrap().stop.is_empty());
        let params = take(r#"{"stop_token_ids": [9, 9], "ignore_eos": true}"#).unwrap();
        assert_eq!(params.sampling.stop_token_ids, [9]);
        refused(r#"{"stop": [1]}"#, "stop");
        refused(r#"{"stop": ""}"#, "stop");
        refused(r#"{"stop_token_ids": [100]}"#, "stop_token_ids");
    }

    #[test]
    fn what_is_impossible_names_its_parameter() {
        for (body, param) in [
            (r#"{"temperature": 2.5}"#, "temperature"),
            (r#"{"temperature": "hot"}"#, "temperature"),
            (r#"{"top_p": 0}"#, "top_p"),
            (r#"{"n": 0}"#, "n"),
            (r#"{"n": 5}"#, "n"),
            (r#"{"logit_bias": {"100": 1}}"#, "logit_bias"),
            (r#"{"response_format": 3}"#, "response_format"),
            (r#"{"stream_options": {}}"#, "stream_options"),
            (r#"{"stream": true, "stream_options": 1}"#, "stream_options"),
            (r#"{"user": 3}"#, "user"),
        ] {
            refused(body, param);
        }
        assert!(take(r#"{"response_format": {"type": "text"}}"#).is_ok());
    }
}
