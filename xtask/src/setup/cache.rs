//! The cache that libtorch is provisioned into: outside `target/`, one folder per version
//! and flavour, filled beside its place and renamed, under a lock.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use limbeck_run::{Error, Exit};

use crate::failure::Failure;
use crate::setup::record::Record;
use crate::setup::{TORCH_VERSION, folder};

/// Which build of libtorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// The files that a CPU build needs.
    Cpu,
    /// The whole wheel with CUDA's libraries.
    Cuda,
}

/// The cache, locked against other runs until dropped.
#[derive(Debug)]
pub(crate) struct Cache {
    root: PathBuf,
    flavour: Flavour,
    _lock: File,
}

impl Cache {
    /// `$LIMBECK_CACHE`, else `$XDG_CACHE_HOME/limbeck`, else `~/.cache/limbeck`.
    pub(crate) fn open(flavour: Flavour) -> Result<Self> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = set("LIMBECK_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("limbeck")))
            .or_else(|| env::home_dir().map(|folder| folder.join(".cache/limbeck")))
            .ok_or_else(|| {
                Failure::new(Exit::Missing, "no folder for the cache")
                    .hint("set LIMBECK_CACHE to a folder with 1.2 GB of space")
            })?;
        Self::open_at(&base, flavour)
    }

    pub(crate) fn open_at(base: &Path, flavour: Flavour) -> Result<Self> {
        let root = std::path::absolute(base.join("libtorch")).context("the cache's path")?;
        fs::create_dir_all(&root).map_err(|source| Error::write(&root, source))?;
        let path = root.join(".lock");
        let lock = File::create(&path).map_err(|source| Error::write(&path, source))?;
        if lock.try_lock().is_err() {
            eprintln!("waiting for another setup on {} to finish", root.display());
            lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(Self { root, flavour, _lock: lock })
    }

    fn name(&self) -> String {
        let flavour = match self.flavour {
            Flavour::Cpu => "cpu",
            Flavour::Cuda => "cuda",
        };
        format!("{TORCH_VERSION}-{flavour}")
    }

    /// The provisioned folder's place.
    pub(crate) fn folder(&self) -> PathBuf {
        self.root.join(self.name())
    }

    /// Where wheels are kept between download and unpacking.
    pub(crate) fn wheels(&self) -> PathBuf {
        self.root.join(format!("{}.wheels", self.name()))
    }

    /// The folder to give as `LIBTORCH`, within a provisioned folder.
    fn libtorch_in(&self, folder: &Path) -> PathBuf {
        match self.flavour {
            Flavour::Cpu => folder.to_owned(),
            Flavour::Cuda => folder.join("torch"),
        }
    }

    /// What an earlier run provisioned, if it is whole: every file there with its size,
    /// or with its hash where `verify` asks for it.
    pub(crate) fn ready(&self, verify: bool) -> Result<Option<PathBuf>> {
        let place = self.folder();
        let libtorch = self.libtorch_in(&place);
        if folder::check(&libtorch).is_err() {
            return Ok(None);
        }
        match Record::read(&place)? {
            Some(record) => match record.check(&place, verify) {
                Ok(()) => Ok(Some(libtorch)),
                Err(reason) => {
                    eprintln!("{} is damaged and will be made again: {reason}", place.display());
                    Ok(None)
                }
            },
            None if verify => Err(Failure::new(
                Exit::BadInput,
                format!("{} has no {}: it cannot be verified", place.display(), Record::FILE),
            )
            .hint("delete that folder and run cargo xtask setup again")
            .into()),
            // Put there by hand: of the right version, so it is the user's choice.
            None => Ok(Some(libtorch)),
        }
    }

    /// An empty folder to fill; what killed runs left is removed first. The process id in
    /// its name keeps an unpacking child that outlived a killed run out of the way.
    pub(crate) fn start(&self) -> Result<PathBuf> {
        let prefix = format!(".{}.", self.name());
        let entries = fs::read_dir(&self.root).map_err(|source| Error::read(&self.root, source))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(&prefix) {
                let path = entry.path();
                fs::remove_dir_all(&path).map_err(|source| Error::write(&path, source))?;
            }
        }
        let partial = self.root.join(format!("{prefix}{}.partial", std::process::id()));
        fs::create_dir(&partial).map_err(|source| Error::write(&partial, source))?;
        Ok(partial)
    }

    /// Gives a filled folder its name, writes nothing else. A damaged one that was there is
    /// removed after it was moved aside.
    pub(crate) fn finish(&self, partial: &Path, record: &Record) -> Result<PathBuf> {
        record.write(partial)?;
        let place = self.folder();
        let failed = |source| Error::write(&place, source);
        if place.exists() {
            let aside = self.root.join(format!(".{}.old", self.name()));
            fs::rename(&place, &aside).map_err(failed)?;
            fs::rename(partial, &place).map_err(failed)?;
            fs::remove_dir_all(&aside).map_err(failed)?;
        } else {
            fs::rename(partial, &place).map_err(failed)?;
        }
        let libtorch = self.libtorch_in(&place);
        folder::check(&libtorch).map_err(|reason| {
            Failure::new(Exit::Failed, format!("{} came out wrong: {reason}", libtorch.display()))
        })?;
        Ok(libtorch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::diagnose;

    #[test]
    fn a_folder_is_ready_only_whole() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        let cache = Cache::open_at(base, Flavour::Cpu).unwrap();
        assert_eq!(cache.ready(false).unwrap(), None);
        let partial = cache.start().unwrap();
        folder::fake(&partial, TORCH_VERSION);
        let record = Record::of(&partial, Vec::new()).unwrap();
        let place = cache.finish(&partial, &record).unwrap();
        assert_eq!(place.file_name().unwrap(), "2.13.0-cpu");
        assert_eq!(cache.ready(true).unwrap(), Some(place.clone()));

        // The same size: only the hash tells.
        fs::write(place.join("lib/libtorch_cpu.so"), "LIBRARY").unwrap();
        assert_eq!(cache.ready(false).unwrap(), Some(place.clone()));
        assert_eq!(cache.ready(true).unwrap(), None);
        fs::write(place.join("lib/libtorch_cpu.so"), "lib").unwrap();
        assert_eq!(cache.ready(false).unwrap(), None);

        // And it is replaced by the next run.
        let partial = cache.start().unwrap();
        folder::fake(&partial, TORCH_VERSION);
        cache.finish(&partial, &record).unwrap();
        assert_eq!(cache.ready(true).unwrap(), Some(place));
    }

    #[test]
    fn a_folder_made_by_hand_is_taken_but_not_called_verified() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        let cache = Cache::open_at(base, Flavour::Cpu).unwrap();
        folder::fake(&cache.folder(), TORCH_VERSION);
        assert_eq!(cache.ready(false).unwrap(), Some(cache.folder()));
        assert_eq!(diagnose(&cache.ready(true).unwrap_err()).0, 3);
    }

    #[test]
    fn what_killed_runs_left_is_removed() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        let cache = Cache::open_at(base, Flavour::Cpu).unwrap();
        let stale = base.join("libtorch/.2.13.0-cpu.1.partial");
        let other = base.join("libtorch/.2.13.0-cuda.1.partial");
        fs::create_dir(&stale).unwrap();
        fs::create_dir(&other).unwrap();
        let partial = cache.start().unwrap();
        assert!(partial.is_dir() && !stale.exists() && other.exists());
    }
}
