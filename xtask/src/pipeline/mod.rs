//! `pipeline`: from a teacher to an evaluated 4-bit student, stage by stage.

mod fingerprint;
pub(crate) mod graph;
pub(crate) mod program;
pub(crate) mod runner;
pub(crate) mod settings;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};
use limbeck_run::{Error, Exit, config, format_duration, write_file};
use serde_json::{Value, json};

use crate::child;
use crate::commands::{PIPELINE, Row};
use crate::failure::Failure;
use crate::pipeline::graph::{Context, Stage};
use crate::pipeline::program::Program;
use crate::pipeline::runner::Outcome;
use crate::pipeline::settings::Settings;
use crate::stdout;
use crate::workspace::Workspace;

/// Options of `pipeline`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The pipeline file
    #[arg(long, value_name = "FILE", default_value = "configs/default.toml")]
    pub(crate) config: PathBuf,
    /// Overrides a key of the file, as table.key=value; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// The first stage to run
    #[arg(long, value_name = "STAGE")]
    pub(crate) from: Option<String>,
    /// The last stage to run
    #[arg(long, value_name = "STAGE")]
    pub(crate) to: Option<String>,
    /// Only say what would run
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Remove the outputs of the selected stages first
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Print the outcome as JSON instead of the table
    #[arg(long)]
    pub(crate) json: bool,
}

impl Args {
    /// The whole pipeline of a file.
    pub(crate) fn of_file(config: impl Into<PathBuf>) -> Self {
        Self {
            config: config.into(),
            overrides: Vec::new(),
            from: None,
            to: None,
            dry_run: false,
            fresh: false,
            json: false,
        }
    }
}

/// Runs the pipeline and prints the report's table.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let started = Instant::now();
    let finished = run_rows(workspace, args, PIPELINE);
    // A run that a gate stopped belongs to the history too.
    if !args.dry_run {
        record(workspace, args)?;
    }
    let Some((run, outcomes)) = finished? else { return Ok(()) };
    let report = run.join("report");
    if args.json {
        let stages: Vec<Value> = outcomes.iter().map(Outcome::to_json).collect();
        let page = report.join("report.html");
        let summary = json!({
            "run": run,
            "seconds": started.elapsed().as_secs_f64(),
            "stages": stages,
            "report": page.is_file().then_some(page),
        });
        stdout::line(format!("{summary:#}"));
        return Ok(());
    }
    if outcomes.iter().any(|outcome| outcome.label == "report") {
        let path = report.join("table.txt");
        let table = fs::read_to_string(&path).map_err(|source| Error::read(&path, source))?;
        stdout::text(table);
        stdout::line(format!("report: {}", report.join("report.html").display()));
        stdout::line(format!("history: {}", run.with_file_name("history.html").display()));
    }
    eprintln!("pipeline finished in {}", format_duration(started.elapsed()));
    Ok(())
}

/// Adds the run to the history beside it, and draws that anew: `history.sqlite` and
/// `history.html`. A run without evaluations has nothing to add.
fn record(workspace: &Workspace, args: &Args) -> Result<()> {
    let settings = settings(&config_file(workspace, &args.config), &args.overrides)?;
    let run = Context::new(workspace.root(), settings).run();
    let path = workspace.limbeck()?;
    if !run.join("evaluate").is_dir() || !path.is_file() {
        return Ok(());
    }
    let program = Program::at(workspace, path)?;
    let database = run.with_file_name("history.sqlite");
    let page = run.with_file_name("history.html");
    let history = |verb: &str, rest: &[&Path]| {
        let mut command = program.command();
        command.args(["history", verb, "--database"]).arg(&database).args(rest);
        child::output_of("limbeck history", &mut command)
    };
    history("add", &[&run])?;
    history("page", &[Path::new("--output"), &page])?;
    Ok(())
}

/// Runs the stages of a table of command lines. `None` after a dry run, else the run's
/// folder and what became of each stage.
pub(crate) fn run_rows(
    workspace: &Workspace,
    args: &Args,
    rows: &[Row],
) -> Result<Option<(PathBuf, Vec<Outcome>)>> {
    let file = config_file(workspace, &args.config);
    let settings = settings(&file, &args.overrides)?;

    let context = Context::new(workspace.root(), settings);
    let stages = graph::stages(rows, &context);
    let selected = graph::select(&stages, args.from.as_deref(), args.to.as_deref())?;

    runner::check_teacher(selected)?;

    let path = workspace.limbeck()?;
    if args.dry_run && !path.is_file() {
        stdout::line("limbeck is not built yet, so every stage would run:");
        for stage in selected {
            stdout::line(format!("{:20} limbeck {}", stage.label, stage.argv.join(" ")));
        }
        return Ok(None);
    }
    let program =
        if args.dry_run { Program::at(workspace, path)? } else { Program::build(workspace)? };
    let runner = program.runner(program.check_config(&file, &args.overrides)?);
    if args.dry_run {
        for line in runner.plan(selected)? {
            stdout::line(line);
        }
        return Ok(None);
    }

    let _lock = lock(&context.run())?;
    if args.fresh {
        clear(selected)?;
    }
    write_config(&context, &runner.config)?;
    Ok(Some((context.run(), runner.run(selected)?)))
}

