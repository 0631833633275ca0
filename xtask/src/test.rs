//! `test`: all tests of the workspace, and one line at the end that sums them up.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result};
use limbeck_run::format_duration;

use crate::failure::Failure;
use crate::workspace::Workspace;
use crate::{setup, stdout};

/// Options of `test`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Further arguments of cargo test, such as a filter or `-p limbeck-core`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the tests; cargo's exit code becomes ours.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    setup::ensure(workspace)?;
    let arguments: Vec<&str> = args.arguments.iter().map(String::as_str).collect();
    run_cargo(workspace, "tests", &arguments, &[])
}

/// `cargo test --release --workspace` (less where `arguments` choose a package) with an
/// environment, its output passed on and summed up.
pub(crate) fn run_cargo(
    workspace: &Workspace,
    what: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<()> {
    let started = Instant::now();
    let mut command = workspace.cargo();
    command.args(["test", "--release", "--no-fail-fast"]);
    if !arguments
        .iter()
        .any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
    {
        command.arg("--workspace");
    }
    let mut child = command
        .args(arguments)
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let output = child.stdout.take().context("cargo's output is not there")?;
    let mut counts = Counts::default();
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read cargo's output")?;
        counts.add(&line);
        stdout::line(line);
    }
    let status = child.wait().context("cannot wait for cargo")?;
    stdout::line(format!("{what}: {counts} in {}", format_duration(started.elapsed())));
    if status.success() { Ok(()) } else { Err(Failure::of_child("cargo test", status).into()) }
}

/// Sums of cargo's `test result` lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Counts {
    fn add(&mut self, line: &str) {
        let Some((_, numbers)) =
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in numbers.split(';') {
            let Some((count, kind)) = part.trim().split_once(' ') else { continue };
            let count = count.parse().unwrap_or(0);
            match kind {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { passed, failed, ignored } = self;
        write!(formatter, "{passed} passed, {failed} failed, {ignored} ignored")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_summed() {
        let mut counts = Counts::default();
        counts.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.16s");
        counts
            .add("test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 9 filtered out");
        counts.add("test other::result ... ok");
        assert_eq!(counts, Counts { passed: 5, failed: 4, ignored: 1 });
    }
}
