//! The `limbeck` program as the stages are run with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::pipeline::runner::Runner;
use crate::workspace::Workspace;
use crate::{child, compile, setup};

/// A built program.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    version: String,
    /// Where it runs.
    root: PathBuf,
    commit: Option<String>,
}

impl Program {
    /// Builds it, with libtorch where that is not there yet.
    pub(crate) fn build(workspace: &Workspace) -> Result<Self> {
        setup::ensure(workspace)?;
        let path = compile::limbeck(workspace)?;
        Self::at(workspace, path)
    }

    /// One that is built.
    pub(crate) fn at(workspace: &Workspace, path: PathBuf) -> Result<Self> {
        let version = child::output_of("limbeck --version", Command::new(&path).arg("--version"))?;
        Ok(Self {
            path,
            version: version.trim().to_owned(),
            root: workspace.root().to_owned(),
            commit: workspace.commit(),
        })
    }

    /// The whole configuration with all defaults, after the program itself has checked it:
    /// before any work, and with the file's own lines in its errors.
    pub(crate) fn check_config(&self, file: &Path, overrides: &[String]) -> Result<Value> {
        let file = std::path::absolute(file).context("the configuration's path")?;
        let mut command = self.command();
        command.arg("check-config").arg(file);
        for text in overrides {
            command.args(["--set", text]);
        }
        let text = child::output_of("limbeck check-config", &mut command)?;
        serde_json::from_str(&text).context("limbeck check-config wrote no JSON")
    }

    /// Runs stages of a resolved configuration.
    pub(crate) fn runner(&self, config: Value) -> Runner {
        Runner {
            program: self.path.clone(),
            version: self.version.clone(),
            folder: self.root.clone(),
            config,
            commit: self.commit.clone(),
            threads: None,
            log: None,
        }
    }

    /// The program in the repository, without arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.root);
        command
    }
}
