//! One file per command.

mod ablation;
mod accuracy;
mod adapters;
mod analyze;
mod bench;
mod capture;
mod check_config;
mod convert;
mod data;
mod distill;
mod evaluate;
mod gate;
mod generate;
mod history;
mod lora;
mod lr_find;
mod quantize;
mod report;
mod score;
mod serve;
mod sft;
mod tokenizer;
mod training;

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use limbeck_run::Manifest;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use quantize::gate::GateFailed;

use crate::adapter_source;
use crate::cli::{CaptureArguments, Cli, Command, LoraCommand, MergeArguments, StageOptions};

/// Runs the command.
pub(crate) fn run(arguments: Cli) -> Result<()> {
    let json = arguments.json;
    match arguments.command {
        Command::Data(command) => data::run(command, json),
        Command::Tokenizer(command) => tokenizer::run(command, json),
        Command::Sft(arguments) => sft::run(&arguments, json),
        Command::LrFind(arguments) => lr_find::run(&arguments, json),
        Command::Distill(arguments) => distill::run(&arguments, json),
        Command::Capture(mut arguments) => {
            let CaptureArguments { teacher, adapter, registry, .. } = &arguments;
            arguments.adapter = adapter_source::folders(teacher, adapter, registry.as_deref())?;
            capture::run(&arguments, json)
        }
        Command::Lora(LoraCommand::Train { model, data, replay, sequence, stage }) => {
            if let Some(file) = sequence {
                return lora::sequence::run(&model, &file, &stage, json);
            }
            let data = data.context("--data or --sequence")?;
            lora::train(&model, &data, &replay, &stage, json)
        }
        Command::Lora(LoraCommand::Merge(arguments)) => {
            let MergeArguments { model, adapter, registry, .. } = &arguments;
            let adapters = std::slice::from_ref(adapter);
            let folders = adapter_source::folders(model, adapters, registry.as_deref())?;
            lora::merge(&arguments, &folders[0], json)
        }
        Command::Lora(LoraCommand::Export(arguments)) => lora::export::run(&arguments, json),
        Command::Lora(LoraCommand::Combine(arguments)) => lora::combine::run(&arguments, json),
        Command::Adapters(arguments) => adapters::run(&arguments, json),
        Command::Quantize(arguments) => quantize::run(&arguments, json),
        Command::Evaluate(arguments) => evaluate::run(&arguments, json),
        Command::Analyze(arguments) => analyze::run(&arguments, json),
        Command::Report(arguments) => report::run(&arguments, json),
        Command::Gate(arguments) => gate::run(&arguments, json),
        Command::History(arguments) => history::run(&arguments, json),
        Command::Ablation(arguments) => ablation::run(&arguments, json),
        Command::Generate(arguments) => generate::run(&arguments, json),
        Command::Bench(arguments) => bench::run(&arguments, json),
        Command::Serve(arguments) => serve::run(&arguments, json),
        Command::Score(arguments) => score::run(&arguments, json),
        Command::Convert(arguments) => convert::run(&arguments, json),
        Command::CheckConfig(arguments) => check_config::run(&arguments),
    }
}

/// The stage's configuration: file, then overrides, then defaults.
fn stage_config<T>(options: &StageOptions) -> Result<T>
where
    T: DeserializeOwned + limbeck_run::config::Validate,
{
    table_config(options.config.as_deref(), &options.set)
}

/// A configuration of a file and overrides.
fn table_config<T>(file: Option<&Path>, overrides: &[String]) -> Result<T>
where
    T: DeserializeOwned + limbeck_run::config::Validate,
{
    let mut table = limbeck_run::config::load_table(file)?;
    limbeck_run::config::apply_overrides(&mut table, overrides)?;
    let source =
        file.map_or_else(|| "the command line".to_owned(), |path| path.display().to_string());
    Ok(limbeck_run::config::parse(&table, &source)?)
}

/// Says what a stage made: the manifest as JSON on stdout, or a line on stderr.
fn announce(manifest: &Manifest, output: &Path, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(manifest)?);
    } else {
        let figures: Vec<String> = manifest
            .metrics
            .iter()
            .map(|(name, value)| format!("{name} {}", brief(value)))
            .collect();
        tracing::info!(
            "{}: {} in {:.1} s{}{}",
            manifest.stage,
            output.display(),
            manifest.seconds,
            if figures.is_empty() { "" } else { ", " },
            figures.join(", ")
        );
    }
    Ok(())
}

fn brief(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if number.fract() != 0.0 => format!("{number:.4}"),
        _ => value.to_string(),
    }
}

/// Ids name records in outputs, so that two of the same are an error.
fn check_unique<'a>(ids: impl Iterator<Item = &'a str>, path: &Path) -> Result<()> {
    let mut seen = HashSet::new();
    for (index, id) in ids.enumerate() {
        if !seen.insert(id) {
            return Err(limbeck_core::Error::Json {
                path: path.to_owned(),
                expected: "ids that differ".to_owned(),
                found: format!("{id:?} again in line {}", index + 1),
            }
            .into());
        }
    }
    Ok(())
}

/// Reads a JSONL file; blank lines are skipped, errors name the line.
fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| limbeck_core::Error::Read { path: path.to_owned(), source })?;
    let mut items = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let item = serde_json::from_str(line);
        items.push(item.map_err(|error| line_error(path, index, "a request", &error.to_string()))?);
    }
    if items.is_empty() {
        return Err(line_error(path, 0, "at least one request", "an empty file"));
    }
    Ok(items)
}

/// An error in a line of an input file, counted from 0.
pub(crate) fn line_error(path: &Path, index: usize, expected: &str, found: &str) -> anyhow::Error {
    limbeck_core::Error::Json {
        path: path.to_owned(),
        expected: format!("{expected} in line {}", index + 1),
        found: found.to_owned(),
    }
    .into()
}
