//! A stage's output folder: filled under another name beside its place, and given its
//! name when it is complete.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::manifest::Manifest;
use crate::{Error, Result, atomic_file};

/// Says, in a partial folder, whose checkpoints it holds. The manifest says it afterwards.
pub(crate) const FINGERPRINT: &str = ".fingerprint";

/// An output folder being filled, at `.NAME.partial` beside the target. One process at a time
/// has it.
#[derive(Debug)]
pub struct OutputDir {
    target: PathBuf,
    partial: PathBuf,
    aside: PathBuf,
    /// The partial folder, which is locked.
    lock: File,
    keep_partial: bool,
    committed: bool,
}

impl OutputDir {
    /// Starts an empty folder; what a killed run left behind is removed. Dropped without
    /// [`OutputDir::commit`], the folder disappears.
    ///
    /// # Errors
    /// [`Error::Occupied`] where the target holds something that no stage wrote (that is,
    /// a non-empty folder without a manifest: it would be deleted); [`Error::InUse`] where
    /// another process is filling it; write errors.
    pub fn create(target: &Path) -> Result<Self> {
        let output = Self::new(target, false)?;
        empty_folder(&output.partial)?;
        Ok(output)
    }

    /// Continues what a killed run left behind (its checkpoints), or starts an empty
    /// folder. Dropped without [`OutputDir::commit`], the folder stays, to be resumed.
    ///
    /// # Errors
    /// As [`OutputDir::create`].
    pub fn resume(target: &Path) -> Result<Self> {
        let output = Self::new(target, true)?;
        remove_unfinished_files(&output.partial)?;
        Ok(output)
    }

    /// As [`OutputDir::resume`], but only where the killed run had the same fingerprint
    /// (of its configuration and inputs); the checkpoints of another one are removed.
    ///
    /// # Errors
    /// As [`OutputDir::create`].
    pub fn resume_for(target: &Path, fingerprint: &str) -> Result<Self> {
        let output = Self::new(target, true)?;
        let path = output.partial.join(FINGERPRINT);
        if fs::read(&path).is_ok_and(|found| found != fingerprint.as_bytes()) {
            empty_folder(&output.partial)?;
        }
        remove_unfinished_files(&output.partial)?;
        atomic_file::write_file(&path, fingerprint.as_bytes())?;
        Ok(output)
    }

    /// The folder to write into.
    pub fn path(&self) -> &Path {
        &self.partial
    }

    /// The name that the folder will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the folder its name. A previous output is moved aside first and removed
    /// after, so that a killed process loses neither.
    ///
    /// # Errors
    /// Write errors; the partial folder is then treated as on drop.
    pub fn commit(mut self) -> Result<()> {
        let failed = |source| Error::write(&self.target, source);
        match fs::remove_file(self.partial.join(FINGERPRINT)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        if self.target.exists() {
            remove_folder(&self.aside)?;
            fs::rename(&self.target, &self.aside).map_err(failed)?;
        }
        fs::rename(&self.partial, &self.target).map_err(failed)?;
        self.committed = true;
        remove_folder(&self.aside)
    }

    fn new(target: &Path, keep_partial: bool) -> Result<Self> {
        // `out/.` and `out/` name the same folder as `out`, and `..` needs its real name.
        let target = match target.file_name() {
            Some(_) => target.components().collect(),
            None => fs::canonicalize(target).map_err(|source| Error::write(target, source))?,
        };
        let invalid = || Error::write(&target, io::Error::from(io::ErrorKind::InvalidInput));
        let name = target.file_name().ok_or_else(invalid)?.to_string_lossy().into_owned();
        let partial = target.with_file_name(format!(".{name}.partial"));
        let aside = target.with_file_name(format!(".{name}.old"));
        check_replaceable(&target)?;
        let lock = lock_folder(&partial)?
            .ok_or_else(|| Error::InUse { path: target.clone(), partial: partial.clone() })?;
        if !target.exists() && aside.is_dir() {
            // A process was killed between the two renames of a commit.
            fs::rename(&aside, &target).map_err(|source| Error::write(&target, source))?;
        }
        Ok(Self { target, partial, aside, lock, keep_partial, committed: false })
    }
}

impl Drop for OutputDir {
    fn drop(&mut self) {
        if !self.committed && !self.keep_partial {
            // Already on the way out with another error; this one adds nothing.
            let _ = fs::remove_dir_all(&self.partial);
        }
        // Closing would not do: a process that another thread is just starting has the file too.
        let _ = self.lock.unlock();
    }
}

fn check_replaceable(target: &Path) -> Result<()> {
    let occupied =
        |found: &str| Error::Occupied { path: target.to_owned(), found: found.to_owned() };
    match fs::read_dir(target) {
        Ok(mut entries) => {
            let empty = entries.next().is_none();
            if empty || target.join(Manifest::FILE).is_file() {
                Ok(())
            } else {
                Err(occupied("a folder with files but without manifest.json"))
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(occupied("a file")),
        Err(source) => Err(Error::write(target, source)),
    }
}

/// Makes a folder, if need be, and locks it by the file that is given; `None` where another
/// process has it. On a file system without locks it is merely opened.
fn lock_folder(path: &Path) -> Result<Option<File>> {
    let failed = |source| Error::write(path, source);
    loop {
        fs::create_dir_all(path).map_err(failed)?;
        let folder = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            folder => folder.map_err(failed)?,
        };
        if let Err(TryLockError::WouldBlock) = folder.try_lock() {
            return Ok(None);
        }
        // Between the two calls whoever had it may have given it another name.
        let inode = folder.metadata().map_err(failed)?.ino();
        if fs::metadata(path).is_ok_and(|named| named.ino() == inode) {
            return Ok(Some(folder));
        }
    }
}

fn empty_folder(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path).map_err(|source| Error::read(path, source))? {
        let entry = entry.map_err(|source| Error::read(path, source))?.path();
        let removed =
            if entry.is_dir() { fs::remove_dir_all(&entry) } else { fs::remove_file(&entry) };
        removed.map_err(|source| Error::write(&entry, source))?;
    }
    Ok(())
}

fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::write(path, error)),
        _ => Ok(()),
    }
}

