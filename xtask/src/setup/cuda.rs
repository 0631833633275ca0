//! The CUDA build: the whole wheel and the NVIDIA libraries it depends on, installed into
//! a folder of its own.
//!
//! `pip install --target` rather than a virtual environment: it needs no `venv` module,
//! and the libraries find one another by paths relative to themselves.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use limbeck_run::Exit;

use crate::child;
use crate::failure::Failure;
use crate::setup::TORCH_VERSION;
use crate::setup::cache::Cache;
use crate::setup::python::{self, Python};
use crate::setup::record::Record;

/// Installs with pip, which checks the hash of each wheel against the index's.
pub(crate) fn provision(cache: &Cache, python: Option<&Python>, offline: bool) -> Result<PathBuf> {
    let requirement = format!("torch=={TORCH_VERSION}");
    let unavailable = |reason: &str| {
        Failure::new(
            Exit::Missing,
            format!("the CUDA build of libtorch {TORCH_VERSION} is not cached and cannot be installed: {reason}"),
        )
        .hint(format!(
            "go online, set LIBTORCH, copy {} from a machine where setup has run, or take the \
             CPU build with cargo xtask setup --cpu",
            cache.folder().display()
        ))
    };
    if offline {
        return Err(unavailable("setup was told to stay offline").into());
    }
    let python = python.ok_or_else(python::missing)?;
    let mut pip = python.pip()?;
    let partial = cache.start()?;
    eprintln!("installing {requirement} with its CUDA libraries (about 3 GB to download)");
    pip.args(["install", "--disable-pip-version-check", "--no-input", "--no-compile"])
        .args(["--no-cache-dir", "--only-binary=:all:", "--retries", "3"])
        .args(python.wheel_options())
        .arg("--target")
        .arg(&partial)
        .arg(&requirement);
    if let Err(error) = child::run_aside("pip install", &mut pip) {
        let _ = fs::remove_dir_all(&partial);
        return Err(unavailable(&error.to_string()).into());
    }
    eprintln!("hashing the installed files");
    let record = Record::of(&partial, vec![requirement])?;
    cache.finish(&partial, &record)
}
