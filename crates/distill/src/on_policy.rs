//! On-policy distillation: the student's own replies, judged by the teacher token by token
//! (Agarwal et al. 2024, "GKD", algorithm 1). Trained on the data alone, a student never
//! learns what to do after a mistake of its own.

use limbeck_core::seed::{CounterRng, derive};
use limbeck_infer::{Engine, EngineConfig, FinishReason, SamplingParams};
use limbeck_model::Decoder;
use limbeck_run::config::{Invalid, Validate};
use limbeck_train::{Batch, Example};
use serde::{Deserialize, Serialize};

/// The `[distill.on_policy]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnPolicySettings {
    /// λ: the share of the steps whose replies the student samples, 0 to 1. Default 0.
    pub share: f64,
    /// Temperature of the samples; 0 for the likeliest token. Default 1.
    pub temperature: f64,
    /// Draws from the fewest likeliest tokens whose probabilities reach this sum. Default 1.
    pub top_p: f64,
    /// The longest reply, in tokens. Default 256.
    pub max_new_tokens: usize,
}

impl Default for OnPolicySettings {
    fn default() -> Self {
        Self { share: 0.0, temperature: 1.0, top_p: 1.0, max_new_tokens: 256 }
    }
}

impl Validate for OnPolicySettings {
    fn validate(&self) -> Result<(), Invalid> {
        if !(0.0..=1.0).contains(&self.share) {
            return Err(Invalid::new("share", "a number from 0 to 1", self.share));
        }
        self.sampling(0, &[]).validate()
    }
}

impl OnPolicySettings {
    fn sampling(&self, seed: u64, stop_token_ids: &[i64]) -> SamplingParams {
        SamplingParams {
            max_new_tokens: self.max_new_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            seed,
            stop_token_ids: stop_token_ids.to_vec(),
            ..SamplingParams::default()
        }
    }
}

/// Samples the student's replies.
#[derive(Debug)]
pub(crate) struct OnPolicy {
    pub(crate) settings: OnPolicySettings,
    pub(crate) seed: u64,
    pub(crate) stop_token_ids: Vec<i64>,
    pub(crate) pad_token_id: i64,
}

impl OnPolicy {
    /// Whether a step is the student's; of the same seed and step always the same.
    pub(crate) fn takes(&self, step: u64) -> bool {
        let draw = CounterRng::new(derive(self.seed, "on-policy", step)).next_f64();
        draw < self.settings.share
    }

    /// The micro-batches' prompts with replies of the student's, each token of which counts
    /// the same. Replies that do not end are cut, and teach up to there.
    pub(crate) fn sample(
        &self,
        student: &Decoder,
        step: u64,
        batches: &[Batch],
    ) -> limbeck_train::Result<Vec<Batch>> {
        let engine = Engine::new(student, EngineConfig::default());
        let engine = engine.map_err(limbeck_train::Error::objective)?;
        let mut sampled = Vec::with_capacity(batches.len());
        for (number, batch) in batches.iter().enumerate() {
            let prompts = prompts(batch)?;
            let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
            let seed = derive(self.seed, "samples", step.wrapping_mul(1 << 16) + number as u64);
            let mut params = self.settings.sampling(seed, &self.stop_token_ids);
            let room = student.config().max_position_embeddings as usize;
            params.max_new_tokens = params.max_new_tokens.min(room.saturating_sub(longest)).max(1);
            let replies = engine
                .generate(&prompts, &params, &mut |_| {})
                .map_err(limbeck_train::Error::objective)?;
            let examples: Vec<Example> = prompts
                .into_iter()
                .zip(replies)
                .zip(&batch.examples)
                .map(|((mut tokens, reply), span)| {
                    let mut weights = vec![0.0; tokens.len()];
                    tokens.extend(reply.tokens);
                    if reply.finish_reason == FinishReason::Stop {
                        tokens.extend(self.stop_token_ids.first());
                    }
                    weights.resize(tokens.len(), 1.0);
                    Example { id: span.id.clone(), tokens, weights, ..Example::default() }
                })
                .collect();
            let examples: Vec<&Example> = examples.iter().collect();
            let mut batch = Batch::new(&examples, self.pad_token_id, batch.tokens.device())?;
            batch.sampled = true;
            sampled.push(batch);
        }
        Ok(sampled)
    }
}

/// The tokens of each example before the first that carries a loss.
fn prompts(batch: &Batch) -> limbeck_train::Result<Vec<Vec<i64>>> {
    let mut lengths: Vec<usize> =
        batch.examples.iter().map(|example| example.tokens.len()).collect();
    for row in Vec::<i64>::try_from(&batch.rows)? {
        let (index, position) = batch.place(row)?;
        lengths[index] = lengths[index].min(position + 1);
    }
    let prompts = batch.examples.iter().zip(lengths);
    Ok(prompts.map(|(example, length)| example.tokens[..length].to_vec()).collect())
}
