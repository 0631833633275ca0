//! `limbeck quantize`: packed linear layers in a checkpoint that others load.

pub(crate) mod calibration;
pub(crate) mod gate;
mod repair;
mod table;

use std::path::Path;

use anyhow::{Context as _, Result};
use limbeck_core::{DType, Tokenizer};
use limbeck_cot_data::read_jsonl;
use limbeck_model::Decoder;
use limbeck_model::gguf::TensorType;
use limbeck_quant::{Format, LayerReport, Residency, quantize_resumably, save_gguf};
use limbeck_run::Progress;
use limbeck_run::config::{apply_overrides, load_table, parse};

use super::announce;
use crate::cli::QuantizeArguments;
use crate::memory::release_freed;
use crate::model_folder::ModelFolder;
use crate::stage::Stage;
pub(crate) use table::QuantizeTable;

/// Calibration sequences, and tokens of each, that the folder's logits are compared on.
const PROOF_SEQUENCES: usize = 4;
const PROOF_TOKENS: usize = 32;

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
    // As it is stored: a copy in float32 would double what is held.
    let ModelFolder { mut decoder, tokenizer } = ModelFolder::open_frozen(
        &arguments.model,
        options.device,
        DType::Float32,
        Residency::Dense,
    )?;
    release_freed();
    let texts = calibration::read(&tokenizer, &arguments.calibration, config.calibration_records)
        .context("calibration data")?;
    let sequences = &texts.sequences;
    let repair_bytes = repair::peak_bytes(&decoder, &texts, &table.repair);
    let lessons = repair::lessons(&decoder, &texts, &table.repair)?;
    // A large vocabulary takes more than some models' packed weights.
    drop(tokenizer);
    release_freed();
    let tables = [config.head_bits, config.embedding_bits];
    let tables = tables.into_iter().filter(|&bits| bits > 0).count();
    let layers = (decoder.linear_names().len() + tables) as u64;
    let progress = Progress::new("quantize", layers, "layers");
    // A killed run finds here what it had finished.
    let finished = stage.folder().join("finished");
    std::fs::create_dir_all(&finished)
        .with_context(|| format!("cannot make {}", finished.display()))?;
    let mut on_layer = |_: usize, _: usize, layer: &LayerReport| {
        progress.set_message(layer.name.clone());
        progress.inc(1);
    };
    let report = quantize_resumably(&mut decoder, sequences, config, &finished, &mut on_layer)?;
    progress.finish();
    if report.resumed_blocks > 0 {
        tracing::info!("{} blocks were finished by an earlier run", report.resumed_blocks);
    }
    // The dense matrices are gone; what proves the folder needs room of its own.
    release_freed();
    if let Some(lessons) = lessons
        && let Some(repair) = repair::run(&mut decoder, lessons, &table.repair)?
    {
        stage.metric("kl_before_repair", repair.before);
        stage.metric("kl_after_repair", repair.after);
    }
    std::fs::remove_dir_all(&finished)
        .with_context(|| format!("cannot remove {}", finished.display()))?;
    save(&decoder, &arguments.model, config.format, stage.folder(), sequences)?;
    stage.metric("bits", report.bits);
    stage.metric("average_bits", report.average_bits);
    stage.metric("calibration_tokens", report.calibration_tokens);
    stage.metric("predicted_bytes", report.predicted_bytes.max(repair_bytes));
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
        let tokenizer = Tokenizer::load(&arguments.model)?;
        let original =
            ModelFolder::open(&arguments.model, &[], options.device, DType::Float32)?.decoder;
        let gate = gate::measure(&original, &decoder, &tokenizer, &records, &table.gate)?;
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

/// Writes the folder, with the tokenizer of `model`, and proves that it computes what the decoder
/// does, on a few of the sequences.
fn save(
    decoder: &Decoder,
    model: &Path,
    format: Format,
    folder: &Path,
    sequences: &[Vec<i64>],
) -> Result<()> {
    if format == Format::Gguf {
        let path = folder.join("model.gguf");
        let exported = save_gguf(decoder, model, &path, TensorType::Q8_0)?;
        for warning in &exported.warnings {
            tracing::warn!("{warning}");
        }
        return Ok(());
    }
    let shown: Vec<Vec<i64>> = sequences
        .iter()
        .take(PROOF_SEQUENCES)
        .map(|tokens| tokens[..tokens.len().min(PROOF_TOKENS)].to_vec())
        .collect();
    limbeck_quant::save_proved_on(decoder, folder, DType::BFloat16, &shown)?;
    Ok(Tokenizer::copy_files_of(model, folder)?)
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
