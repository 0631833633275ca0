//! `teacher`: trains the fixture teacher again from its recipe, and puts it into its place
//! in the repository.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use limbeck_run::{Error, OutputDir};

use crate::commands::TEACHER;
use crate::workspace::Workspace;
use crate::{pipeline, stdout};

/// Options of `teacher`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to put the teacher
    #[arg(long, value_name = "DIR", default_value = "fixtures/teacher")]
    output: PathBuf,
    /// Start again instead of resuming an earlier run
    #[arg(long)]
    fresh: bool,
}

/// The folder of the run that holds the trained model.
const MODEL: &str = "model";

/// Runs the recipe's stages and copies the model.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let stages = pipeline::Args {
        fresh: args.fresh,
        ..pipeline::Args::of_file(workspace.path("configs/teacher.toml"))
    };
    let Some((run, _)) = pipeline::run_rows(workspace, &stages, TEACHER)? else { return Ok(()) };
    let target =
        if args.output.is_absolute() { args.output.clone() } else { workspace.path(&args.output) };
    copy(&run.join(MODEL), &target)?;
    stdout::line(format!("teacher: {}", target.display()));
    stdout::line(format!("evaluation: {}", run.join("evaluate").display()));
    Ok(())
}

fn copy(from: &Path, target: &Path) -> Result<()> {
    let output = OutputDir::create(target)?;
    for entry in fs::read_dir(from).map_err(|source| Error::read(from, source))? {
        let path = entry.map_err(|source| Error::read(from, source))?.path();
        let name = path.file_name().unwrap_or_default();
        let hidden = name.to_string_lossy().starts_with('.');
        // Checkpoints are folders; a loadable model is files.
        if path.is_file() && !hidden {
            let bytes = fs::read(&path).map_err(|source| Error::read(&path, source))?;
            limbeck_run::write_file(&output.path().join(name), &bytes)?;
        }
    }
    Ok(output.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_replaces_the_old_one_without_checkpoints() {
        let root = tempfile::tempdir().unwrap();
        let (from, target) = (root.path().join("model"), root.path().join("fixtures/teacher"));
        fs::create_dir_all(from.join("checkpoint")).unwrap();
        fs::create_dir_all(&target).unwrap();
        for name in ["config.json", "manifest.json", "checkpoint/step"] {
            fs::write(from.join(name), "new").unwrap();
        }
        for name in ["config.json", "manifest.json", "stale.json"] {
            fs::write(target.join(name), "old").unwrap();
        }
        copy(&from, &target).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(&target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["config.json", "manifest.json"]);
        assert_eq!(fs::read(target.join("config.json")).unwrap(), b"new");
    }
}
