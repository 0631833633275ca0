//! One request to an OpenAI-compatible endpoint, and what its reply says.

use std::time::{Duration, Instant, SystemTime};

use serde::Deserialize;
use serde_json::json;
use ureq::http::{HeaderMap, StatusCode};
use ureq::{Agent, Body};

use super::config::AugmentConfig;
use super::journal::Sample;
use super::question::Request;
use crate::rejects::excerpt;

/// Most bytes of a reply.
const MOST_BYTES: u64 = 64 << 20;

/// An endpoint, and what is the same for every request.
pub(super) struct Endpoint {
    agent: Agent,
    url: String,
    authorization: Option<String>,
}

/// Why there is no sample.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may go better next time, and not before a time that the endpoint named.
    Transient { detail: String, retry_after: Option<Duration> },
    /// This request will never be answered.
    Refused { detail: String },
    /// No request will.
    Fatal { detail: String },
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    model: Option<String>,
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    /// `DeepSeek`'s name for it.
    #[serde(default)]
    reasoning_content: Option<String>,
    /// `vLLM`'s and others'.
    #[serde(default)]
    reasoning: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

impl Endpoint {
    pub(super) fn new(config: &AugmentConfig) -> Self {
        let agent = Agent::config_builder()
            .timeout_global(Some(Duration::from_secs_f64(config.timeout_seconds)))
            .http_status_as_error(false)
            .max_idle_connections_per_host(config.concurrency)
            .build()
            .new_agent();
        let key = std::env::var(&config.key_variable).ok().filter(|key| !key.is_empty());
        Self {
            agent,
            url: format!("{}/chat/completions", config.url.trim_end_matches('/')),
            authorization: key.map(|key| format!("Bearer {key}")),
        }
    }

    /// Asks once.
    pub(super) fn ask(&self, config: &AugmentConfig, request: &Request) -> Result<Sample, Failure> {
        let body = json!({
            "model": config.model,
            "messages": [{"role": "user", "content": &*request.prompt}],
            "temperature": config.temperature,
            "top_p": config.top_p,
            "max_tokens": config.max_tokens,
            "seed": request.seed,
            "stream": false,
        });
        let started = Instant::now();
        let mut post = self.agent.post(&self.url).header("content-type", "application/json");
        if let Some(authorization) = &self.authorization {
            post = post.header("authorization", authorization);
        }
        let mut reply = post.send(body.to_string()).map_err(|error| of_transport(&error))?;
        let status = reply.status();
        let retry_after = retry_after(reply.headers(), SystemTime::now());
        let text = text_of(reply.body_mut());
        if !status.is_success() {
            return Err(of_status(status, retry_after, &text.unwrap_or_default()));
        }
        let text = text.map_err(|error| of_transport(&error))?;
        let transient = |detail: String| Failure::Transient { detail, retry_after: None };
        let Reply { model, choices, usage } = serde_json::from_str(&text).map_err(|error| {
            transient(format!("a reply that cannot be read ({error}): {}", excerpt(&text)))
        })?;
        let Some(Choice { message, finish_reason }) = choices.into_iter().next() else {
            return Err(transient(format!("a reply without a choice: {}", excerpt(&text))));
        };
        let usage = usage.unwrap_or(Usage { prompt_tokens: 0, completion_tokens: 0 });
        Ok(Sample {
            key: request.key.clone(),
            question_id: request.question_id.clone(),
            template: request.template,
            index: request.index,
            model: model.unwrap_or_else(|| config.model.clone()),
            reasoning: message.reasoning_content.or(message.reasoning).unwrap_or_default(),
            content: message.content.unwrap_or_default(),
            finish_reason: finish_reason.unwrap_or_default(),
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            seconds: started.elapsed().as_secs_f64(),
            attempts: 1,
        })
    }
}

fn text_of(body: &mut Body) -> Result<String, ureq::Error> {
    body.with_config().limit(MOST_BYTES).lossy_utf8(true).read_to_string()
}

/// No connection, a timeout, a reply that breaks off.
fn of_transport(error: &ureq::Error) -> Failure {
    let detail = error.to_string();
    match error {
        ureq::Error::BadUri(_)
        | ureq::Error::Http(_)
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::RedirectFailed
        | ureq::Error::TooManyRedirects => Failure::Fatal { detail },
        _ => Failure::Transient { detail, retry_after: None },
    }
}

fn of_status(status: StatusCode, retry_after: Option<Duration>, text: &str) -> Failure {
    let detail = format!("{status}: {}", excerpt(text.trim()));
    match status.as_u16() {
        // Too early, too much, or the server's own fault.
        408 | 409 | 425 | 429 | 500..=599 => Failure::Transient { detail, retry_after },
        // The key, the bill, the model or the path.
        401..=405 => Failure::Fatal { detail },
        _ => Failure::Refused { detail },
    }
}

/// How long the endpoint wants to be left alone: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_may_name_seconds_or_a_date() {
        let after = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("retry-after", text.parse().unwrap());
            // 1994-11-06 08:49:37.
            retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-3"), None);
    }

    #[test]
    fn a_status_says_whether_to_ask_again() {
        let of = |status: u16| of_status(StatusCode::from_u16(status).unwrap(), None, "why");
        for status in [408, 429, 500, 502, 503, 529] {
            assert!(matches!(of(status), Failure::Transient { .. }), "{status}");
        }
        for status in [401, 402, 403, 404] {
            assert!(matches!(of(status), Failure::Fatal { .. }), "{status}");
        }
        assert!(matches!(of(400), Failure::Refused { detail } if detail.contains("why")));
    }
}
