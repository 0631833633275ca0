//! A file under construction: a hidden sibling that takes the target's name only when it
//! is whole, and is removed otherwise.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The sibling of a file that is being written.
#[derive(Debug)]
pub(crate) struct Partial {
    target: PathBuf,
    sibling: PathBuf,
}

impl Partial {
    /// Opens the sibling. The file that bears the target's name, if any, stays as it is.
    pub(crate) fn create(target: &Path) -> io::Result<(Self, fs::File)> {
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}.partial", std::process::id()));
        let partial = Self { target: target.to_owned(), sibling: target.with_file_name(name) };
        let file = fs::File::create(&partial.sibling)?;
        Ok((partial, file))
    }

    /// The file's name when it is whole.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the whole file its name, once its bytes are on the disk.
    pub(crate) fn keep(mut self, file: &fs::File) -> io::Result<()> {
        file.sync_all()?;
        fs::rename(&self.sibling, &self.target)?;
        // Nothing is left for `drop` to remove.
        self.sibling = PathBuf::new();
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.sibling.as_os_str().is_empty() {
            // Best effort: the error that led here is the one to report.
            let _ = fs::remove_file(&self.sibling);
        }
    }
}
