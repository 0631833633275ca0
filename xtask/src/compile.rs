//! Builds the `limbeck` program: quietly with progress, and with all of cargo's output if
//! it fails.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use limbeck_run::Progress;

use crate::failure::Failure;
use crate::workspace::Workspace;

/// Builds in release and gives the program's path.
pub(crate) fn limbeck(workspace: &Workspace) -> Result<PathBuf> {
    let mut command = workspace.cargo();
    command.args(["build", "--release", "--package", "limbeck"]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let stderr = child.stderr.take().context("cargo's output is not there")?;
    let (sender, lines) = channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });

    let mut output = Vec::new();
    // Made at the first crate: most runs have nothing to build.
    let mut progress = None;
    loop {
        match lines.recv_timeout(Duration::from_secs(1)) {
            Ok(line) => {
                if let Some(package) = line.trim_start().strip_prefix("Compiling ") {
                    let progress =
                        progress.get_or_insert_with(|| Progress::new("build", 0, "crates"));
                    let name = package.split(' ').next().unwrap_or_default();
                    progress.set_message(format!("started last: {name}"));
                    progress.inc(1);
                }
                output.push(line);
            }
            // One C++ file takes minutes: show that time passes.
            Err(RecvTimeoutError::Timeout) => {
                if let Some(progress) = &progress {
                    progress.inc(0);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    // It ends with the channel, and has nothing to return.
    let _ = reader.join();
    let status = child.wait().context("cannot wait for cargo")?;
    if let Some(progress) = progress {
        progress.finish();
    }
    if !status.success() {
        eprintln!("{}", output.join("\n"));
        return Err(Failure::of_child("building limbeck", status).into());
    }
    workspace.limbeck()
}
