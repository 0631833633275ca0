//! The crate's one error type, with a hint for the person who reads it.

use std::io;
use std::path::PathBuf;

use crate::rejects::Reject;

/// Result of this crate's fallible functions.
pub type Result<T> = std::result::Result<T, Error>;

/// What a caller should make of an [`Error`]: programs map it to an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Wrong configuration or arguments.
    Usage,
    /// A data file holds something that is no record.
    BadInput,
    /// The machine refused (a full disk, a missing folder) or a generator is at fault.
    Failed,
}

/// A configuration field with an impossible value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("data.{field}: expected {expected}, got {got}")]
pub struct ConfigError {
    /// Name of the field inside the `[data]` table.
    pub field: String,
    /// The values that are accepted.
    pub expected: String,
    /// The value that was given.
    pub got: String,
}

/// A JSON object that is no chain-of-thought record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: expected {expected}, found {got}")]
pub struct FieldError {
    /// Path of the field in the record, such as `label.kind`.
    pub field: String,
    /// What the field must hold.
    pub expected: String,
    /// What was found there, shortened.
    pub got: String,
}

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A line is not a JSON object, or not UTF-8.
    #[error("{}:{line}: expected a JSON object, found something else", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Where in the line JSON ends.
        #[source]
        source: serde_json::Error,
    },
    /// A line is JSON but no record.
    #[error("{}:{line}: {problem}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// The field at fault.
        problem: FieldError,
    },
    /// The first object of a foreign file that cannot be imported, where none may be.
    #[error("{}: {reject}", reject.place)]
    Reject {
        /// Where it is and what is wrong with it.
        reject: Box<Reject>,
    },
    /// A file's ending does not say how to write it.
    #[error("{}: expected a name that ends in {expected}", path.display())]
    Ending {
        /// The file.
        path: PathBuf,
        /// The endings that are known.
        expected: &'static str,
    },
    /// No such format of chain-of-thought data.
    #[error("unknown format `{got}`, expected one of {expected}")]
    UnknownFormat {
        /// The names that exist.
        expected: String,
        /// The name that was asked for.
        got: String,
    },
    /// A configuration value is impossible.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No such family of problems.
    #[error("unknown family `{got}`, expected one of {expected}")]
    UnknownFamily {
        /// The names that exist.
        expected: String,
        /// The name that was asked for.
        got: String,
    },
    /// No such kind of mistake.
    #[error("unknown mistake `{got}`, expected one of {expected}")]
    UnknownMistake {
        /// The names that exist.
        expected: String,
        /// The name that was asked for.
        got: String,
    },
    /// No such kind of variant.
    #[error("unknown variant `{got}`, expected one of {expected}")]
    UnknownVariant {
        /// The names that exist.
        expected: String,
        /// The name that was asked for.
        got: String,
    },
    /// No such language, or not for this family.
    #[error("language `{got}` is not known, expected {expected}")]
    UnknownLanguage {
        /// The codes that exist.
        expected: String,
        /// The code that was asked for.
        got: String,
    },
    /// No such level of Bloom's taxonomy.
    #[error("unknown level `{got}` of Bloom's taxonomy, expected one of {expected}")]
    UnknownBloom {
        /// The names that exist.
        expected: String,
        /// The name that was found.
        got: String,
    },
    /// No such difficulty level.
    #[error("level {got} does not exist, expected 1..={max}")]
    UnknownLevel {
        /// The highest level.
        max: u8,
        /// The level that was asked for.
        got: u8,
    },
    /// No such part of a data set.
    #[error("shard `{got}` does not exist, expected i/n with i from 0 to n - 1")]
    Shard {
        /// The part that was asked for.
        got: String,
    },
    /// A search for repeats in a part of the records.
    #[error("expected all records for a search for repeats, got a shard of them")]
    ShardOfRepeats,
    /// The checker refused what a generator rendered: a defect of this crate.
    #[error("{id}: the checker refused the generated record: {reason}")]
    Rejected {
        /// Id of the record.
        id: String,
        /// The first line or answer at fault.
        reason: String,
    },
    /// An endpoint that answers no request.
    #[error("{url} does not answer: {detail}")]
    Endpoint {
        /// The endpoint.
        url: String,
        /// What it said last, or what went wrong.
        detail: String,
    },
    /// A journal that another process writes to.
    #[error("{}: another process writes to this journal", path.display())]
    JournalInUse {
        /// The journal.
        path: PathBuf,
    },
    /// A source of records is not the same when it is read again.
    #[error("the source gave {second} records at the second reading, expected the same {first}")]
    SourceChanged {
        /// Records of the first reading.
        first: u64,
        /// Records of the second reading.
        second: u64,
    },
}

impl Error {
    /// How a program should classify the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } | Self::Json { .. } | Self::Record { .. } | Self::Reject { .. } => {
                ErrorKind::BadInput
            }
            Self::Config(_)
            | Self::Ending { .. }
            | Self::UnknownFormat { .. }
            | Self::UnknownFamily { .. }
            | Self::UnknownMistake { .. }
            | Self::UnknownVariant { .. }
            | Self::UnknownLanguage { .. }
            | Self::UnknownBloom { .. }
            | Self::UnknownLevel { .. }
            | Self::Shard { .. }
            | Self::ShardOfRepeats => ErrorKind::Usage,
            Self::Write { .. }
            | Self::Rejected { .. }
            | Self::Endpoint { .. }
            | Self::JournalInUse { .. }
            | Self::SourceChanged { .. } => ErrorKind::Failed,
        }
    }

    /// What to try next, where something useful can be said.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => Some("check that the path exists and may be read".to_owned()),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("the disk is full; free some space and run again".to_owned())
            }
            Self::Write { .. } => {
                Some("check that the folder exists and may be written".to_owned())
            }
            Self::Json { .. } => {
                Some("a record is one JSON object on one line; was the file cut off?".to_owned())
            }
            Self::Record { problem, .. } => Some(format!(
                "fix `{}` on that line, or import the file with `limbeck data import` if it is \
                 in another format",
                problem.field
            )),
            Self::Endpoint { .. } => Some(
                "check the URL, the model's name and the key; what was answered is in the \
                 journal, and the same command asks for the rest"
                    .to_owned(),
            ),
            Self::JournalInUse { .. } => {
                Some("wait for it to end, or name another journal".to_owned())
            }
            Self::Rejected { .. } => {
                Some("this is a defect of the generator: report it".to_owned())
            }
            Self::Reject { .. } => Some(
                "mend the file, or import without the strict mode to leave such objects out and \
                 list them"
                    .to_owned(),
            ),
            Self::ShardOfRepeats => Some(
                "a repeat may lie in another shard: set exact_duplicates=false and \
                 near_duplicates=false, and clean what the shards keep once more, together"
                    .to_owned(),
            ),
            Self::SourceChanged { .. } => {
                Some("was the file written to meanwhile? run again when it is whole".to_owned())
            }
            Self::Config(_)
            | Self::Ending { .. }
            | Self::UnknownFormat { .. }
            | Self::UnknownFamily { .. }
            | Self::UnknownMistake { .. }
            | Self::UnknownVariant { .. }
            | Self::UnknownLanguage { .. }
            | Self::UnknownBloom { .. }
            | Self::UnknownLevel { .. }
            | Self::Shard { .. } => None,
        }
    }
}
