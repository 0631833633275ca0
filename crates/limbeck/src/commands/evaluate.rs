//! `limbeck evaluate`: accuracy, chains and cost on records.

use anyhow::Result;
use limbeck_cot_data::read_jsonl;
use limbeck_evaluate::{Divergence, EvaluateConfig, evaluate, weight_bytes};
use limbeck_run::Progress;

use super::quantize::gate::chains;
use super::{announce, check_unique, stage_config};
use crate::adapter_source;
use crate::cli::EvaluateArguments;
use crate::model_folder::ModelFolder;
use crate::stage::Stage;

pub(crate) fn run(arguments: &EvaluateArguments, json: bool) -> Result<()> {
    let options = &arguments.stage;
    let config: EvaluateConfig = stage_config(options)?;
    let model = &arguments.model;
    let folder_name = model.model.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = arguments.name.clone().unwrap_or(folder_name);
    let adapters =
        adapter_source::folders(&model.model, &model.adapter, model.registry.as_deref())?;
    let mut inputs = vec![("model", model.model.as_path())];
    inputs.extend(adapters.iter().map(|path| ("adapter", path.as_path())));
    inputs.extend(arguments.against.as_deref().map(|path| ("against", path)));
    inputs.extend(arguments.task.iter().map(|path| ("task", path.as_path())));
    let mut stage = Stage::begin("evaluate", options, serde_json::to_value(&config)?, &inputs)?;

    let mut records = Vec::new();
    for task in &arguments.task {
        records.extend(read_jsonl(task)?);
        check_unique(records.iter().map(|record| record.id.as_str()), task)?;
    }
    let opened = ModelFolder::open(&model.model, &adapters, options.device, model.dtype)?;
    let mut evaluation = evaluate(&name, &opened.decoder, &opened.tokenizer, &records, &config)?;
    for adapter in &adapters {
        evaluation.cost.weight_bytes += weight_bytes(adapter)?;
    }
    if let Some(reference) = &arguments.against {
        let name = reference.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let reference = ModelFolder::open(reference, &[], options.device, model.dtype)?;
        let chains = chains(&opened.tokenizer, &records)?;
        let progress = Progress::new("compare", chains.len() as u64, "chains");
        let divergence =
            Divergence::measure(&name, &reference.decoder, &opened.decoder, &chains, &mut || {
                progress.inc(1);
            })?;
        progress.finish();
        stage.metric("kl", divergence.mean_kl);
        evaluation.divergence = Some(divergence);
    }
    evaluation.write(stage.folder())?;
    let overall = &evaluation.overall;
    stage.metric("n", overall.n);
    stage.metric("accuracy", overall.accuracy.value);
    stage.metric("completion", overall.cot_completion.value);
    stage.metric("tokens_per_second", evaluation.cost.tokens_per_second);
    let manifest = stage.finish()?;
    announce(&manifest, &options.output, json)
}
