//! `bench`: the criterion benches of the workspace, collected into one file and compared
//! with a stored one.

mod results;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use limbeck_run::{Exit, write_file};
use serde_json::Value;

use crate::bench::results::Results;
use crate::failure::Failure;
use crate::workspace::Workspace;
use crate::{child, setup, stdout};

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Compare with this file, as `--save` wrote it
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write the results to this file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// How much slower than the baseline a bench may be, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 15.0)]
    max_regression: f64,
    /// Only benches whose names hold this
    filter: Option<String>,
}

/// Runs the benches, prints a table, and fails with the gate's exit code if one is slower
/// than allowed.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let baseline = args.baseline.as_deref().map(read).transpose()?;
    setup::ensure(workspace)?;
    let targets = targets(&workspace.metadata()?);
    if targets.is_empty() {
        return Err(Failure::new(Exit::Failed, "the workspace has no benches").into());
    }
    let started = SystemTime::now();
    let mut command = workspace.cargo();
    command.arg("bench");
    for (package, bench) in &targets {
        command.args(["--package", package, "--bench", bench]);
    }
    if let Some(filter) = &args.filter {
        command.args(["--", filter]);
    }
    child::run_aside("cargo bench", &mut command)?;

    let results = Results::collect(&workspace.target_folder()?.join("criterion"), started)?;
    if results.is_empty() {
        return Err(Failure::new(Exit::Usage, "no bench has such a name").into());
    }
    if let Some(path) = &args.save {
        let text = serde_json::to_string_pretty(&results).context("the results")? + "\n";
        write_file(path, text.as_bytes())?;
    }
    stdout::text(results.table(baseline.as_ref()));
    let slower = baseline.map(|baseline| results.slower(&baseline, args.max_regression));
    match slower {
        Some(names) if !names.is_empty() => Err(Failure::new(
            Exit::Gate,
            format!("slower by more than {}%: {}", args.max_regression, names.join(", ")),
        )
        .into()),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> Result<Results> {
    let bytes = std::fs::read(path).map_err(|source| limbeck_run::Error::read(path, source))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("{} is no file that --save wrote: {error}", path.display());
        Failure::new(Exit::BadInput, message).into()
    })
}

/// Package and name of every bench target: `cargo bench` alone would also run the unit
/// tests, which do not understand criterion's arguments.
fn targets(metadata: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        for target in package["targets"].as_array().into_iter().flatten() {
            let kinds = target["kind"].as_array();
            let is_bench = kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind == "bench"));
            if let (true, Some(package), Some(bench)) =
                (is_bench, package["name"].as_str(), target["name"].as_str())
            {
                found.push((package.to_owned(), bench.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_bench_targets_are_run() {
        let metadata = json!({ "packages": [{ "name": "limbeck-train", "targets": [
            { "kind": ["lib"], "name": "limbeck_train" },
            { "kind": ["bench"], "name": "step" },
        ] }] });
        assert_eq!(targets(&metadata), [("limbeck-train".to_owned(), "step".to_owned())]);
    }

    #[test]
    fn a_wrong_baseline_is_bad_input() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("baseline.json");
        std::fs::write(&path, "[]").unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(crate::failure::diagnose(&error).0, 3);
        assert!(
            error.to_string().contains("baseline.json is no file that --save wrote"),
            "{error}"
        );
    }
}
