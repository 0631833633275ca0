//! Sequence-level distillation (Kim and Rush 2016, section 3.2): the student learns the
//! teacher's own replies as if they were data. It takes no more of the teacher than its
//! text, so that the teacher may have other tokens, or be behind an endpoint.

use limbeck_core::{Message, Tokenizer};
use limbeck_cot_data::check::answers_equal;
use limbeck_cot_data::{Checks, CotRecord, Label};
use limbeck_infer::reasoning::opens_reasoning;
use limbeck_infer::{Engine, EngineConfig, FinishReason, SamplingParams, split_reasoning};
use limbeck_model::Decoder;
use limbeck_run::config::{Invalid, Validate};
use limbeck_train::example::prompt_text;
use serde::{Deserialize, Serialize};

use crate::Result;

/// Which of the teacher's replies are learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Those with the record's answer (rejection sampling, Zelikman et al. 2022, "`STaR`").
    #[default]
    Right,
    /// All that end.
    Complete,
}

/// The `[distill.sequence]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SequenceSettings {
    /// Replies to each question. Default 1.
    pub num_samples: usize,
    /// Temperature of the samples; 0 for the likeliest token. Default 0.
    pub temperature: f64,
    /// Draws from the fewest likeliest tokens whose probabilities reach this sum. Default 1.
    pub top_p: f64,
    /// The longest reply, in tokens. Default 512.
    pub max_new_tokens: usize,
    /// `right` or `complete`. Default `right`.
    pub keep: Keep,
}

impl Default for SequenceSettings {
    fn default() -> Self {
        Self {
            num_samples: 1,
            temperature: 0.0,
            top_p: 1.0,
            max_new_tokens: 512,
            keep: Keep::Right,
        }
    }
}

impl Validate for SequenceSettings {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        if self.num_samples == 0 {
            return Err(Invalid::new("num_samples", "at least 1", 0));
        }
        if self.num_samples > 1 && self.temperature == 0.0 {
            let expected = "above 0 where num_samples is above 1: all would be the same";
            return Err(Invalid::new("temperature", expected, 0));
        }
        self.sampling(0, Vec::new()).validate()
    }
}

impl SequenceSettings {
    fn sampling(&self, seed: u64, stop_token_ids: Vec<i64>) -> SamplingParams {
        SamplingParams {
            max_new_tokens: self.max_new_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            seed,
            stop_token_ids,
            ..SamplingParams::default()
        }
    }
}

/// What became of the teacher's replies.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replies {
    /// The records that are learned from: the question's, with the reply's chain and answer.
    pub records: Vec<CotRecord>,
    /// Replies that were cut at their longest, or closed no chain.
    pub incomplete: usize,
    /// Replies with another answer than the record's; left out if only right ones are kept.
    pub wrong: usize,
}

/// Asks the teacher each record's question. `progress` hears how many replies have come
/// since it was last called; `name` is what the records say of their teacher.
///
/// # Errors
/// Those of the tokenizer and of generation.
pub fn teacher_replies(
    teacher: &Decoder,
    tokenizer: &Tokenizer,
    records: &[CotRecord],
    settings: &SequenceSettings,
    seed: u64,
    name: &str,
    progress: &mut dyn FnMut(usize),
) -> Result<Replies> {
    let mut requests = Vec::with_capacity(records.len() * settings.num_samples);
    let mut opened = Vec::with_capacity(records.len());
    for record in records {
        let text = prompt_text(tokenizer, &[Message::user(record.question.as_str())], true)?;
        opened.push(opens_reasoning(&text));
        let tokens = tokenizer.encode(&text)?;
        requests.extend(std::iter::repeat_n(tokens, settings.num_samples));
    }
    let engine = Engine::new(teacher, EngineConfig::default())?;
    let params = settings.sampling(seed, tokenizer.eos_token_ids().to_vec());
    let generations = engine.generate(&requests, &params, progress)?;
    let mut replies = Replies::default();
    for (index, generation) in generations.iter().enumerate() {
        let (number, sample) = (index / settings.num_samples, index % settings.num_samples);
        let record = &records[number];
        let text = tokenizer.decode(&generation.tokens, true)?;
        let reply = split_reasoning(&text, opened[number]);
        let answer = reply.answer.trim();
        let Some(reasoning) = reply.reasoning.filter(|_| !answer.is_empty()) else {
            replies.incomplete += 1;
            continue;
        };
        if generation.finish_reason != FinishReason::Stop {
            replies.incomplete += 1;
            continue;
        }
        let right = answers_equal(&record.answer, answer);
        replies.wrong += usize::from(!right);
        if !right && settings.keep == Keep::Right {
            continue;
        }
        let mut kept = CotRecord {
            thought_process: reasoning.trim().lines().map(str::to_owned).collect(),
            answer: answer.to_owned(),
            label: Label::default(),
            checks: Checks::default(),
            ..record.clone()
        };
        kept.source.teacher = Some(name.to_owned());
        if settings.num_samples > 1 {
            kept.id = format!("{}#{sample}", record.id);
        }
        replies.records.push(kept);
    }
    Ok(replies)
}
