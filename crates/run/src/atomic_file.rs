//! Files that appear whole or not at all: written to a temporary sibling, brought to
//! the disk, renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Error, Result};

/// Two threads may write the same file at once, each under its own temporary name; the
/// last rename wins.
static COUNTER: AtomicU64 = AtomicU64::new(0);

/// A file being written. Dropped without [`AtomicFile::commit`], it leaves nothing.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    target: PathBuf,
    /// `None` where the target is a device or a pipe, which is written to directly:
    /// renaming over `/dev/stdout` would replace it.
    temporary: Option<PathBuf>,
}

impl AtomicFile {
    /// Begins to write `target`, whose folder is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Write`] or [`Error::DiskFull`] where that is not possible.
    pub fn create(target: &Path) -> Result<Self> {
        let failed = |source| Error::write(target, source);
        // Follows links: a linked file is replaced where it is, the link stays.
        let target_path = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        if let Ok(metadata) = fs::metadata(&target_path) {
            if metadata.is_dir() {
                return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
            }
            if !metadata.is_file() {
                let file = OpenOptions::new().write(true).open(&target_path).map_err(failed)?;
                return Ok(Self { file, target: target_path, temporary: None });
            }
        }
        let name = target_path
            .file_name()
            .ok_or_else(|| failed(io::Error::from(io::ErrorKind::InvalidInput)))?;
        let parent = target_path.parent().unwrap_or(Path::new(""));
        if !parent.as_os_str().is_empty() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let temporary = parent.join(format!(
            ".{}.{}-{}.tmp",
            name.to_string_lossy(),
            std::process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        ));
        let file = File::create(&temporary).map_err(failed)?;
        Ok(Self { file, target: target_path, temporary: Some(temporary) })
    }

    /// Brings the content to the disk and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Write`] or [`Error::DiskFull`]; then nothing is left behind.
    pub fn commit(mut self) -> Result<()> {
        let failed = |source| Error::write(&self.target, source);
        self.file.flush().map_err(failed)?;
        let Some(temporary) = &self.temporary else { return Ok(()) };
        self.file.sync_all().map_err(failed)?;
        fs::rename(temporary, &self.target).map_err(failed)?;
        self.temporary = None;
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Already on the way out with another error; this one adds nothing.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// Whether a file's name is one that [`AtomicFile`] gives while writing.
pub(crate) fn is_temporary(name: &str) -> bool {
    let inner = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(".tmp"));
    let Some((_, numbers)) = inner.and_then(|inner| inner.rsplit_once('.')) else { return false };
    numbers.split_once('-').is_some_and(|(process, counter)| {
        process.parse::<u32>().is_ok() && counter.parse::<u64>().is_ok()
    })
}

/// Writes a whole file: either all of `bytes` are there under `path` afterwards, or
/// what was there before is untouched.
///
/// # Errors
/// [`Error::Write`] or [`Error::DiskFull`].
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(bytes).map_err(|source| Error::write(path, source))?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Diagnose as _, Exit};

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/file.json");
        write_file(&path, b"one").unwrap();
        write_file(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(path.parent().unwrap()), ["file.json"]);
    }

    #[test]
    fn an_abandoned_file_leaves_the_old_content_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_file(&path, b"old").unwrap();
        let mut file = AtomicFile::create(&path).unwrap();
        file.write_all(b"half of the ne").unwrap();
        drop(file);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_named_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("model.safetensors");
        let temporary = folder.path().join(".model.safetensors.tmp");
        // A real temporary file, whose writes go to a device that is always full.
        fs::write(&temporary, b"").unwrap();
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut full = AtomicFile { file, target: target.clone(), temporary: Some(temporary) };
        let error = full.write_all(b"bytes").map_err(|source| Error::write(&target, source));
        let error = error.unwrap_err();
        drop(full);

        assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!("no space left on the disk while writing {}", target.display())
        );
        assert_eq!(error.exit(), Exit::Failed);
        assert!(error.hint().unwrap().contains("free some space"));
        assert_eq!(names(folder.path()), Vec::<String>::new());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_is_written_to_not_replaced() {
        let error = write_file(Path::new("/dev/full"), b"bytes").unwrap_err();
        assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
        assert!(!fs::metadata("/dev/full").unwrap().is_file());
        write_file(Path::new("/dev/null"), b"bytes").unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        fs::write(&real, b"old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        write_file(&link, b"new").unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn a_folder_in_the_way_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_file(folder.path(), b"bytes").unwrap_err();
        assert!(error.to_string().starts_with("cannot write"), "{error}");
    }
}
