//! What sampling will cost, and what it did.

use serde::Serialize;

use super::config::AugmentConfig;
use super::journal::{Index, Sample};
use super::question::Request;
use crate::error::Result;

/// Tokens of a reply where none was seen yet.
const EXPECTED_COMPLETION_TOKENS: f64 = 800.0;

/// What is missing, and what it will cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// Samples that are wanted.
    pub num_samples: u64,
    /// Samples that the journal holds.
    pub num_done: u64,
    /// Samples that are to be asked for.
    pub num_missing: u64,
    /// Tokens of their prompts, by the length of the text.
    pub prompt_tokens: u64,
    /// Tokens of their replies, by the mean of those in the journal, or else 800 each.
    pub completion_tokens: u64,
    /// Their price.
    pub cost: f64,
    /// The price if every reply is as long as it may be.
    pub max_cost: f64,
}

impl Plan {
    /// # Errors
    /// A question that cannot be read.
    pub(super) fn of(
        config: &AugmentConfig,
        journal: &Index,
        requests: impl Iterator<Item = Result<Request>>,
    ) -> Result<Self> {
        let mut plan = Self::default();
        let mut prompt_tokens = 0.0;
        for request in requests {
            let request = request?;
            plan.num_samples += 1;
            if journal.contains(&request.key) {
                plan.num_done += 1;
            } else {
                plan.num_missing += 1;
                prompt_tokens += estimated_tokens(&request.prompt);
            }
        }
        let most = f64::from(config.max_tokens);
        let each = journal.mean_completion_tokens().unwrap_or(EXPECTED_COMPLETION_TOKENS).min(most);
        let missing = plan.num_missing as f64;
        plan.prompt_tokens = prompt_tokens.ceil() as u64;
        plan.completion_tokens = (each * missing).ceil() as u64;
        plan.cost = price(config, prompt_tokens, each * missing);
        plan.max_cost = price(config, prompt_tokens, most * missing);
        Ok(plan)
    }
}

/// What was asked for in a run, and what it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Account {
    /// Replies.
    pub num_samples: u64,
    /// Requests that were given up; a rerun asks again.
    pub num_failed: u64,
    /// Attempts that were made again.
    pub num_retries: u64,
    /// Tokens of the prompts, as the endpoint counted.
    pub prompt_tokens: u64,
    /// Tokens of the replies, as the endpoint counted.
    pub completion_tokens: u64,
    /// Their price.
    pub cost: f64,
}

impl Account {
    pub(super) fn add(&mut self, config: &AugmentConfig, sample: &Sample) {
        self.num_samples += 1;
        self.num_retries += u64::from(sample.attempts.saturating_sub(1));
        self.prompt_tokens += sample.prompt_tokens;
        self.completion_tokens += sample.completion_tokens;
        self.cost = price(config, self.prompt_tokens as f64, self.completion_tokens as f64);
    }
}

fn price(config: &AugmentConfig, prompt_tokens: f64, completion_tokens: f64) -> f64 {
    (prompt_tokens * config.prompt_price + completion_tokens * config.completion_price) / 1e6
}

/// Tokens of a text by its length: four letters each in Latin script, and of others, such
/// as Chinese, three characters to two tokens.
pub(super) fn estimated_tokens(text: &str) -> f64 {
    let (mut ascii, mut others) = (0.0, 0.0);
    for letter in text.chars() {
        if letter.is_ascii() {
            ascii += 1.0;
        } else {
            others += 1.0;
        }
    }
    ascii / 4.0 + others / 1.5
}
