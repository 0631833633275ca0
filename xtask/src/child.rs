//! Running other programs.

use std::io;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::failure::Failure;

/// Runs a program with our terminal; its exit code becomes ours if it fails.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {what}"))?;
    if status.success() { Ok(()) } else { Err(Failure::of_child(what, status).into()) }
}

/// As [`run`], with the program's stdout going to our stderr: our stdout is for results.
pub(crate) fn run_aside(what: &str, command: &mut Command) -> Result<()> {
    run(what, command.stdout(io::stderr()))
}

/// The stdout of a program that succeeded; its stderr is ours.
pub(crate) fn output_of(what: &str, command: &mut Command) -> Result<String> {
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run {what}"))?;
    if !output.status.success() {
        return Err(Failure::of_child(what, output.status).into());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{what} wrote no UTF-8"))
}
