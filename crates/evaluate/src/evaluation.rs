//! A model's evaluation on a set of records.

use std::collections::HashSet;
use std::time::Instant;

use limbeck_core::{Message, Tokenizer};
use limbeck_cot_data::CotRecord;
use limbeck_infer::reasoning::opens_reasoning;
use limbeck_infer::{Engine, Generation};
use limbeck_model::Decoder;
use limbeck_run::Progress;
use limbeck_run::config::Validate;
use serde::{Deserialize, Serialize};

use crate::config::EvaluateConfig;
use crate::cost::{Cost, weight_bytes};
use crate::divergence::Divergence;
use crate::fit::DomainFit;
use crate::sample::{RawReply, Sample};
use crate::scores::{Group, Scores, TaskScores};
use crate::{Error, Result};

/// How a model did, as `evaluation.json` holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// What the report calls the model.
    pub model: String,
    /// How it was evaluated.
    pub config: EvaluateConfig,
    /// Over all records.
    pub overall: Scores,
    /// By family (no level), then by family and level.
    pub groups: Vec<Group>,
    /// By task, with the figures that each task has of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskScores>,
    /// Size, speed and memory.
    pub cost: Cost,
    /// SHA-256 of the chat template.
    pub chat_template_sha256: String,
    /// How far it is from the model that it was made from, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<Divergence>,
    /// How its replies fit the task's domain, where that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<DomainFit>,
    /// Every reply, in the order of the records; kept in `samples.jsonl`.
    #[serde(skip)]
    pub samples: Vec<Sample>,
}

/// Lets a model solve records and judges its replies.
///
/// The prompt is the question as the user's turn of the tokenizer's chat template. The
/// weight files of the tokenizer's folder are taken for the model's; a caller who loaded
/// more (an adapter) adds to [`Cost::weight_bytes`].
///
/// # Errors
/// No record, two with the same id, one whose prompt the model cannot take; a tokenizer
/// without chat template or with ids beyond the embedding.
pub fn evaluate(
    model: &str,
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    records: &[CotRecord],
    config: &EvaluateConfig,
) -> Result<Evaluation> {
    config.validate()?;
    tokenizer.check_fits(decoder.config().vocab_size)?;
    let template = tokenizer.require_chat_template()?;
    let records: Vec<&CotRecord> =
        config.selection(records.len()).into_iter().map(|place| &records[place]).collect();
    check_ids(&records)?;
    if tokenizer.eos_token_ids().is_empty() {
        tracing::warn!("the tokenizer names no end token: every reply will be cut");
    }

    let mut prompts = Vec::with_capacity(records.len());
    let mut prompt_opened = Vec::with_capacity(records.len());
    for record in &records {
        let text = template.render(&[Message::user(record.question.as_str())], true, None)?;
        prompts.push(tokenizer.encode(&text)?);
        prompt_opened.push(opens_reasoning(&text));
    }

    let engine = Engine::new(decoder, config.engine())?;
    let sampling = config.sampling(tokenizer.eos_token_ids());
    let progress = Progress::new(model, records.len() as u64, "problems");
    let started = Instant::now();
    let generations = engine
        .generate(&prompts, &sampling, &mut |finished| progress.inc(finished as u64))
        .map_err(|source| match source.request() {
            Some(index) => {
                Error::Record { id: records[index].id.clone(), source: Box::new(source) }
            }
            None => Error::Infer(source),
        })?;
    let seconds = started.elapsed().as_secs_f64();
    progress.finish();

    let parameters = decoder.num_parameters();
    let bytes = weight_bytes(tokenizer.folder())?;
    let cost = Cost::new(parameters, bytes, &prompts, &generations, seconds);
    let mut samples = Vec::with_capacity(records.len());
    for (index, Generation { tokens, finish_reason }) in generations.into_iter().enumerate() {
        let text = tokenizer.decode(&tokens, false)?;
        let raw = RawReply {
            text: &text,
            prompt_opened: prompt_opened[index],
            finish_reason,
            prompt_tokens: prompts[index].len(),
            reply_tokens: tokens.len(),
        };
        samples.push(Sample::judge(records[index], raw));
    }
    Ok(Evaluation {
        model: model.to_owned(),
        config: config.clone(),
        overall: Scores::of(&samples),
        groups: Group::all(&samples),
        cost,
        chat_template_sha256: limbeck_run::sha256_bytes(template.source().as_bytes()),
        divergence: None,
        fit: None,
        tasks: Vec::new(),
        samples,
    })
}

fn check_ids(records: &[&CotRecord]) -> Result<()> {
    if records.is_empty() {
        return Err(Error::NoRecords);
    }
    let mut seen = HashSet::new();
    match records.iter().find(|record| !seen.insert(record.id.as_str())) {
        Some(record) => Err(Error::DuplicateId { id: record.id.clone() }),
        None => Ok(()),
    }
}
