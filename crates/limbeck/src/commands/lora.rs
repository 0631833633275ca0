//! `limbeck lora`: adapters in PEFT's format, trained and merged.

mod base;
mod rounded;

use std::path::Path;

use anyhow::Result;
use limbeck_core::{DType, Tokenizer};
use limbeck_lora::{
    Adapter, FrozenHeadObjective, LoraConfig, MergeGate, MergeReport, merge as merge_adapter,
};
use limbeck_model::Decoder;
use limbeck_train::ParameterGroup;
use tch::Kind;

pub(crate) use rounded::MergeTexts;

use super::training::{self, Examples};
use super::{announce, stage_config};
use crate::cli::StageOptions;
use crate::dataset::DataFolder;
use crate::model_folder::ModelFolder;
use crate::stage::Stage;

pub(crate) fn train(model: &Path, data: &Path, options: &StageOptions, json: bool) -> Result<()> {
    let mut config: LoraConfig = stage_config(options)?;
    config.train.mix.resolve_reference()?;
    base::choose_checkpointing(&mut config, model, options)?;
    let data = DataFolder::new(data);
    let mut inputs = data.inputs(&config.train)?;
    inputs.push(("model", model));
    let mut stage = Stage::begin("lora", options, serde_json::to_value(&config)?, &inputs)?;

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
    folder.decoder.set_requires_grad(false)?;
    let base = model.display().to_string();
    let adapter = Adapter::attach(&mut folder.decoder, config.adapter(Some(base)), seed)?;
    footprint.record(&mut stage, &folder, &adapter.trainable_parameters());
    let ModelFolder { decoder, tokenizer } = folder;
    let share = adapter.trainable_share(&decoder);
    tracing::info!("{share}");
    let mut objective = FrozenHeadObjective { chunk_rows: config.train.head_chunk_rows };
    training::train(
        "lora",
        &mut stage,
        options,
        &config.train,
        &tokenizer,
        &decoder,
        (vec![ParameterGroup::all(adapter.trainable_parameters())], None),
        &examples,
        &mut objective,
    )?;
    stage.metric("trainable_share", share.trainable as f64 / share.total as f64);
    adapter.save(stage.folder())?;
    training::drop_checkpoint(stage.folder())?;
    let manifest = stage.finish()?;
    announce(&manifest, &options.output, json)
}

/// Texts that base, adapter and merged model are compared on: the merge needs no data set.
const GATE_PROMPTS: [&str; 4] = [
    "Start with 12. Add 30. What is the result?",
    "Who is the tallest of all, and why?",
    "1 2 3 4 5 6 7 8 9 0 + - * / = ( ) < >",
    "The quick brown fox jumps over the lazy dog near the river bank.",
];

pub(crate) fn merge(
    model: &Path,
    adapter_folder: &Path,
    texts: MergeTexts<'_>,
    options: &StageOptions,
    json: bool,
) -> Result<()> {
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
