//! `check`: format, tidy, clippy and docs, cheapest first. Each runs whatever the others
//! found, so that one run shows everything.

mod rust_source;
mod tidy;

use std::process::Command;

use anyhow::{Context as _, Result};
use limbeck_run::Exit;

use crate::failure::Failure;
use crate::setup;
use crate::workspace::Workspace;

/// Runs all checks and fails at the end if any found something.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut failed = Vec::new();
    let mut step = |name: &'static str, passed: bool| {
        eprintln!("check {name}: {}", if passed { "ok" } else { "FAILED" });
        if !passed {
            failed.push(name);
        }
    };
    step("format", passes(workspace.cargo().args(["fmt", "--all", "--check"]))?);

    let findings = tidy::findings(workspace)?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    step("tidy", findings.is_empty());

    setup::ensure(workspace)?;
    let mut clippy = workspace.cargo();
    clippy.args(["clippy", "--release", "--workspace", "--all-targets", "--keep-going"]);
    step("clippy", passes(clippy.args(["--", "-D", "warnings"]))?);

    let mut doc = workspace.cargo();
    doc.args(["doc", "--release", "--no-deps", "--workspace", "--keep-going"]);
    step("docs", passes(doc.env("RUSTDOCFLAGS", "-Dwarnings"))?);

    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, format!("these checks failed: {}", failed.join(", "))).into())
}

fn passes(command: &mut Command) -> Result<bool> {
    Ok(command.status().context("cannot run cargo")?.success())
}
