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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::diagnose;

    /// Makes a wheel with a header, a library and a file that nobody takes; `record` is
    /// what RECORD says of the library.
    fn wheel(python: &Python, folder: &Path, record: &str) -> Wheel {
        const MAKE: &str = r#"
import base64, hashlib, sys, zipfile
path, record = sys.argv[1:]
files = {"torch/include/a/b.h": b"header", "torch/lib/libc10.so": b"library", "torch/x.py": b""}
with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
    rows = []
    for name, content in files.items():
        wheel.writestr(name, content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(content)}")
    if record:
        rows[1] = record
    wheel.writestr("torch-1.dist-info/RECORD", "\n".join(rows))
"#;
        let path = folder.join("torch-1-py3-none-any.whl");
        let made = python.command().args(["-c", MAKE]).arg(&path).arg(record).status().unwrap();
        assert!(made.success());
        let rules =
            vec![Rule::new("torch/include/", "include/"), Rule::new("torch/lib/libc*.so", "lib/")];
        Wheel { path, rules }
    }

    /// A place for the wheel and an empty one to unpack into.
    fn folders() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let destination = folder.path().join("destination");
        fs::create_dir(&destination).unwrap();
        (folder, destination)
    }

    fn python() -> Option<Python> {
        let python = Python::find();
        if python.is_none() {
            println!("skipped: there is no python3 here");
        }
        python
    }

    #[test]
    fn what_the_rules_name_is_unpacked_and_hashed() {
        let Some(python) = python() else { return };
        let (folder, destination) = folders();
        let files = unpack(&python, &[wheel(&python, folder.path(), "")], &destination).unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["include/a/b.h", "lib/libc10.so"]);
        assert_eq!(files["lib/libc10.so"].sha256, limbeck_run::sha256_bytes(b"library"));
        assert_eq!(fs::read(destination.join("include/a/b.h")).unwrap(), b"header");
        assert_eq!(limbeck_run::sha256_files(&destination).unwrap().len(), 2);
    }

    #[test]
    fn a_file_that_differs_from_the_record_is_refused_and_the_wheel_removed() {
        let Some(python) = python() else { return };
        let (folder, destination) = folders();
        let digest = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        let record = format!("torch/lib/libc10.so,sha256={digest},7");
        let wheel = wheel(&python, folder.path(), &record);
        let path = wheel.path.clone();
        let error = unpack(&python, &[wheel], &destination).unwrap_err();
        assert!(error.to_string().contains("torch/lib/libc10.so has SHA-256"), "{error}");
        assert!(diagnose(&error).1.unwrap().contains("run cargo xtask setup again"));
        assert!(!path.exists());
    }

    #[test]
    fn a_wheel_without_a_file_that_is_needed_is_refused() {
        let Some(python) = python() else { return };
        let (folder, destination) = folders();
        let mut wheel = wheel(&python, folder.path(), "");
        wheel.rules.push(Rule::new("torch.libs/*", "lib/").optional());
        wheel.rules.push(Rule::new("torch/lib/libgomp*", "lib/"));
        let error = unpack(&python, &[wheel], &destination).unwrap_err();
        assert!(error.to_string().ends_with("no file torch/lib/libgomp*"), "{error}");
    }
}
