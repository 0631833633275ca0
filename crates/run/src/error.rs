//! The errors of this crate: files, folders, configuration.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::{Diagnose, Exit};

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong around a stage's work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file or folder could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The disk, or the user's share of it, is full.
    #[error("no space left on the disk while writing {}", path.display())]
    DiskFull {
        /// The file or folder that was being written.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The output folder holds something that no stage wrote.
    #[error("{} exists and is not the output of an earlier run: {found}", path.display())]
    Occupied {
        /// The folder asked for.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// Another process is filling the output folder.
    #[error("{} is being written by another process, in {}", path.display(), partial.display())]
    InUse {
        /// The folder asked for.
        path: PathBuf,
        /// Where the other one has its files.
        partial: PathBuf,
    },
    /// A file that this project writes is not as it writes it.
    #[error("{}: expected {expected}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the file should hold.
        expected: &'static str,
        /// The parser's complaint, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A configuration file is not TOML.
    #[error("{file}:{line}:{column}: {message}")]
    Syntax {
        /// The configuration file.
        file: String,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// The parser's complaint.
        message: String,
    },
    /// A key of the configuration is unknown, missing or has an impossible value.
    #[error("{location}: {key}: {message}")]
    Config {
        /// The file and, where the key is written in it, the line; or `--set`.
        location: String,
        /// The dotted key.
        key: String,
        /// What was expected and found.
        message: String,
    },
    /// A `--set` that is not `key=value`.
    #[error("--set {text}: {message}")]
    Override {
        /// The argument as given.
        text: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Error {
    /// A failed read of a path.
    pub fn read(path: &Path, source: std::io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    /// A failed write to a path; a full disk gets its own variant.
    pub fn write(path: &Path, source: std::io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull { path, source },
            _ => Self::Write { path, source },
        }
    }
}

impl Diagnose for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Read { .. } | Self::Json { .. } => Exit::BadInput,
            Self::Write { .. } | Self::DiskFull { .. } => Exit::Failed,
            Self::Occupied { .. }
            | Self::InUse { .. }
            | Self::Syntax { .. }
            | Self::Config { .. }
            | Self::Override { .. } => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Read { source, .. } if source.kind() == ErrorKind::NotFound => {
                "check the path; relative paths start at the current folder"
            }
            Self::DiskFull { .. } => {
                "free some space or choose another --output; nothing half-written was left behind"
            }
            Self::Occupied { .. } => "choose another --output, or delete that folder yourself",
            Self::InUse { .. } => "wait until it is done, or choose another --output",
            Self::Override { .. } => "write it as --set table.key=value",
            Self::Json { .. } => "delete the file's folder and run the stage again",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
