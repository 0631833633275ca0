//! `limbeck evaluate`: accuracy, chains and cost on tasks.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use limbeck_cot_data::CotRecord;
use limbeck_evaluate::attention::{AttentionMap, attention_of_tasks};
use limbeck_evaluate::chain::ask_of_samples;
use limbeck_evaluate::{
    Divergence, EvaluateConfig, Evaluation, Journal, Replies, Subject, Task, evaluate_replies,
    evaluate_tasks, weight_bytes,
};
use limbeck_run::{Manifest, Progress};

use super::quantize::gate::chains;
use super::{announce, stage_config};
use crate::adapter_source;
use crate::cli::{EvaluateArguments, UsageError};
use crate::model_folder::ModelFolder;
use crate::stage::Stage;

/// What a run has answered so far, in the folder in the making.
const JOURNAL: &str = "journal.jsonl";

pub(crate) fn run(arguments: &EvaluateArguments, json: bool) -> Result<()> {
    let options = &arguments.stage;
    let config: EvaluateConfig = stage_config(options)?;
    let tasks = read_tasks(&arguments.task)?;
    let files: Vec<PathBuf> = tasks.iter().flat_map(|task| task.files.clone()).collect();
    let mut inputs: Vec<(&str, &Path)> =
        arguments.task.iter().map(|path| ("task", path.as_path())).collect();
    inputs.extend(files.iter().map(|path| ("task data", path.as_path())));
    let mut config_value = serde_json::to_value(&config)?;
    if arguments.products.int8_activations {
        config_value["int8_activations"] = true.into();
    }
    if let Some(file) = &arguments.replies {
        inputs.push(("replies", file));
        inputs.extend(arguments.teacher.as_deref().map(|path| ("teacher", path)));
        let stage = Stage::begin("evaluate", options, config_value, &inputs)?;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = arguments.name.clone().unwrap_or(stem);
        let mut evaluation = evaluate_replies(&name, tasks, &Replies::read(file)?, &config)?;
        ask_teacher(&mut evaluation, arguments)?;
        return finish(stage, &evaluation, arguments, json);
    }
    let model = arguments.model.as_deref().context("--model or --replies")?;
    let folder_name = model.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = arguments.name.clone().unwrap_or(folder_name);
    let adapters =
        adapter_source::folders(model, &arguments.adapter, arguments.registry.as_deref())?;
    inputs.push(("model", model));
    inputs.extend(adapters.iter().map(|path| ("adapter", path.as_path())));
    inputs.extend(arguments.against.as_deref().map(|path| ("against", path)));
    inputs.extend(arguments.teacher.as_deref().map(|path| ("teacher", path)));
    let mut stage = Stage::begin("evaluate", options, config_value, &inputs)?;

    let records: Vec<CotRecord> = tasks
        .iter()
        .flat_map(|task| &task.problems)
        .map(|problem| &problem.record)
        .filter(|record| !record.thought_process.is_empty())
        .cloned()
        .collect();
    let (dtype, products) = (arguments.dtype, arguments.products);
    let opened = ModelFolder::open_with(model, &adapters, options.device, dtype, products)?;
    let subject = Subject { name: &name, decoder: &opened.decoder, tokenizer: &opened.tokenizer };
    let maps = attention_of_tasks(subject, &tasks, config.attention)?;
    if !maps.is_empty() {
        AttentionMap::write(&maps, stage.folder())?;
    }
    let mut journal = Journal::open(&stage.folder().join(JOURNAL), stage.fingerprint())?;
    let mut evaluation = evaluate_tasks(subject, tasks, &config, &mut journal)?;
    for adapter in &adapters {
        evaluation.cost.weight_bytes += weight_bytes(adapter)?;
    }
    let made_by = adapters.last().map_or(model, PathBuf::as_path);
    evaluation.cost.trainable_parameters = trainable_parameters(made_by);
    if let Some(reference) = &arguments.against {
        let folder_name = reference.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = arguments.against_name.clone().unwrap_or(folder_name);
        let reference = ModelFolder::open(reference, &[], options.device, arguments.dtype)?;
        let chains = chains(&opened.tokenizer, &records)?;
        let progress = Progress::new("compare", chains.len() as u64, "chains");
        let divergence =
            Divergence::measure(&name, &reference.decoder, &opened.decoder, &chains, &mut || {
                progress.inc(1);
            })?;
        progress.finish();
        stage.metric("kl", divergence.mean_kl);
        if let Some(fit) = &mut evaluation.fit {
            fit.perplexity_ratio = Some(divergence.perplexity / divergence.reference_perplexity);
        }
        evaluation.divergence = Some(divergence);
    }
    ask_teacher(&mut evaluation, arguments)?;
    journal.remove()?;
    finish(stage, &evaluation, arguments, json)
}

/// Has the teacher, if there is one, look at the wrong chains.
fn ask_teacher(evaluation: &mut Evaluation, arguments: &EvaluateArguments) -> Result<()> {
    let Some(path) = &arguments.teacher else { return Ok(()) };
    let teacher = ModelFolder::open(path, &[], arguments.stage.device, arguments.dtype)?;
    let subject =
        Subject { name: "teacher", decoder: &teacher.decoder, tokenizer: &teacher.tokenizer };
    let config = evaluation.config.teacher.clone();
    let (asked, found) = ask_of_samples(subject, &mut evaluation.samples, &config)?;
    if asked > 0 {
        tracing::info!("of {asked} wrong chains whose text does not show it, {found} were located");
    }
    Ok(())
}

/// Weights that were trained for a folder, as its manifest says.
fn trainable_parameters(folder: &Path) -> Option<i64> {
    let manifest = Manifest::read(folder).ok()??;
    manifest.metrics.get("trainable_parameters").and_then(serde_json::Value::as_i64)
}

/// Reads the tasks, whose names must differ.
fn read_tasks(paths: &[PathBuf]) -> Result<Vec<Task>> {
    let mut names = HashSet::new();
    paths
        .iter()
        .map(|path| {
            let task = Task::read(path)?;
            if names.insert(task.name.clone()) {
                return Ok(task);
            }
            Err(UsageError {
                message: format!("two tasks are named {}", task.name),
                hint: "give one another `name` in its TOML file, or another file name".to_owned(),
            }
            .into())
        })
        .collect()
}

fn finish(
    mut stage: Stage,
    evaluation: &Evaluation,
    arguments: &EvaluateArguments,
    json: bool,
) -> Result<()> {
    evaluation.write(stage.folder())?;
    let overall = &evaluation.overall;
    stage.metric("n", overall.n);
    stage.metric("accuracy", overall.accuracy.value);
    stage.metric("completion", overall.cot_completion.value);
    stage.metric("tokens_per_second", evaluation.cost.tokens_per_second);
    let failed: u64 = evaluation.tasks.iter().flat_map(|task| task.failures.values()).sum();
    if failed > 0 {
        stage.metric("failed", failed);
    }
    let manifest = stage.finish()?;
    announce(&manifest, &arguments.stage.output, json)
}
