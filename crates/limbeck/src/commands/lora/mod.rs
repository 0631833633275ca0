//! `limbeck lora`: adapters in PEFT's format, trained and merged.

mod base;
pub(crate) mod combine;
pub(crate) mod export;
mod rounded;
pub(crate) mod sequence;

use std::path::{Path, PathBuf};

use anyhow::Result;
use limbeck_core::{DType, Tokenizer};
use limbeck_lora::{Adapter, LoraConfig, MergeGate, MergeReport, merge as merge_adapter};
use limbeck_model::Decoder;
use tch::Kind;

use self::rounded::MergeTexts;
use super::training::{self, Examples};
use super::{announce, stage_config};
use crate::adapter_source;
use crate::cli::{MergeArguments, StageOptions, UsageError};
use crate::dataset::{self, DataFolder};
use crate::model_folder::ModelFolder;
use crate::stage::Stage;

pub(crate) fn train(
    model: &Path,
    data: &Path,
    replay: &[PathBuf],
    options: &StageOptions,
    json: bool,
) -> Result<()> {
    let mut config: LoraConfig = stage_config(options)?;
    config.train.mix.resolve_reference()?;
    base::choose_checkpointing(&mut config, model, options)?;
    let data = DataFolder::new(data);
    let mut inputs = data.inputs(&config.train)?;
    inputs.push(("model", model));
    let names: Vec<String> = (1..=replay.len()).map(|number| format!("replay {number}")).collect();
    inputs.extend(names.iter().map(String::as_str).zip(replay.iter().map(PathBuf::as_path)));
    let mut stage = Stage::begin("lora", options, serde_json::to_value(&config)?, &inputs)?;

    adapter_source::record_base(&mut stage, model)?;
    let footprint = base::Footprint::begin();
    let mut folder = base::open(model, &config, options)?;
    let seed = options.seed;
    let answer_only = |id: &str| config.is_answer_only(seed, id);
    let examples = Examples::render(
        &folder.tokenizer,
        &data.read_for(&config.train)?,
        &config.train,
        &answer_only,
    )?;
    let examples = with_replay(examples, replay, &folder.tokenizer, &mut config)?;
    folder.decoder.set_requires_grad(false)?;
    let base = model.display().to_string();
    let adapter = Adapter::attach(&mut folder.decoder, config.adapter(Some(base)), seed)?;
    footprint.record(&mut stage, &folder, &adapter.trainable_parameters());
    let ModelFolder { decoder, tokenizer } = folder;
    let share = adapter.trainable_share(&decoder);
    tracing::info!("{share}");
    let mut objective = adapter.objective(config.train.head_chunk_rows);
    training::train(
        "lora",
        &mut stage,
        options,
        &config.train,
        &tokenizer,
        &decoder,
        (adapter.parameter_groups(config.lora_plus_ratio), None),
        &examples,
        objective.as_mut(),
    )?;
    stage.metric("trainable_share", share.trainable as f64 / share.total as f64);
    adapter.save(stage.folder())?;
    training::drop_checkpoint(stage.folder())?;
    let manifest = stage.finish()?;
    announce(&manifest, &options.output, json)
}

/// The examples with records of earlier tasks among them, and the mix that draws from them.
fn with_replay(
    mut examples: Examples,
    earlier: &[PathBuf],
    tokenizer: &Tokenizer,
    config: &mut LoraConfig,
) -> Result<Examples> {
    if earlier.is_empty() {
        return Ok(examples);
    }
    if config.train.mix.is_on() {
        return Err(UsageError {
            message: "--replay and train.mix both say what is drawn how often".to_owned(),
            hint: "leave train.mix out: replay.share is the share of the earlier tasks".to_owned(),
        }
        .into());
    }
    let rendered = earlier
        .iter()
        .map(|path| {
            let (mut records, _) = DataFolder::new(path).read()?;
            records.truncate(config.replay.records);
            dataset::examples(tokenizer, &records, &config.train, &|_| false)
        })
        .collect::<Result<Vec<_>>>()?;
    let rendered: Vec<&[_]> = rendered.iter().map(Vec::as_slice).collect();
    (examples.train, config.train.mix) = config.replay.mix(&examples.train, &rendered);
    Ok(examples)
}

/// Texts that base, adapter and merged model are compared on: the merge needs no data set.
const GATE_PROMPTS: [&str; 4] = [
    "Start with 12. Add 30. What is the result?",
    "Who is the tallest of all, and why?",
    "1 2 3 4 5 6 7 8 9 0 + - * / = ( ) < >",
    "The quick brown fox jumps over the lazy dog near the river bank.",
];

/// Merges the adapter in `adapter_folder`, which is what the arguments name.
pub(crate) fn merge(arguments: &MergeArguments, adapter_folder: &Path, json: bool) -> Result<()> {
    let (model, options) = (arguments.model.as_path(), &arguments.stage);
    let (data, calibration) = (arguments.data.as_deref(), arguments.calibration.as_deref());
    let texts = MergeTexts { data, calibration };
    let mut inputs = vec![("model", model), ("adapter", adapter_folder)];
    inputs.extend(texts.data.map(|path| ("data", path)));
    inputs.extend(texts.calibration.map(|path| ("calibration", path)));
    let mut stage = Stage::begin("merge", options, serde_json::json!({}), &inputs)?;
    if rounded::merge_packed((model, adapter_folder), texts, options, &mut stage)? {
        let manifest = stage.finish()?;
        return announce(&manifest, &options.output, json);
    }
    let ModelFolder { mut decoder, tokenizer } =
        ModelFolder::open(model, &[], options.device, DType::Float32)?;
    let adapter = Adapter::load(&mut decoder, adapter_folder)?;
    let (merged, report) = merge_checked(decoder, &adapter, &tokenizer, Kind::BFloat16)?;
    stage.metric("modules", report.modules);
    stage.metric("max_logit_difference", report.max_logit_difference);
    stage.metric("mean_kl", report.mean_kl);
    stage.metric("top1_agreement", report.top1_agreement);
    let folders = (model, adapter_folder);
    rounded::compare_with_nf4(folders, &merged, &tokenizer, texts, options, &mut stage)?;
    training::save_model(&merged, &tokenizer, stage.folder())?;
    let manifest = stage.finish()?;
    announce(&manifest, &options.output, json)
}

/// Merges an attached adapter, and compares the merged model with the two apart.
pub(crate) fn merge_checked(
    decoder: Decoder,
    adapter: &Adapter,
    tokenizer: &Tokenizer,
    dtype: Kind,
) -> Result<(Decoder, MergeReport)> {
    let sequences = gate_sequences(tokenizer)?;
    let gate = MergeGate { sequences: &sequences, tolerance: MergeGate::default_tolerance(dtype) };
    Ok(merge_adapter(decoder, adapter, dtype, &gate)?)
}

fn gate_sequences(tokenizer: &Tokenizer) -> Result<Vec<Vec<i64>>> {
    Ok(GATE_PROMPTS.iter().map(|text| tokenizer.encode_document(text)).collect::<Result<_, _>>()?)
}
