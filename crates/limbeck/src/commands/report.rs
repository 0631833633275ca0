//! `limbeck report`: evaluations joined into one table and one page.

use std::path::{Path, PathBuf};

use anyhow::Result;
use limbeck_evaluate::Report;
use limbeck_evaluate::report::{RunComparison, runs, training};

use super::announce;
use crate::cli::ReportArguments;
use crate::stage::Stage;

pub(crate) fn run(arguments: &ReportArguments, json: bool) -> Result<()> {
    if let [first, second] = arguments.compare.as_slice() {
        return compare(first, second, arguments, json);
    }
    let options = &arguments.stage;
    let name = |path: &Path| {
        path.file_name().map_or_else(|| "input".to_owned(), |name| name.to_string_lossy().into())
    };
    let mut named: Vec<(String, PathBuf)> =
        arguments.input.iter().map(|path| (name(path), path.clone())).collect();
    // Of a model's folder only the metrics matter; whether they are there is said below.
    named.extend(arguments.training.iter().filter_map(|path| {
        let metrics = path.join(training::FILE);
        metrics.exists().then(|| (format!("training {}", name(path)), metrics))
    }));
    named.extend(
        arguments.domains.iter().map(|path| (format!("domain {}", name(path)), path.clone())),
    );
    named.extend(arguments.ablation.iter().map(|path| ("ablation".to_owned(), path.clone())));
    let inputs: Vec<(&str, &Path)> =
        named.iter().map(|(name, path)| (name.as_str(), path.as_path())).collect();
    let stage = Stage::begin("report", options, serde_json::json!({}), &inputs)?;
    let mut report = Report::read(&arguments.input)?
        .with_training(&arguments.training)?
        .with_domains(&arguments.domains)?;
    if let Some(file) = &arguments.ablation {
        report = report.with_ablation(file)?;
    }
    report.write(stage.folder())?;
    let manifest = stage.finish()?;
    if !json {
        print!("{}", report.table());
    }
    announce(&manifest, &options.output, json)
}

/// What changed from one run to another.
fn compare(first: &Path, second: &Path, arguments: &ReportArguments, json: bool) -> Result<()> {
    let options = &arguments.stage;
    let mut named: Vec<(String, PathBuf)> = Vec::new();
    for (place, run) in [("first", first), ("second", second)] {
        let evaluations = runs::evaluations(run)?;
        named.extend(
            evaluations.into_iter().map(|path| (format!("{place} {}", runs::name(&path)), path)),
        );
    }
    let inputs: Vec<(&str, &Path)> =
        named.iter().map(|(name, path)| (name.as_str(), path.as_path())).collect();
    let comparison = RunComparison::read(first, second, options.seed)?;
    let config = serde_json::json!({ "compare": [runs::name(first), runs::name(second)] });
    let stage = Stage::begin("report", options, config, &inputs)?;
    comparison.write(stage.folder())?;
    let manifest = stage.finish()?;
    if !json {
        print!("{}", comparison.table());
    }
    announce(&manifest, &options.output, json)
}
