//! `limbeck quantize`: packed linear layers in a checkpoint that others load.

pub(crate) mod gate;
mod table;

use std::path::Path;

use anyhow::{Context as _, Result};
use limbeck_core::{DType, Message, Tokenizer};
use limbeck_cot_data::read_jsonl;
use limbeck_distill::{NormTuning, NormTuningConfig, tune_norms};
use limbeck_model::Decoder;
use limbeck_model::gguf::TensorType;
use limbeck_quant::{Format, LayerReport, Residency, quantize_resumably, save_gguf};
use limbeck_run::Progress;
use limbeck_run::config::{apply_overrides, load_table, parse};
use limbeck_train::{Completion, Example, TokenWeights};

use super::announce;
use super::score::read_requests;
use crate::cli::QuantizeArguments;
use crate::memory::release_freed;
use crate::model_folder::ModelFolder;
use crate::stage::Stage;
pub(crate) use table::QuantizeTable;

/// Calibration sequences, and tokens of each, that the folder's logits are compared on.
const PROOF_SEQUENCES: usize = 4;
const PROOF_TOKENS: usize = 32;

/// What other families' templates mark turns with: a tokenizer that does not know a mark
/// spells it, and the model would be calibrated on what it never sees.
const TURN_MARKS: [&str; 6] =
    ["<|im_start|>", "<start_of_turn>", "<|start_header_id|>", "[INST]", "<｜User｜>", "<|user|>"];

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
    let sequences = calibration(&tokenizer, &arguments.calibration, config.calibration_records)
        .context("calibration data")?;
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
    let report = quantize_resumably(&mut decoder, &sequences, config, &finished, &mut on_layer)?;
    progress.finish();
    std::fs::remove_dir_all(&finished)
        .with_context(|| format!("cannot remove {}", finished.display()))?;
    // The dense matrices are gone; what proves the folder needs room of its own.
    release_freed();
    let judged = arguments.gate.is_some() && table.gate.records > 0;
    let original = if table.repair.steps > 0 || judged {
        Some(ModelFolder::open(&arguments.model, &[], options.device, DType::Float32)?.decoder)
    } else {
        None
    };
    if table.repair.steps > 0
        && let Some(original) = &original
        && let Some(tuning) = repair(original, &mut decoder, &sequences, &table.repair)?
    {
        stage.metric("kl_before_repair", tuning.before);
        stage.metric("kl_after_repair", tuning.after);
    }
    save(&decoder, &arguments.model, config.format, stage.folder(), &sequences)?;
    stage.metric("bits", report.bits);
    stage.metric("average_bits", report.average_bits);
    stage.metric("calibration_tokens", report.calibration_tokens);
    stage.metric("predicted_bytes", report.predicted_bytes);
    stage.metric("packed_bytes", report.packed_bytes);
    stage.metric("original_bytes", report.original_bytes);
    if let Some(error) = report.mean_output_error() {
        stage.metric("mean_output_error", error);
    }
    write_json(stage.folder(), "quantization.json", &report)?;
    if let Some(records) = &arguments.gate
        && let Some(original) = &original
        && judged
    {
        let records = read_jsonl(records)?;
        if records.is_empty() {
            return Err(limbeck_evaluate::Error::NoRecords.into());
        }
        let tokenizer = Tokenizer::load(&arguments.model)?;
        let gate = gate::measure(original, &decoder, &tokenizer, &records, &table.gate)?;
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

/// Tunes the norms against the unquantised model, if asked.
fn repair(
    original: &Decoder,
    decoder: &mut Decoder,
    sequences: &[Vec<i64>],
    config: &NormTuningConfig,
) -> Result<Option<NormTuning>> {
    let progress = Progress::new("repair", config.steps as u64, "steps");
    let stored = DType::BFloat16.kind();
    let tuning = tune_norms(original, decoder, sequences, config, stored, &mut || progress.inc(1))?;
    progress.finish();
    if let Some(NormTuning { before, after, kept }) = tuning {
        let outcome = if kept { "kept" } else { "no gain, undone" };
        tracing::info!("repair: KL {before:.5} -> {after:.5} a held-out token ({outcome})");
    }
    Ok(tuning)
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
        check_marks(tokenizer, path, &text)?;
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

/// Refuses texts with the marks of a template that is not the model's.
fn check_marks(tokenizer: &Tokenizer, path: &Path, text: &str) -> Result<()> {
    let foreign = TURN_MARKS
        .into_iter()
        .find(|mark| text.contains(mark) && tokenizer.token_id(mark).is_none());
    let Some(mark) = foreign else { return Ok(()) };
    let line = text.lines().position(|line| line.contains(mark)).unwrap_or(0);
    let expected = "texts in this model's chat template";
    let found = format!("{mark}, which is no token of it; give records, which are rendered in it");
    Err(super::line_error(path, line, expected, &found))
}
