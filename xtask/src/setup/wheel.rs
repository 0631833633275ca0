//! The CPU build: the few files of the PyPI wheel that it needs.
//!
//! On x86-64 Linux the wheel is the CUDA build. Its `libtorch_cpu.so` needs two small
//! CUDA libraries and no GPU; its `libtorch.so` needs `libtorch_cuda.so`, so a linker
//! script of that name takes its place, and without `libtorch_cuda.so` torch-sys links
//! for CPU. On macOS the wheel is the CPU build; that and Linux on arm64 are untested.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use limbeck_run::{Error, Exit};

use crate::child;
use crate::failure::Failure;
use crate::setup::TORCH_VERSION;
use crate::setup::cache::Cache;
use crate::setup::python::{self, Python};
use crate::setup::record::{FileEntry, Record};
use crate::setup::unpack::{self, Rule, Wheel};

/// Stands in for `libtorch.so`, see the module's documentation.
const LINKER_SCRIPT: &str = "INPUT(-ltorch_cpu -lc10)\n";

/// A package to download and what to take from its wheel.
struct Package {
    requirement: String,
    /// What the wheel's file name begins with.
    prefix: String,
    rules: Vec<Rule>,
}

const HEADERS: Rule = Rule::new("torch/include/", "include/");

fn packages() -> Vec<Package> {
    let torch = |rules| Package {
        requirement: format!("torch=={TORCH_VERSION}"),
        prefix: format!("torch-{TORCH_VERSION}"),
        rules,
    };
    if env::consts::OS == "macos" {
        return vec![torch(vec![
            HEADERS,
            Rule::new("torch/lib/libtorch.dylib", "lib/"),
            Rule::new("torch/lib/libtorch_cpu.dylib", "lib/"),
            Rule::new("torch/lib/libc10.dylib", "lib/"),
            Rule::new("torch/lib/libomp*.dylib", "lib/"),
        ])];
    }
    let nvidia = |name: &str, rules| Package {
        requirement: format!("nvidia-{}==13.0.*", name.replace('_', "-")),
        prefix: format!("nvidia_{name}-13.0."),
        rules,
    };
    vec![
        torch(vec![
            HEADERS,
            Rule::new("torch/lib/libtorch_cpu.so", "lib/"),
            Rule::new("torch/lib/libc10.so", "lib/"),
            Rule::new("torch/lib/libgomp*", "lib/"),
            // The arm64 wheel brings its BLAS in a folder of its own.
            Rule::new("torch.libs/*", "lib/").optional(),
        ]),
        nvidia("cuda_runtime", vec![Rule::new("nvidia/*/lib/libcudart.so.13", "lib/")]),
        nvidia("cuda_cupti", vec![Rule::new("nvidia/*/lib/libcupti.so.13", "lib/")]),
    ]
}

/// Downloads the wheels unless they are there, unpacks them and removes them.
pub(crate) fn provision(cache: &Cache, python: Option<&Python>, offline: bool) -> Result<PathBuf> {
    let packages = packages();
    let folder = cache.wheels();
    if !["linux", "macos"].contains(&env::consts::OS) {
        return Err(unavailable(cache, &packages, "this system is not supported").into());
    }
    if find(&packages, &folder).is_none() {
        if offline {
            return Err(unavailable(cache, &packages, "there is none on this machine").into());
        }
        let python = python.ok_or_else(python::missing)?;
        download(cache, python, &packages)?;
    }
    let wheels = find(&packages, &folder)
        .ok_or_else(|| unavailable(cache, &packages, "pip did not bring the wheels expected"))?;
    let python = python.ok_or_else(python::missing)?;

    let partial = cache.start()?;
    let mut files = match unpack::unpack(python, &wheels, &partial) {
        Ok(files) => files,
        Err(error) => {
            // The next run would only trip over it again.
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
    };
    if env::consts::OS == "linux" {
        let name = "lib/libtorch.so";
        limbeck_run::write_file(&partial.join(name), LINKER_SCRIPT.as_bytes())?;
        let sha256 = limbeck_run::sha256_bytes(LINKER_SCRIPT.as_bytes());
        files.insert(name.to_owned(), FileEntry { size: LINKER_SCRIPT.len() as u64, sha256 });
    }
    let names = wheels.iter().map(Wheel::name).collect();
    let libtorch = cache.finish(&partial, &Record::new(names, files))?;
    // They are three quarters of a gigabyte that nothing reads again.
    let _ = fs::remove_dir_all(&folder);
    Ok(libtorch)
}

/// The wheels in the folder, one for each package; `None` if one is missing.
fn find(packages: &[Package], folder: &Path) -> Option<Vec<Wheel>> {
    let entries: Vec<PathBuf> =
        fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    packages
        .iter()
        .map(|package| {
            let path = entries.iter().find(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with(&package.prefix) && name.ends_with(".whl")
            })?;
            Some(Wheel { path: path.clone(), rules: package.rules.clone() })
        })
        .collect()
}

