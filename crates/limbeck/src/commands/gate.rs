//! `limbeck gate`: evaluations held against limits, and the last result that kept them.

use std::path::{Path, PathBuf};

use anyhow::Result;
use limbeck_evaluate::{Evaluation, Gates, GatesConfig, LastGood};
use limbeck_run::write_file;

use super::{announce, stage_config};
use crate::cli::GateArguments;
use crate::stage::Stage;

/// Holds the figures where a gate is not passed. It stands beside the output, which is not made
/// then: a pipeline would take it for passed.
const FAILED: &str = "gates-failed.json";

pub(crate) fn run(arguments: &GateArguments, json: bool) -> Result<()> {
    let options = &arguments.stage;
    let config: GatesConfig = stage_config(options)?;
    let beside = |name: &str| options.output.with_file_name(name);
    let last_good = arguments.last_good.clone().unwrap_or_else(|| beside(LastGood::FOLDER));
    let named = [
        ("input", &arguments.input),
        ("reference", &arguments.reference),
        ("keep", &arguments.keep),
    ];
    let named: Vec<(String, &Path)> = named
        .into_iter()
        .flat_map(|(kind, paths)| {
            paths.iter().map(move |path| (format!("{kind} {}", file_name(path)), path.as_path()))
        })
        .collect();
    let inputs: Vec<(&str, &Path)> =
        named.iter().map(|(name, path)| (name.as_str(), *path)).collect();
    let mut stage = Stage::begin("gate", options, serde_json::to_value(&config)?, &inputs)?;

    let read = |paths: &[PathBuf]| -> Result<Vec<Evaluation>> {
        paths.iter().map(|path| Ok(Evaluation::read(path)?)).collect()
    };
    let (evaluations, references) = (read(&arguments.input)?, read(&arguments.reference)?);
    let gates = Gates::hold(&evaluations, &references, &config, options.seed)?;
    if gates.held.is_empty() {
        tracing::warn!("no limit is set in the table `gates`: everything passes");
    }
    let mut text = serde_json::to_string_pretty(&gates)?;
    text.push('\n');
    if !gates.passed {
        write_file(&beside(FAILED), text.as_bytes())?;
        if json {
            println!("{}", serde_json::to_string(&gates)?);
        }
        let good = LastGood::read(&last_good)?.map(|_| last_good.as_path());
        gates.require(good)?;
    }
    write_file(&stage.folder().join(Gates::FILE), text.as_bytes())?;
    stage.metric("gates", gates.held.len());
    // Before the stage counts as done: a killed process does both again.
    if !arguments.keep.is_empty() {
        let commit = std::env::var("LIMBECK_COMMIT").ok();
        LastGood::keep(&last_good, &arguments.keep, commit)?;
        tracing::info!("kept as the last good result: {}", last_good.display());
    }
    let manifest = stage.finish()?;
    // What failed before no longer does.
    match std::fs::remove_file(beside(FAILED)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(limbeck_run::Error::write(&beside(FAILED), error).into());
        }
        _ => {}
    }
    announce(&manifest, &options.output, json)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
