//! The `[augment]` table: which model is asked, how, and which of its chains are kept.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;

/// How much a prompt says about the way to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Template {
    /// Nothing but the form of the answer.
    Direct,
    /// Step by step.
    StepByStep,
    /// A plan first, then its steps.
    PlanThenSolve,
    /// Named values and one assignment a line.
    ProgramLike,
    /// Step by step, and the result checked in another way.
    SelfCheck,
}

impl Template {
    /// All templates, from the least said to the most.
    pub const ALL: [Self; 5] =
        [Self::Direct, Self::StepByStep, Self::PlanThenSolve, Self::ProgramLike, Self::SelfCheck];

    /// The word for it in files; it does not change.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::StepByStep => "step_by_step",
            Self::PlanThenSolve => "plan_then_solve",
            Self::ProgramLike => "program_like",
            Self::SelfCheck => "self_check",
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Template {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        Self::ALL.into_iter().find(|template| template.name() == text).ok_or_else(|| ConfigError {
            field: "augment.templates".to_owned(),
            expected: Self::ALL.map(Self::name).join(", "),
            got: text.to_owned(),
        })
    }
}

/// What [`Augmentation`](super::Augmentation) asks for and keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// The endpoint up to its version, such as `http://127.0.0.1:8000/v1`;
    /// `/chat/completions` is put behind it.
    pub url: String,
    /// The model, as the endpoint names it.
    pub model: String,
    /// The environment variable that holds the key. Default: `OPENAI_API_KEY`; without the
    /// variable no key is sent.
    pub key_variable: String,

    /// The templates of the prompts. Default: `step_by_step`.
    pub templates: Vec<Template>,
    /// Samples of each question and template. Default: 4.
    pub num_samples: u32,
    /// Default: 0.7.
    pub temperature: f64,
    /// Share of the probability that is sampled from. Default: 1.
    pub top_p: f64,
    /// Most tokens of a reply, its reasoning included. Default: 4096.
    pub max_tokens: u32,
    /// Seeds the samples, where the endpoint heeds a seed. Default: 0.
    pub seed: u64,

    /// Requests under way at a time. Default: 8.
    pub concurrency: usize,
    /// Most requests a minute; 0 for no limit. Default: 0.
    pub requests_per_minute: u32,
    /// Most tokens a minute, of prompts and replies; 0 for no limit. Default: 0.
    pub tokens_per_minute: u64,
    /// Seconds after which a request is given up. Default: 600.
    pub timeout_seconds: f64,
    /// Most attempts at a request, the first included. Default: 6.
    pub max_attempts: u32,
    /// Seconds before the second attempt; each later wait is twice as long, and an endpoint
    /// that names a time is obeyed. Default: 1.
    pub retry_seconds: f64,

    /// Price of a million tokens of prompts. Default: 0.
    pub prompt_price: f64,
    /// Price of a million tokens of replies. Default: 0.
    pub completion_price: f64,

    /// Whether chains are kept in which a step is wrong, though the answer is right.
    /// Default: false.
    pub keep_wrong_steps: bool,
    /// Share of the samples of a question without an answer that must agree on one, above
    /// which it is taken for right. Default: 0.5.
    pub min_vote_share: f64,
    /// Similarity (Jaccard index of the pairs of neighbouring words, numbers kept), from 0 to
    /// 1, from which a chain is too much like one that is kept already. Default: 0.8.
    pub max_similarity: f64,
    /// Most chains that are kept of a question. Default: 4.
    pub max_chains: usize,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            model: String::new(),
            key_variable: "OPENAI_API_KEY".to_owned(),
            templates: vec![Template::StepByStep],
            num_samples: 4,
            temperature: 0.7,
            top_p: 1.0,
            max_tokens: 4096,
            seed: 0,
            concurrency: 8,
            requests_per_minute: 0,
            tokens_per_minute: 0,
            timeout_seconds: 600.0,
            max_attempts: 6,
            retry_seconds: 1.0,
            prompt_price: 0.0,
            completion_price: 0.0,
            keep_wrong_steps: false,
            min_vote_share: 0.5,
            max_similarity: 0.8,
            max_chains: 4,
        }
    }
}

impl AugmentConfig {
    /// Refuses impossible values.
    ///
    /// # Errors
    /// Names the first field at fault.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let checks = [
            (
                self.url.starts_with("http://") || self.url.starts_with("https://"),
                "url",
                "a URL that begins with http:// or https://",
                self.url.clone(),
            ),
            (!self.model.is_empty(), "model", "the name of a model", self.model.clone()),
            (!self.templates.is_empty(), "templates", "at least one", "none".to_owned()),
            (self.num_samples > 0, "num_samples", "at least 1", self.num_samples.to_string()),
            (
                (0.0..=2.0).contains(&self.temperature),
                "temperature",
                "0 to 2",
                self.temperature.to_string(),
            ),
            (
                share(self.top_p) && self.top_p > 0.0,
                "top_p",
                "above 0 and at most 1",
                self.top_p.to_string(),
            ),
            (self.max_tokens > 0, "max_tokens", "at least 1", self.max_tokens.to_string()),
            (self.concurrency > 0, "concurrency", "at least 1", self.concurrency.to_string()),
            (
                self.timeout_seconds.is_finite() && self.timeout_seconds > 0.0,
                "timeout_seconds",
                "above 0",
                self.timeout_seconds.to_string(),
            ),
            (self.max_attempts > 0, "max_attempts", "at least 1", self.max_attempts.to_string()),
            (
                (0.0..=3600.0).contains(&self.retry_seconds),
                "retry_seconds",
                "0 to 3600",
                self.retry_seconds.to_string(),
            ),
            (
                self.prompt_price >= 0.0 && self.completion_price >= 0.0,
                "prompt_price",
                "prices of at least 0",
                self.prompt_price.min(self.completion_price).to_string(),
            ),
            (
                share(self.min_vote_share),
                "min_vote_share",
                "0 to 1",
                self.min_vote_share.to_string(),
            ),
            (
                share(self.max_similarity),
                "max_similarity",
                "0 to 1",
                self.max_similarity.to_string(),
            ),
            (self.max_chains > 0, "max_chains", "at least 1", self.max_chains.to_string()),
        ];
        for (holds, field, expected, got) in checks {
            if !holds {
                return Err(ConfigError {
                    field: format!("augment.{field}"),
                    expected: expected.to_owned(),
                    got,
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_value_is_named() {
        let good = AugmentConfig {
            url: "http://127.0.0.1/v1".to_owned(),
            model: "m".to_owned(),
            ..AugmentConfig::default()
        };
        assert_eq!(good.validate(), Ok(()));
        let fields = |config: AugmentConfig| config.validate().unwrap_err().field;
        assert_eq!(fields(AugmentConfig::default()), "augment.url");
        assert_eq!(fields(AugmentConfig { top_p: 0.0, ..good.clone() }), "augment.top_p");
        assert_eq!(
            fields(AugmentConfig { timeout_seconds: f64::NAN, ..good.clone() }),
            "augment.timeout_seconds"
        );
        assert_eq!(fields(AugmentConfig { min_vote_share: 1.5, ..good }), "augment.min_vote_share");
        for template in Template::ALL {
            assert_eq!(template.name().parse(), Ok(template));
        }
        assert!("loud".parse::<Template>().unwrap_err().to_string().contains("self_check"));
    }
}