/// Removes what a process killed in the middle of a write left in a folder that goes on.
fn remove_unfinished_files(folder: &Path) -> Result<()> {
    let failed = |source| Error::read(folder, source);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if path.is_dir() {
            remove_unfinished_files(&path)?;
        } else if atomic_file::is_temporary(&entry.file_name().to_string_lossy()) {
            fs::remove_file(&path).map_err(|source| Error::write(&path, source))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(output: &OutputDir, name: &str, text: &str) {
        fs::write(output.path().join(name), text).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_is_there_before_commit_and_everything_after() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("runs/distilled");
        let output = OutputDir::create(&target).unwrap();
        write(&output, "manifest.json", "{}");
        assert!(!target.exists());
        output.commit().unwrap();
        assert_eq!(names(&target), ["manifest.json"]);
        assert_eq!(names(target.parent().unwrap()), ["distilled"]);
    }

    #[test]
    fn a_failed_stage_leaves_nothing_and_the_old_output() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        let output = OutputDir::create(&target).unwrap();
        write(&output, "manifest.json", "old");
        output.commit().unwrap();
        let output = OutputDir::create(&target).unwrap();
        write(&output, "manifest.json", "new");
        drop(output);
        assert_eq!(fs::read(target.join("manifest.json")).unwrap(), b"old");
        assert_eq!(names(root.path()), ["out"]);
    }

    #[test]
    fn commit_replaces_an_earlier_output() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        for (name, text) in [("first", "1"), ("second", "2")] {
            let output = OutputDir::create(&target).unwrap();
            write(&output, "manifest.json", text);
            write(&output, name, text);
            output.commit().unwrap();
        }
        assert_eq!(names(&target), ["manifest.json", "second"]);
        assert_eq!(names(root.path()), ["out"]);
    }

    #[test]
    fn resume_keeps_checkpoints_and_create_does_not() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        let output = OutputDir::resume(&target).unwrap();
        write(&output, "checkpoint", "step 10");
        // As AtomicFile leaves it when its process is killed.
        std::mem::forget(atomic_file::AtomicFile::create(&output.path().join("sub/model")));
        drop(output);
        let output = OutputDir::resume(&target).unwrap();
        assert_eq!(names(output.path()), ["checkpoint", "sub"]);
        assert_eq!(names(&output.path().join("sub")), Vec::<String>::new());
        drop(output);
        let output = OutputDir::create(&target).unwrap();
        assert_eq!(names(output.path()), Vec::<String>::new());
    }

    #[test]
    fn one_at_a_time_fills_a_folder() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        let first = OutputDir::resume_for(&target, "one").unwrap();
        write(&first, "checkpoint", "step 10");
        for second in [OutputDir::create(&target), OutputDir::resume_for(&target, "two")] {
            let error = second.unwrap_err();
            assert!(matches!(error, Error::InUse { .. }), "{error:?}");
            assert!(error.to_string().contains("out"), "{error}");
        }
        assert_eq!(names(first.path()), [".fingerprint", "checkpoint"]);
        first.commit().unwrap();
        // The lock goes with the one who has it, not with the folder.
        let path = target.join(Manifest::FILE);
        fs::write(path, "{}").unwrap();
        drop(OutputDir::create(&target).unwrap());
        drop(OutputDir::resume(&target).unwrap());
        assert_eq!(names(&target), ["checkpoint", "manifest.json"]);
    }

    #[test]
    fn a_lock_does_not_outlive_its_owner_in_another_handle() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        let output = OutputDir::resume(&target).unwrap();
        // As a child process inherits it until it runs its program.
        let inherited = output.lock.try_clone().unwrap();
        drop(output);
        drop(OutputDir::resume(&target).unwrap());
        drop(inherited);
    }

    #[test]
    fn only_the_same_fingerprint_resumes() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        let output = OutputDir::resume_for(&target, "one").unwrap();
        write(&output, "checkpoint", "step 10");
        drop(output);
        let output = OutputDir::resume_for(&target, "one").unwrap();
        assert_eq!(names(output.path()), [".fingerprint", "checkpoint"]);
        drop(output);
        let output = OutputDir::resume_for(&target, "two").unwrap();
        assert_eq!(names(output.path()), [".fingerprint"]);
        output.commit().unwrap();
        assert_eq!(names(&target), Vec::<String>::new());
    }

    #[test]
    fn a_folder_that_no_stage_wrote_is_never_deleted() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("documents");
        fs::create_dir(&target).unwrap();
        OutputDir::create(&target).unwrap();
        fs::write(target.join("thesis.tex"), "years of work").unwrap();
        let error = OutputDir::create(&target).unwrap_err();
        assert!(matches!(error, Error::Occupied { .. }), "{error:?}");
        let error = OutputDir::resume(&target.join("thesis.tex")).unwrap_err();
        assert!(error.to_string().ends_with("a file"), "{error}");
        assert_eq!(names(root.path()), ["documents"]);
    }

    #[test]
    fn a_commit_killed_between_its_renames_is_undone() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("out");
        fs::create_dir(root.path().join(".out.old")).unwrap();
        fs::write(root.path().join(".out.old/manifest.json"), "old").unwrap();
        drop(OutputDir::resume(&target).unwrap());
        assert_eq!(fs::read(target.join("manifest.json")).unwrap(), b"old");
    }
}
