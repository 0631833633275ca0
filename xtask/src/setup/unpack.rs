//! Takes files out of wheels with Python's zipfile: pip needs Python anyway, and so this
//! program needs no zip and no inflate of its own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use limbeck_run::{Error, Exit, Progress};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::setup::python::Python;
use crate::setup::record::FileEntry;

const SCRIPT: &str = include_str!("unpack.py");

/// Which files of a wheel to take, and where to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    from: &'static str,
    to: &'static str,
    optional: bool,
}

impl Rule {
    /// `from` is a folder (ending with `/`) or a glob; a glob's matches go flat into `to`.
    pub(crate) const fn new(from: &'static str, to: &'static str) -> Self {
        Self { from, to, optional: false }
    }

    /// No error where nothing matches.
    pub(crate) const fn optional(self) -> Self {
        Self { optional: true, ..self }
    }
}

/// A wheel and what to take from it.
#[derive(Debug)]
pub(crate) struct Wheel {
    pub(crate) path: PathBuf,
    pub(crate) rules: Vec<Rule>,
}

impl Wheel {
    pub(crate) fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// Unpacks into an existing folder, with progress, and gives every file's size and hash,
/// which were checked against the wheel's own record.
pub(crate) fn unpack(
    python: &Python,
    wheels: &[Wheel],
    destination: &Path,
) -> Result<BTreeMap<String, FileEntry>> {
    let rule = |rule: &Rule| json!({ "from": rule.from, "to": rule.to, "optional": rule.optional });
    let wheel = |wheel: &Wheel| {
        let rules: Vec<Value> = wheel.rules.iter().map(rule).collect();
        json!({ "path": wheel.path.to_string_lossy(), "rules": rules })
    };
    let job = json!({
        "destination": destination.to_string_lossy(),
        "wheels": wheels.iter().map(wheel).collect::<Vec<_>>(),
    });
    let job_file = destination.join(".unpack.json");
    fs::write(&job_file, job.to_string()).map_err(|source| Error::write(&job_file, source))?;

    let mut child = python
        .command()
        .args(["-c", SCRIPT])
        .arg(&job_file)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run Python")?;
    let output = child.stdout.take().context("Python's output is not there")?;
    let mut files = BTreeMap::new();
    let mut progress = None;
    let mut failure = None;
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read Python's output")?;
        let message: Value =
            serde_json::from_str(&line).with_context(|| format!("Python wrote {line:?}"))?;
        if let Some(total) = message["total"].as_u64() {
            progress = Some(Progress::new("unpack", total, "B"));
        }
        if let (Some(progress), Some(done)) = (&progress, message["done"].as_u64()) {
            progress.inc(done);
        }
        if let (Some(name), Some(size), Some(sha256)) =
            (message["file"].as_str(), message["size"].as_u64(), message["sha256"].as_str())
        {
            files.insert(name.to_owned(), FileEntry { size, sha256: sha256.to_owned() });
        }
        if let Some(text) = message["error"].as_str() {
            failure =
                Some((text.to_owned(), message["kind"].as_str().unwrap_or_default().to_owned()));
        }
    }
    let status = child.wait().context("cannot wait for Python")?;
    if let Some((message, kind)) = failure {
        let failure = Failure::new(Exit::Failed, format!("cannot unpack: {message}"));
        return Err(match kind.as_str() {
            "wheel" => {
                for wheel in wheels {
                    // A bad wheel would be taken again by the next run.
                    let _ = fs::remove_file(&wheel.path);
                }
                failure.hint(
                    "the wheels were removed: run cargo xtask setup again to download them anew",
                )
            }
            "disk full" => {
                failure.hint("free 1.2 GB, or set LIMBECK_CACHE to a folder on another disk")
            }
            _ => failure,
        }
        .into());
    }
    if !status.success() {
        bail!("cannot unpack: Python ended with {status}");
    }
    if let Some(progress) = progress {
        progress.finish();
    }
    fs::remove_file(&job_file).map_err(|source| Error::write(&job_file, source))?;
    Ok(files)
}
