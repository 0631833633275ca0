//! `setup`: a libtorch of the right version, linked as `.libtorch`.
//!
//! In this order: the user's `LIBTORCH`; an installed Python torch; the cache; the PyPI
//! wheel, unpacked into the cache (with an NVIDIA GPU the whole CUDA build, else the few
//! files that a CPU build needs).

mod cache;
mod cuda;
mod folder;
mod link;
mod python;
mod record;
mod unpack;
mod wheel;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use limbeck_run::{Exit, format_duration};

use crate::failure::Failure;
use crate::gpu;
use crate::setup::cache::{Cache, Flavour};
use crate::workspace::Workspace;

/// The libtorch that the pinned version of tch is written for.
pub(crate) const TORCH_VERSION: &str = "2.13.0";

/// Options of `setup`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Use no network: only what is installed, cached or downloaded already
    #[arg(long)]
    offline: bool,
    /// Hash every file of the cache again, not only look at the sizes
    #[arg(long)]
    verify: bool,
    /// Take the CPU build even where there is an NVIDIA GPU
    #[arg(long)]
    cpu: bool,
}

/// Finds or provisions libtorch and links it.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let started = Instant::now();
    let (folder, origin) = choose(workspace, args)?;
    let changed = link::point_to(workspace, &folder)?;
    eprintln!(
        "libtorch {TORCH_VERSION} ({origin}) at {}, linked as .libtorch{} in {}",
        folder.display(),
        if changed { "" } else { " already" },
        format_duration(started.elapsed()),
    );
    Ok(())
}

/// What the other verbs need before they build: silent and instant where `.libtorch` is
/// there, else as [`run`].
pub(crate) fn ensure(workspace: &Workspace) -> Result<()> {
    let link = workspace.libtorch_link();
    let in_use = workspace.user_libtorch().unwrap_or(link);
    if folder::check(&in_use).is_ok() { Ok(()) } else { run(workspace, &Args::default()) }
}

fn choose(workspace: &Workspace, args: &Args) -> Result<(PathBuf, &'static str)> {
    if let Some(folder) = workspace.user_libtorch() {
        return match folder::check(&folder) {
            Ok(()) => Ok((folder, "from LIBTORCH")),
            Err(reason) => Err(Failure::new(
                Exit::Missing,
                format!(
                    "LIBTORCH={} does not hold libtorch {TORCH_VERSION}: {reason}",
                    folder.display()
                ),
            )
            .hint("point LIBTORCH to a matching libtorch, or unset it to have one provisioned")
            .into()),
        };
    }
    let python = python::Python::find();
    if let Some(folder) = python.as_ref().and_then(python::Python::torch_folder)
        && folder::check(&folder).is_ok()
    {
        return Ok((folder, "from the installed Python torch"));
    }
    let flavour = if gpu::names().is_empty() || args.cpu { Flavour::Cpu } else { Flavour::Cuda };
    let cache = Cache::open(flavour)?;
    if let Some(folder) = cache.ready(args.verify)? {
        return Ok((folder, "from the cache"));
    }
    let folder = match flavour {
        Flavour::Cpu => wheel::provision(&cache, python.as_ref(), args.offline)?,
        Flavour::Cuda => cuda::provision(&cache, python.as_ref(), args.offline)?,
    };
    Ok((folder, "provisioned from the PyPI wheel"))
}