fn download(cache: &Cache, python: &Python, packages: &[Package]) -> Result<()> {
    let folder = cache.wheels();
    // On the cache's disk: /tmp may be small, and the wheel is moved at the end.
    let temporary = folder.join("tmp");
    // What a killed run had half downloaded.
    let _ = fs::remove_dir_all(&temporary);
    fs::create_dir_all(&temporary).map_err(|source| Error::write(&temporary, source))?;
    eprintln!("downloading libtorch {TORCH_VERSION} (about 540 MB)");
    let mut pip = python.pip()?;
    // pip checks each wheel against the hash that the index publishes. It keeps no copy of
    // its own: the half gigabyte would be stored twice.
    pip.args(["download", "--disable-pip-version-check", "--no-input", "--no-cache-dir"])
        .args(["--no-deps", "--only-binary=:all:", "--retries", "3"])
        .args(python.wheel_options())
        .arg("--dest")
        .arg(&folder)
        .args(packages.iter().map(|package| &package.requirement))
        .env("TMPDIR", &temporary);
    let outcome = child::run_aside("pip download", &mut pip);
    let _ = fs::remove_dir_all(&temporary);
    outcome.map_err(|error| unavailable(cache, packages, &error.to_string()).into())
}

/// The error that libtorch can be neither found nor downloaded, with what to do.
fn unavailable(cache: &Cache, packages: &[Package], reason: &str) -> Failure {
    let requirements: Vec<String> =
        packages.iter().map(|package| format!("'{}'", package.requirement)).collect();
    Failure::new(
        Exit::Missing,
        format!("libtorch {TORCH_VERSION} is neither installed nor cached, and cannot be downloaded: {reason}"),
    )
    .hint(format!(
        "do one of these and run cargo xtask setup again:\n  \
         - go online\n  \
         - set LIBTORCH to a libtorch {TORCH_VERSION}\n  \
         - copy {place} from a machine where setup has run\n  \
         - on another machine with the same system run\n      \
         python3 -m pip download --no-deps --only-binary=:all: {requirements}\n    \
         and copy the files into {wheels}",
        place = cache.folder().display(),
        requirements = requirements.join(" "),
        wheels = cache.wheels().display(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::diagnose;
    use crate::setup::cache::Flavour;

    #[test]
    fn offline_without_a_cache_says_what_to_do() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        let cache = Cache::open_at(base, Flavour::Cpu).unwrap();
        let error = provision(&cache, None, true).unwrap_err();
        let (code, hint) = diagnose(&error);
        assert_eq!(code, 4);
        let hint = hint.unwrap();
        for part in
            ["LIBTORCH", "2.13.0-cpu", "pip download", "'torch==2.13.0'", "2.13.0-cpu.wheels"]
        {
            assert!(hint.contains(part), "{part} is not in {hint}");
        }
        assert!(!cache.folder().exists());
    }

    #[test]
    fn wheels_count_only_together() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let packages = packages();
        let tag = "-cp311-cp311-manylinux_2_28_x86_64.whl";
        for (index, package) in packages.iter().enumerate() {
            assert!(find(&packages, folder).is_none(), "with {index} of {}", packages.len());
            fs::write(folder.join(format!("{}{tag}", package.prefix)), "").unwrap();
        }
        assert_eq!(find(&packages, folder).unwrap().len(), packages.len());
    }
}
