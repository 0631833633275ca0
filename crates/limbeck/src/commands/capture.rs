//! `limbeck capture`: a teacher's distributions on disk, and whether they are still there.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use limbeck_core::{DType, Tokenizer};
use limbeck_cot_data::{JsonlSource, RecordSource as _, Shard};
use limbeck_distill::capture::{
    CaptureError, CaptureWriter, CapturedTeacher, EXTENSION, Expected, Header, ask, capture_files,
    compare, loss_positions,
};
use limbeck_model::Decoder;
use limbeck_run::{Progress, digest, sha256_file, sha256_path};
use limbeck_train::sampler::{Sampler, SamplerState};
use limbeck_train::{Example, TrainConfig};
use serde_json::json;

use crate::cli::{CaptureArguments, UsageError};
use crate::dataset::{self, DataFolder};
use crate::model_folder::ModelFolder;

/// Records rendered at a time: all that a sampler sorts by length together, and all of the
/// data that is in memory.
const WINDOW: usize = 2048;

/// By how much two forward passes of the same teacher may differ, in nats, where other
/// examples share the batch or another device runs it.
const NOISE_FLOAT32: f64 = 1e-3;
/// The same with activations of 8 or 11 bits.
const NOISE_HALF: f64 = 0.25;

pub(crate) fn run(arguments: &CaptureArguments, json: bool) -> Result<()> {
    let started = Instant::now();
    let teacher = ModelFolder::open(
        &arguments.teacher,
        &arguments.adapter,
        arguments.device,
        arguments.dtype,
    )?;
    let expected = Expected::of(&teacher.tokenizer, teacher.decoder.config().vocab_size)?;
    let data = Data::new(arguments);
    let summary = if arguments.verify {
        verify(arguments, &teacher, &expected, &data)?
    } else {
        capture(arguments, &teacher.decoder, &teacher.tokenizer)?
    };
    if json {
        println!("{summary}");
    } else {
        tracing::info!(
            "{}: {summary} in {:.1} s",
            arguments.output.display(),
            started.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

/// Asks the teacher about every record that the shard's file lacks.
pub(super) fn capture(
    arguments: &CaptureArguments,
    teacher: &Decoder,
    tokenizer: &Tokenizer,
) -> Result<serde_json::Value> {
    let data = Data::new(arguments);
    let expected = Expected::of(tokenizer, teacher.config().vocab_size)?;
    let header = header(arguments, &expected)?;
    let shard = arguments.shard;
    check_split(&arguments.output, shard)?;
    let path = shard_file(&arguments.output, shard);
    let mut writer = CaptureWriter::open(&path, &header).map_err(limbeck_distill::Error::from)?;
    if writer.cut_bytes() > 0 {
        tracing::warn!(bytes = writer.cut_bytes(), "cut off what a killed run had half-written");
    }
    let plan = data.survey(tokenizer, shard, &writer)?;
    if plan.left_out > 0 {
        let max_length = arguments.max_length;
        tracing::warn!(left_out = plan.left_out, max_length, "records left out as too long");
    }
    let progress = Progress::new("capture", plan.tokens + plan.tokens_done, "tokens");
    progress.skip(plan.tokens_done);
    let asking = Instant::now();
    let mut captured = 0;
    let pad = tokenizer.pad_token_id();
    data.for_each_batch(tokenizer, shard, &mut |batch| {
        let missing = missing(&writer, batch)?;
        if missing.iter().any(|&is_missing| is_missing) {
            // The whole batch, as a run that was not killed would ask it: its results then
            // are the same to the bit.
            let records = ask(teacher, batch, &header, pad)?;
            for ((example, record), _) in
                batch.iter().zip(&records).zip(&missing).filter(|(_, missing)| **missing)
            {
                writer
                    .append(&example.id, &example.tokens, record)
                    .map_err(limbeck_distill::Error::from)?;
                captured += 1;
                progress.inc(num_inputs(example));
            }
        }
        Ok(())
    })?;
    progress.finish();
    let seconds = asking.elapsed().as_secs_f64();
    let (records, bytes) = (writer.num_records(), writer.written_bytes());
    writer.finish().map_err(limbeck_distill::Error::from)?;
    Ok(json!({
        "file": path,
        "records": records,
        "captured_records": captured,
        "left_out": plan.left_out,
        "positions": plan.positions,
        "bytes": bytes,
        "bytes_per_position": bytes as f64 / (plan.positions.max(1)) as f64,
        "tokens": plan.tokens,
        "tokens_per_second": plan.tokens as f64 / seconds.max(1e-9),
        "peak_memory_bytes": limbeck_run::peak_memory_bytes(),
    }))
}

/// Reads a capture whole and asks the teacher again about some of its records.
fn verify(
    arguments: &CaptureArguments,
    teacher: &ModelFolder,
    expected: &Expected,
    data: &Data,
) -> Result<serde_json::Value> {
    let store = CapturedTeacher::open(std::slice::from_ref(&arguments.output), expected)
        .map_err(limbeck_distill::Error::from)?;
    let stored = store.header();
    let own = Header {
        top_k: stored.top_k,
        temperature: stored.temperature,
        dtype: stored.dtype.clone(),
        ..header(arguments, expected)?
    };
    if let Some((what, expected, found)) = own.difference(stored) {
        let path = arguments.output.clone();
        let error = CaptureError::Differs { path, what, expected, found };
        return Err(limbeck_distill::Error::from(error).into());
    }
    let progress = Progress::new("verify", store.len() as u64, "records");
    let is_exact = arguments.dtype == DType::Float32 && stored.dtype == arguments.dtype.to_string();
    let noise = if is_exact { NOISE_FLOAT32 } else { NOISE_HALF };
    let pad = teacher.tokenizer.pad_token_id();
    let (mut checked, mut asked, mut worst) = (0, 0, 0.0_f64);
    let mut absent = Vec::new();
    data.for_each_batch(&teacher.tokenizer, Shard::WHOLE, &mut |batch| {
        let mut records = Vec::new();
        for example in batch {
            match store.get(&example.id, &example.tokens).map_err(limbeck_distill::Error::from)? {
                Some(record) => records.push((*example, record)),
                None => absent.push(example.id.clone()),
            }
        }
        checked += records.len();
        progress.inc(records.len() as u64);
        // Evenly over the data: as many of what was read so far as of the whole.
        let due = (arguments.sample * checked).div_ceil(store.len().max(1));
        if asked < due && !records.is_empty() {
            let answers = ask(&teacher.decoder, batch, stored, pad)?;
            for (example, record) in &records {
                let at = batch.iter().position(|other| other.id == example.id);
                let Some(answer) = at.and_then(|at| answers.get(at)) else { continue };
                let difference = compare(&example.id, record, answer, noise)
                    .map_err(limbeck_distill::Error::from)?;
                worst = worst.max(difference);
                asked += 1;
            }
        }
        Ok(())
    })?;
    progress.finish();
    if let Some(first) = absent.first() {
        let (count, of) = (absent.len(), absent.len() + checked);
        let error = CaptureError::Missing { count, of, first: first.clone() };
        return Err(limbeck_distill::Error::from(error).into());
    }
    if checked < store.len() {
        let others = store.len() - checked;
        tracing::warn!(others, "records of the capture that are not in the data");
    }
    Ok(json!({
        "records": store.len(),
        "read": checked,
        "asked_again": asked,
        "worst_difference": worst,
        "top_k": stored.top_k,
        "temperature": stored.temperature,
    }))
}

fn header(arguments: &CaptureArguments, expected: &Expected) -> Result<Header> {
    let folder = &arguments.teacher;
    let mut hashes = BTreeMap::from([("teacher".to_owned(), sha256_path(folder)?)]);
    for (index, adapter) in arguments.adapter.iter().enumerate() {
        hashes.insert(format!("adapter {index}"), sha256_path(adapter)?);
    }
    let name = folder.canonicalize().unwrap_or_else(|_| folder.clone());
    Ok(Header {
        top_k: arguments.top_k,
        temperature: arguments.temperature,
        vocab_size: expected.vocab_size,
        tokenizer_hash: expected.tokenizer_hash.clone(),
        template_hash: expected.template_hash.clone(),
        teacher: name.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        teacher_config_hash: sha256_file(&folder.join("config.json"))?,
        teacher_hash: digest(&hashes),
        dtype: arguments.dtype.to_string(),
    })
}

fn shard_file(folder: &Path, shard: Shard) -> PathBuf {
    folder.join(format!("{}-of-{}.{EXTENSION}", shard.index, shard.count))
}

/// A folder holds the shards of one split; those of two would hold records twice.
fn check_split(folder: &Path, shard: Shard) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    let files = match capture_files(&[folder.to_owned()]) {
        Err(CaptureError::NoFile { .. }) => return Ok(()),
        other => other.map_err(limbeck_distill::Error::from)?,
    };
    let suffix = format!("-of-{}", shard.count);
    for file in files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !stem.ends_with(&suffix) {
            return Err(UsageError {
                message: format!("{} is no shard of {}", file.display(), shard.count),
                hint: "use the N of the first run, or another --output".to_owned(),
            }
            .into());
        }
    }
    Ok(())
}

/// Which examples of a batch the file lacks.
fn missing(writer: &CaptureWriter, batch: &[&Example]) -> Result<Vec<bool>> {
    let mut missing = Vec::with_capacity(batch.len());
    for example in batch {
        let contains =
            writer.contains(&example.id, &example.tokens).map_err(limbeck_distill::Error::from)?;
        missing.push(!contains);
    }
    Ok(missing)
}

fn num_inputs(example: &Example) -> u64 {
    example.tokens.len().saturating_sub(1) as u64
}

/// The records, rendered as training renders them, with even weights: a later run with
/// other weights then finds every position that it needs.
struct Data {
    source: JsonlSource,
    config: TrainConfig,
}

/// What there is to do.
#[derive(Default)]
struct Survey {
    /// Inputs of the examples to be captured.
    tokens: u64,
    /// Inputs of those that were captured before.
    tokens_done: u64,
    /// Positions that carry a loss, of all of them.
    positions: u64,
    /// Records too long.
    left_out: usize,
}

impl Data {
    fn new(arguments: &CaptureArguments) -> Self {
        let folder = DataFolder::new(&arguments.data);
        let mut paths = vec![folder.train];
        paths.extend(Some(folder.validation).filter(|path| path.exists()));
        let config = TrainConfig {
            max_length: arguments.max_length,
            micro_batch_tokens: arguments.micro_batch_tokens,
            ..TrainConfig::default()
        };
        Self { source: JsonlSource { paths }, config }
    }

    /// Renders everything once: what cannot be captured is known before the teacher works.
    fn survey(
        &self,
        tokenizer: &Tokenizer,
        shard: Shard,
        writer: &CaptureWriter,
    ) -> Result<Survey> {
        let mut survey = Survey::default();
        survey.left_out = self.for_each_batch(tokenizer, shard, &mut |batch| {
            let missing = missing(writer, batch)?;
            for (example, missing) in batch.iter().zip(missing) {
                let inputs = num_inputs(example);
                *(if missing { &mut survey.tokens } else { &mut survey.tokens_done }) += inputs;
                survey.positions += loss_positions(example).len() as u64;
            }
            Ok(())
        })?;
        Ok(survey)
    }

    /// Hands out the micro-batches of a shard, which depend only on the data: neither on
    /// what was captured before nor on the number of shards. Returns how many records of
    /// the whole data are too long.
    fn for_each_batch(
        &self,
        tokenizer: &Tokenizer,
        shard: Shard,
        use_batch: &mut dyn FnMut(&[&Example]) -> Result<()>,
    ) -> Result<usize> {
        let mut ids = HashSet::new();
        let (mut left_out, mut num_batches) = (0, 0);
        let mut records = self.source.open().context("data")?;
        loop {
            let window =
                records.by_ref().take(WINDOW).collect::<Result<Vec<_>, _>>().context("data")?;
            if window.is_empty() {
                return Ok(left_out);
            }
            for record in &window {
                if !ids.insert(record.id.clone()) {
                    return Err(limbeck_core::Error::Json {
                        path: self.source.paths[0].clone(),
                        expected: "ids that differ".to_owned(),
                        found: format!("{:?} again", record.id),
                    }
                    .into());
                }
            }
            let examples = dataset::examples(tokenizer, &window, &self.config, &|_| false)?;
            left_out += window.len() - examples.len();
            let budget = self.config.micro_batch_tokens;
            let mut sampler = Sampler::new(&examples, budget, 0, SamplerState::default());
            for _ in 0..sampler.epoch_length() {
                let batch: Vec<&Example> =
                    sampler.next_micro_batch().into_iter().map(|index| &examples[index]).collect();
                if shard.has(num_batches) {
                    use_batch(&batch)?;
                }
                num_batches += 1;
            }
        }
    }
}
