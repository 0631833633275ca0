//! `limbeck quantize`: packed linear layers in a checkpoint that others load.

pub(crate) mod gate;
mod table;

use std::path::Path;

use anyhow::{Context as _, Result};
use limbeck_core::{DType, Message, Tokenizer};
use limbeck_cot_data::read_jsonl;
use limbeck_run::Progress;
use limbeck_run::config::{apply_overrides, load_table, parse};
use limbeck_train::{Completion, Example, TokenWeights};

use super::announce;
use super::score::read_requests;
use crate::cli::QuantizeArguments;
use crate::model_folder::ModelFolder;
use crate::stage::Stage;
pub(crate) use table::QuantizeTable;

pub(crate) fn run(arguments: &QuantizeArguments, json: bool) -> Result<()> {
    let options = &arguments.stage;
    let table = configuration(arguments)?;
    let config = &table.quantize;
    let mut inputs = vec![
        ("model", arguments.model.as_path()),
        ("calibration", arguments.calibration.as_path()),
    ];
    inputs.extend(arguments.gate.as_deref().map(|path| ("gate", path)));
    let mut stage = Stage::begin("quantize", options, serde_json::to_value(&table)?, &inputs)?;
    let ModelFolder { mut decoder, tokenizer } =
        ModelFolder::open(&arguments.model, &[], options.device, DType::Float32)?;
    let sequences = calibration(&tokenizer, &arguments.calibration, config.calibration_records)
        .context("calibration data")?;
    let layers = decoder.linear_names().len() as u64;
    let progress = Progress::new("quantize", layers, "layers");
    let report = limbeck_quant::quantize(&mut decoder, &sequences, config, &mut |_, _, layer| {
        progress.set_message(layer.name.clone());
        progress.inc(1);
    })?;
    progress.finish();
    limbeck_quant::save(&decoder, stage.folder(), DType::BFloat16)?;
    tokenizer.copy_files(stage.folder())?;
    stage.metric("bits", report.bits);
    stage.metric("calibration_tokens", report.calibration_tokens);
    stage.metric("packed_bytes", report.packed_bytes);
    stage.metric("original_bytes", report.original_bytes);
    if let Some(error) = report.mean_output_error() {
        stage.metric("mean_output_error", error);
    }
    write_json(stage.folder(), "quantization.json", &report)?;
    if let Some(records) = &arguments.gate
        && table.gate.records > 0
    {
        let records = read_jsonl(records)?;
        if records.is_empty() {
            return Err(limbeck_evaluate::Error::NoRecords.into());
        }
        let original = ModelFolder::open(&arguments.model, &[], options.device, DType::Float32)?;
        let gate = gate::measure(&original.decoder, &decoder, &tokenizer, &records, &table.gate)?;
        for check in &gate.checks {
            tracing::info!("gate: {check}");
        }
        if !gate.failures().is_empty() {
            return Err(gate::GateFailed::new(&gate, &report).into());
        }
        stage.metric("kl", gate.divergence.mean_kl);
        write_json(stage.folder(), "gate.json", &gate)?;
    }
    let manifest = stage.finish()?;
    announce(&manifest, &options.output, json)
}

/// File, then `--set`, then the flags that name a key of their own.
fn configuration(arguments: &QuantizeArguments) -> Result<QuantizeTable> {
    let options = &arguments.stage;
    let mut table = load_table(options.config.as_deref())?;
    let mut overrides = options.set.clone();
    let flags = [
        ("method", arguments.method.clone()),
        ("bits", arguments.bits.map(|bits| bits.to_string())),
        ("group_size", arguments.group_size.map(|size| size.to_string())),
        ("format", arguments.format.clone()),
    ];
    overrides
        .extend(flags.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", value?))));
    apply_overrides(&mut table, &overrides)?;
    let source = options.config.as_deref().map_or("the command line".into(), Path::to_string_lossy);
    Ok(parse(&table, &source)?)
}

fn write_json(folder: &Path, name: &str, value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(limbeck_run::write_file(&folder.join(name), &text)?)
}

/// Token sequences as the model sees them in use: records rendered by its chat template,
/// or `score`-style lines as they are.
pub(crate) fn calibration(
    tokenizer: &Tokenizer,
    path: &Path,
    limit: usize,
) -> Result<Vec<Vec<i64>>> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| limbeck_core::Error::Read { path: path.to_owned(), source })?;
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let is_record = serde_json::from_str::<serde_json::Value>(first)
        .is_ok_and(|value| value.get("thought_process").is_some());
    if !is_record {
        let requests = read_requests(tokenizer, path)?;
        return Ok(requests.into_iter().map(|request| request.tokens).take(limit).collect());
    }
    let mut sequences = Vec::new();
    for record in read_jsonl(path)?.iter().take(limit) {
        let reasoning = record.reasoning();
        let completion = Completion::Chain { reasoning: &reasoning, answer: &record.answer };
        let prompt = [Message::user(record.question.as_str())];
        let even = TokenWeights::default();
        let example =
            Example::render(tokenizer, &record.id, &prompt, completion, usize::MAX, &even)?;
        sequences.push(example.tokens);
    }
    Ok(sequences)
}