/// A path given on the command line is relative to where the user is; a default's is to the
/// repository.
pub(crate) fn config_file(workspace: &Workspace, path: &Path) -> PathBuf {
    if path.exists() { path.to_owned() } else { workspace.path(path) }
}

/// The table `[pipeline]` of a file, overridden.
pub(crate) fn settings(file: &Path, overrides: &[String]) -> Result<Settings> {
    let mut table = config::load_table(Some(file))?;
    config::apply_overrides(&mut table, overrides)?;
    Ok(config::parse_section(&table, "pipeline", &file.display().to_string())?)
}

/// Writes the resolved configuration beside the outputs: as a whole, which a user can run
/// again, and each table as a file, which is what a stage reads.
pub(crate) fn write_config(context: &Context, config: &Value) -> Result<()> {
    let mut whole = config.clone();
    if let Some(tables) = whole.as_object_mut() {
        tables.insert("pipeline".to_owned(), serde_json::to_value(&context.settings)?);
        for (name, table) in tables.iter() {
            write_toml(&context.config_file(name), table)?;
        }
    }
    write_toml(&context.run().join("config.toml"), &whole)
}

fn write_toml(path: &Path, value: &Value) -> Result<()> {
    let table = toml::Table::try_from(without_nulls(value.clone()));
    let table = table.with_context(|| format!("{} cannot be written as TOML", path.display()))?;
    let text =
        format!("# Written by cargo xtask: every key with the value that was used.\n{table}");
    Ok(write_file(path, text.as_bytes())?)
}

/// TOML has no null: an option that is not set is a key that is not there.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(object) => Value::Object(
            object
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key, without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// Two pipelines in one folder would overwrite each other's stages.
pub(crate) fn lock(run: &Path) -> Result<File> {
    fs::create_dir_all(run).map_err(|source| Error::write(run, source))?;
    let path = run.join(".lock");
    let file = File::create(&path).map_err(|source| Error::write(&path, source))?;
    file.try_lock().map_err(|_| {
        Failure::new(Exit::Failed, format!("another pipeline is running in {}", run.display()))
            .hint("wait for it, or choose another folder with --set pipeline.output=…")
    })?;
    Ok(file)
}

/// Removes what the stages wrote, finished or not, and nothing else of the folder.
fn clear(stages: &[Stage]) -> Result<()> {
    for stage in stages {
        let name = stage.output.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for name in [name.clone(), format!(".{name}.partial"), format!(".{name}.old")] {
            let path = stage.output.with_file_name(name);
            if path.exists() {
                fs::remove_dir_all(&path).map_err(|source| Error::write(&path, source))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(run: &Path) -> Context {
        let output = run.to_string_lossy().into_owned();
        Context::new("/repo", Settings { output, ..Settings::default() })
    }

    #[test]
    fn nulls_are_left_out_of_toml() {
        let value = json!({ "a": null, "b": { "c": null, "d": [1, { "e": null }] } });
        assert_eq!(without_nulls(value), json!({ "b": { "d": [1, {}] } }));
    }

    #[test]
    fn the_configuration_is_written_whole_and_by_table() {
        let run = tempfile::tempdir().unwrap();
        let run = run.path();
        let context = context(run);
        let config = json!({ "lora": { "rank": 8, "train": { "steps": 5 } }, "data": {} });
        write_config(&context, &config).unwrap();
        let lora = config::load_table(Some(&run.join("config/lora.toml"))).unwrap();
        assert_eq!(lora["train"]["steps"], 5.into());
        let whole = config::load_table(Some(&run.join("config.toml"))).unwrap();
        assert_eq!(whole["lora"]["rank"], 8.into());
        assert_eq!(whole["pipeline"]["teacher"], "fixtures/teacher".into());
    }

    #[test]
    fn one_pipeline_at_a_time_in_a_folder() {
        let run = tempfile::tempdir().unwrap();
        let first = lock(run.path()).unwrap();
        let error = lock(run.path()).unwrap_err();
        assert!(error.to_string().starts_with("another pipeline is running in"), "{error}");
        drop(first);
        lock(run.path()).unwrap();
    }

    #[test]
    fn fresh_removes_outputs_and_nothing_else() {
        let run = tempfile::tempdir().unwrap();
        let run = run.path();
        for name in ["data", ".distilled.partial", "notes"] {
            fs::create_dir(run.join(name)).unwrap();
        }
        let context = context(run);
        clear(&graph::stages(PIPELINE, &context)).unwrap();
        let left: Vec<_> =
            fs::read_dir(run).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["notes"]);
    }
}
