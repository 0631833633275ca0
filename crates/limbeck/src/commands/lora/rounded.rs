//! Merging where a base is rounded: an adapter that was trained above NF4 goes into the base
//! that was rounded for it, and one above a packed base into that, packed again. Neither is
//! the model that was trained; perplexities say by how much.

use std::path::Path;

use anyhow::Result;
use limbeck_core::{DType, Tokenizer};
use limbeck_infer::{Engine, EngineConfig};
use limbeck_lora::Adapter;
use limbeck_lora::registry::AdapterManifest;
use limbeck_model::Decoder;
use limbeck_quant::requantize::same_way;
use limbeck_quant::{CheckpointSettings, Method, Residency, quantization, requantize};
use limbeck_run::{Manifest, Progress};
use tch::Kind;

use super::super::quantize::calibration;
use super::{gate_sequences, merge_checked};
use crate::cli::{StageOptions, UsageError};
use crate::model_folder::ModelFolder;
use crate::stage::Stage;

/// Records that perplexities are measured on, at most.
const RECORDS: usize = 256;

/// What a merge may be given beside base and adapter.
#[derive(Debug, Clone, Copy)]
pub(super) struct MergeTexts<'a> {
    /// To measure perplexities on, instead of the gate's few lines.
    pub(super) data: Option<&'a Path>,
    /// To choose the codes of a packed base by, with GPTQ.
    pub(super) calibration: Option<&'a Path>,
}

impl MergeTexts<'_> {
    fn sequences(&self, tokenizer: &Tokenizer) -> Result<Vec<Vec<i64>>> {
        match self.data {
            Some(path) => Ok(calibration::read(tokenizer, path, RECORDS)?.sequences),
            None => gate_sequences(tokenizer),
        }
    }
}

/// Of a merged model whose adapter was trained above NF4: what it lost or gained by standing
/// on the base itself.
pub(super) fn compare_with_nf4(
    (model, adapter): (&Path, &Path),
    merged: &Decoder,
    tokenizer: &Tokenizer,
    texts: MergeTexts<'_>,
    options: &StageOptions,
    stage: &mut Stage,
) -> Result<()> {
    if !was_trained_on_nf4(adapter)? {
        return Ok(());
    }
    let sequences = texts.sequences(tokenizer)?;
    let after = perplexity(merged, &sequences)?;
    let mut rounded =
        ModelFolder::open_frozen(model, options.device, DType::Float32, Residency::Nf4)?;
    Adapter::load(&mut rounded.decoder, adapter)?;
    let trained = perplexity(&rounded.decoder, &sequences)?;
    tracing::info!(
        "the adapter was trained above the base in NF4: perplexity {trained:.3} there, \
         {after:.3} merged into the base itself"
    );
    stage.metric("perplexity_on_nf4_base", trained);
    stage.metric("perplexity", after);
    Ok(())
}

/// Whether the run that made the adapter rounded its base to NF4, by its own manifest or the
/// registry's; an adapter without one does not say so.
fn was_trained_on_nf4(adapter: &Path) -> Result<bool> {
    if let Ok(stored) = AdapterManifest::read(adapter) {
        return Ok(stored.config["base"] == "nf4");
    }
    Ok(Manifest::read(adapter)?.is_some_and(|manifest| manifest.config["base"] == "nf4"))
}

/// Merges into a packed base: dequantised, merged in float32, and the merged layers packed
/// again as the others are, by rounding or with GPTQ where there is text to calibrate on.
/// Returns whether the base was packed.
pub(super) fn merge_packed(
    (model, adapter): (&Path, &Path),
    texts: MergeTexts<'_>,
    options: &StageOptions,
    stage: &mut Stage,
) -> Result<bool> {
    let Some((path, json)) = quantization(model)? else {
        return match texts.calibration {
            None => Ok(false),
            Some(_) => Err(UsageError {
                message: format!("--calibration: the base {} is not packed", model.display()),
                hint: "leave it out: a dense base is merged without rounding".to_owned(),
            }
            .into()),
        };
    };
    let settings = CheckpointSettings::from_json(&json, &path)?;
    let method = if texts.calibration.is_some() { Method::Gptq } else { Method::Rtn };
    let config = same_way(&settings, &json, method);
    let ModelFolder { mut decoder, tokenizer } =
        ModelFolder::open(model, &[], options.device, DType::Float32)?;
    let sequences = texts.sequences(&tokenizer)?;
    let attached = Adapter::load(&mut decoder, adapter)?;
    let before = perplexity(&decoder, &sequences)?;
    let (mut merged, report) = merge_checked(decoder, &attached, &tokenizer, Kind::Float)?;
    stage.metric("modules", report.modules);
    stage.metric("max_logit_difference", report.max_logit_difference);

    let calibrating = match texts.calibration {
        Some(path) => calibration::read(&tokenizer, path, config.calibration_records)?.sequences,
        None => Vec::new(),
    };
    let progress = Progress::new("requantize", report.modules as u64, "layers");
    requantize(&mut merged, &calibrating, &config, &mut |_, _, layer| {
        progress.set_message(layer.name.clone());
        progress.inc(1);
    })?;
    progress.finish();
    let after = perplexity(&merged, &sequences)?;
    tracing::info!(
        "packed again in {} bits: perplexity {after:.3}, {before:.3} with the adapter beside \
         the packed base ({:+.2}%)",
        config.bits,
        100.0 * (after / before - 1.0)
    );
    stage.metric("perplexity_before", before);
    stage.metric("perplexity", after);
    limbeck_quant::save(&merged, stage.folder(), DType::BFloat16)?;
    tokenizer.copy_files(stage.folder())?;
    Ok(true)
}

/// exp of the mean negative log-probability of a token given those before it, of sequences cut
/// to what the model takes.
fn perplexity(decoder: &Decoder, sequences: &[Vec<i64>]) -> Result<f64> {
    let longest = decoder.config().max_position_embeddings as usize;
    let cut = |sequence: &Vec<i64>| sequence[..sequence.len().min(longest)].to_vec();
    let sequences: Vec<Vec<i64>> = sequences.iter().map(cut).collect();
    let scores = Engine::new(decoder, EngineConfig::default())?.score(&sequences)?;
    let logprobs: Vec<f64> = scores.iter().flatten().flatten().map(|&value| value.into()).collect();
    Ok((-logprobs.iter().sum::<f64>() / logprobs.len().max(1) as f64).exp())
}
