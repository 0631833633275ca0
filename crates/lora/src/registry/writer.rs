//! The only way to change a registry: under its lock, and by renames.
//!
//! The lock is the operating system's, on the file `lock`; a process that dies gives it
//! back. Everything new is written and brought to the disk in `staging/` and takes its
//! place by a rename, so that a reader, who takes no lock, sees the old or the new file.
//! Whatever lies in `staging/` while nobody holds the lock is what a killed writer left.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::{Registry, RegistryError};
use crate::Result;

/// A registry whose lock is held.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    registry: &'a Registry,
    /// Closing the file gives the lock back.
    _lock: File,
}

/// Something under `staging/` that is removed again if it does not take its place.
#[derive(Debug)]
pub(super) struct Staged {
    path: PathBuf,
}

impl Staged {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Gone where it took its place. Otherwise another error is on its way out, and
        // garbage collection removes what stays.
        let _ = remove(&self.path);
    }
}

impl<'a> Writer<'a> {
    /// Waits for the lock and makes the folders that are missing.
    pub(super) fn begin(registry: &'a Registry) -> Result<Self> {
        let root = registry.root();
        let path = root.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|source| limbeck_run::Error::write(&path, source))?;
        let failed = |source| RegistryError::Lock { path: path.clone(), source };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                tracing::info!("waiting for another writer of {}", root.display());
                file.lock().map_err(failed)?;
            }
            Err(TryLockError::Error(source)) => return Err(failed(source).into()),
        }
        let writer = Self { registry, _lock: file };
        writer.step("locked");
        for folder in registry.folders() {
            fs::create_dir_all(&folder)
                .map_err(|source| limbeck_run::Error::write(&folder, source))?;
            writer.step("folder there");
        }
        sync_folder(root)?;
        Ok(writer)
    }

    pub(super) fn registry(&self) -> &'a Registry {
        self.registry
    }

    /// Says how far the writer has come: tests stop it there.
    fn step(&self, name: &'static str) {
        (self.registry.on_step)(name);
    }

    /// An empty folder to fill.
    pub(super) fn stage_folder(&self) -> Result<Staged> {
        let staged = self.stage(|path| fs::create_dir(path))?;
        self.step("folder staged");
        Ok(staged)
    }

    /// A name under `staging/` that was free: a killed process may have had our number.
    fn stage(&self, create: impl Fn(&Path) -> io::Result<()>) -> Result<Staged> {
        let staging = self.registry.staging();
        let mut counter = 0_u64;
        loop {
            let path = staging.join(format!("{}-{counter}", std::process::id()));
            match create(&path) {
                Ok(()) => return Ok(Staged { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => counter += 1,
                Err(source) => return Err(limbeck_run::Error::write(&path, source).into()),
            }
        }
    }

    /// Writes a file that is not there yet, and brings it to the disk.
    pub(super) fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let failed = |source| limbeck_run::Error::write(path, source);
        let mut file = File::create_new(path).map_err(failed)?;
        self.step("file created");
        file.write_all(bytes).map_err(failed)?;
        self.step("file written");
        file.sync_all().map_err(failed)?;
        self.step("file on disk");
        Ok(())
    }

    /// Gives what was staged its place, which must be free or a file.
    pub(super) fn put_in_place(&self, staged: &Staged, target: &Path) -> Result<()> {
        if staged.path().is_dir() {
            sync_folder(staged.path())?;
            self.step("folder on disk");
        }
        self.rename(staged.path(), target)
    }

    /// Writes a file whole: the old content or the new, never between.
    pub(super) fn replace_file(&self, target: &Path, bytes: &[u8]) -> Result<()> {
        let folder = self.stage_folder()?;
        // Under its own name, which errors show.
        let file = folder.path().join(target.file_name().unwrap_or_default());
        self.write_new(&file, bytes)?;
        self.rename(&file, target)
    }

    /// Takes a folder out of its place at once, then removes it.
    pub(super) fn remove_folder(&self, path: &Path) -> Result<()> {
        let aside = self.stage_folder()?;
        self.rename(path, &aside.path().join("removed"))?;
        remove(aside.path())?;
        self.step("removed");
        Ok(())
    }

    /// Removes what killed writers left.
    pub(super) fn remove_debris(&self, debris: &[PathBuf]) -> Result<()> {
        for path in debris {
            remove(path)?;
            self.step("debris removed");
        }
        Ok(())
    }

    fn rename(&self, from: &Path, target: &Path) -> Result<()> {
        fs::rename(from, target).map_err(|source| limbeck_run::Error::write(target, source))?;
        self.step("renamed");
        if let Some(parent) = target.parent() {
            sync_folder(parent)?;
            self.step("rename on disk");
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(limbeck_run::Error::write(path, source).into())
        }
        _ => Ok(()),
    }
}

/// Brings a folder's entries to the disk: a rename is not there after a power cut
/// otherwise. Only Unix opens folders as files.
fn sync_folder(path: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(path)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| limbeck_run::Error::write(path, source))?;
    }
    Ok(())
}
