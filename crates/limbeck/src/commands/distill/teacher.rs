//! What each kind of teacher takes before the training begins.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use limbeck_core::checkpoint::read_json;
use limbeck_core::{Message, Tokenizer};
use limbeck_cot_data::{Augmentation, CotRecord, RecordWriter, Shard, read_jsonl, write_jsonl};
use limbeck_distill::align::Alignment;
use limbeck_distill::capture::Expected;
use limbeck_distill::sequence::teacher_replies;
use limbeck_distill::{CapturedTeacher, DistillConfig};
use limbeck_model::{Decoder, DecoderConfig};
use limbeck_run::Progress;
use limbeck_train::Completion;
use rayon::prelude::*;

use super::super::capture;
use super::super::training::Examples;
use crate::cli::{CaptureArguments, DistillArguments};
use crate::stage::Stage;

/// The teacher's replies, in the output folder.
const REPLIES: &str = "replies.jsonl";

/// What records say of a teacher: its folder's name.
pub(super) fn name(teacher: &Path) -> String {
    let path = teacher.canonicalize().unwrap_or_else(|_| teacher.to_owned());
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The teacher's sizes.
pub(super) fn shape(teacher: &Path) -> Result<DecoderConfig> {
    let path = teacher.join("config.json");
    DecoderConfig::from_hf(&read_json(&path)?).with_context(|| path.display().to_string())
}

/// Rows of the teacher's head.
pub(super) fn vocab_size(teacher: &Path, weights: Option<&Decoder>) -> Result<i64> {
    if let Some(decoder) = weights {
        return Ok(decoder.config().vocab_size);
    }
    Ok(shape(teacher)?.vocab_size)
}

/// Opens a capture that was made for this tokenizer.
pub(super) fn open_capture(
    teacher: &Path,
    tokenizer: &Tokenizer,
    paths: &[PathBuf],
) -> Result<CapturedTeacher> {
    let expected = Expected::of(tokenizer, vocab_size(teacher, None)?)?;
    Ok(CapturedTeacher::open(paths, &expected).map_err(limbeck_distill::Error::from)?)
}

/// Captures the teacher into the output folder, going on where a killed run stopped.
pub(super) fn capture_first(
    arguments: &DistillArguments,
    config: &DistillConfig,
    tokenizer: &Tokenizer,
    weights: Option<&Decoder>,
    folder: &Path,
) -> Result<CapturedTeacher> {
    let output = folder.join("capture");
    let arguments = CaptureArguments {
        teacher: arguments.teacher.clone(),
        adapter: Vec::new(),
        registry: None,
        data: arguments.data.clone(),
        output: output.clone(),
        top_k: config.capture.top_k,
        temperature: config.temperature,
        max_length: config.train.max_length,
        micro_batch_tokens: config.train.micro_batch_tokens,
        shard: Shard::WHOLE,
        verify: false,
        sample: 0,
        dtype: config.train.compute_dtype,
        device: arguments.stage.device,
    };
    let decoder = weights.context("the teacher's weights")?;
    capture::capture(&arguments, decoder, tokenizer)?;
    open_capture(&arguments.teacher, tokenizer, &[output])
}

/// The teacher's own replies to the training questions; those of a killed run are taken over.
pub(super) fn replies(
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    records: &[CotRecord],
    config: &DistillConfig,
    seed: u64,
    name: &str,
    stage: &mut Stage,
) -> Result<Vec<CotRecord>> {
    let path = stage.folder().join(REPLIES);
    if path.exists() {
        return Ok(read_jsonl(&path)?);
    }
    let asked = records.len() * config.sequence.num_samples;
    let progress = Progress::new("replies", asked as u64, "replies");
    let replies =
        teacher_replies(decoder, tokenizer, records, &config.sequence, seed, name, &mut |done| {
            progress.inc(done as u64);
        })?;
    progress.finish();
    tracing::info!(
        "{} of {asked} replies are learned from; {} did not end, {} had another answer",
        replies.records.len(),
        replies.incomplete,
        replies.wrong
    );
    stage.metric("replies", replies.records.len());
    stage.metric("incomplete_replies", replies.incomplete);
    stage.metric("wrong_replies", replies.wrong);
    write_jsonl(&path, &replies.records)?;
    Ok(replies.records)
}

/// Replies of an endpoint to the training questions. The journal lies in the output folder
/// while it is being made: what a killed run paid for is not asked for again.
pub(super) fn endpoint_replies(
    config: &DistillConfig,
    questions: &Path,
    stage: &mut Stage,
) -> Result<Vec<CotRecord>> {
    let journal = stage.folder().join("journal.jsonl");
    let mut augmentation =
        Augmentation::open(config.http.clone(), questions, Shard::WHOLE, &journal)?;
    let plan = augmentation.plan()?;
    let progress = Progress::new("replies", plan.num_samples, "samples");
    progress.skip(plan.num_done);
    let account = augmentation.sample(|_| progress.inc(1))?;
    progress.finish();
    if account.num_failed > 0 {
        tracing::warn!(requests = account.num_failed, "given up");
    }
    let path = stage.folder().join(REPLIES);
    let mut writer = RecordWriter::create(&path)?;
    augmentation.select(|record| writer.write(&record), |_, _| Ok(()))?;
    writer.finish()?;
    let records = read_jsonl(&path)?;
    stage.metric("replies", records.len());
    stage.metric("cost", account.cost);
    Ok(records)
}

/// Where the tokens of student and teacher meet in each training record.
pub(super) fn align(
    records: &(Vec<CotRecord>, Vec<CotRecord>),
    student: &Tokenizer,
    teacher: &Tokenizer,
    examples: &Examples,
) -> Result<Alignment> {
    let parts = records.0.par_iter().map(|record| {
        let mut alignment = Alignment::default();
        let prompt = [Message::user(record.question.as_str())];
        let reasoning = record.reasoning();
        let completion = Completion::Chain { reasoning: &reasoning, answer: &record.answer };
        alignment.add(&record.id, &prompt, completion, student, teacher)?;
        Ok(alignment)
    });
    let parts: Vec<Alignment> = parts.collect::<limbeck_distill::Result<_>>()?;
    let mut whole = Alignment::default();
    for part in parts {
        whole.extend(part);
    }
    let rows: usize = examples
        .train
        .iter()
        .map(|example| example.weights.iter().filter(|weight| **weight > 0.0).count())
        .sum();
    tracing::info!(
        "tokens of student and teacher meet at {} of {rows} positions",
        whole.num_meetings().min(rows)
    );
    Ok(whole)
}
