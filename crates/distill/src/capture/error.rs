//! What can be wrong with a capture.

use std::path::PathBuf;

use limbeck_run::{Diagnose, Exit};

use super::{FORMAT_VERSION, Header};

/// The result type of this module.
pub type Result<T> = std::result::Result<T, CaptureError>;

/// What can go wrong with a capture of a teacher.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// No capture where one was to be.
    #[error("{} holds no capture: expected files *.{}", path.display(), super::EXTENSION)]
    NoFile {
        /// The folder, or an empty path where none was given.
        path: PathBuf,
    },
    /// A file of another kind.
    #[error("{} is no capture: it does not begin with the mark of one", path.display())]
    NotACapture {
        /// The file.
        path: PathBuf,
    },
    /// A capture of another version of the format.
    #[error("{} has version {found} of the capture format, expected {FORMAT_VERSION}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The file ends before its end mark.
    #[error("{} is cut off or unfinished: {num_records} whole records, then {found} at byte {offset}", path.display())]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Where the last whole block ends.
        offset: u64,
        /// Whole records before.
        num_records: u64,
        /// What is there instead of the end mark.
        found: &'static str,
    },
    /// Bytes that are not what was written.
    #[error("{} is damaged at byte {offset}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged block begins.
        offset: u64,
        /// What does not fit.
        what: String,
    },
    /// The capture was made for something else than it is to be used for.
    #[error("{} was captured with another {what}: expected {expected}, found {found}", path.display())]
    Differs {
        /// The file.
        path: PathBuf,
        /// The tokenizer, the chat template, the teacher, ….
        what: &'static str,
        /// What the run has.
        expected: String,
        /// What the capture has.
        found: String,
    },
    /// Files that were to be read together do not belong together.
    #[error("{} and {} differ in their {what}: {first_value} and {second_value}", first.display(), second.display())]
    ShardsDiffer {
        /// A file.
        first: PathBuf,
        /// Another.
        second: PathBuf,
        /// What differs.
        what: &'static str,
        /// The first file's.
        first_value: String,
        /// The second file's.
        second_value: String,
    },
    /// A record that was captured twice.
    #[error("record {id} is in {} and again in {}", first.display(), second.display())]
    Repeated {
        /// The record.
        id: String,
        /// The file that has it first.
        first: PathBuf,
        /// The file that has it again.
        second: PathBuf,
    },
    /// A record that has other tokens now.
    #[error("record {id} was captured with other tokens than it has now, in {}", path.display())]
    OtherTokens {
        /// The record.
        id: String,
        /// The file.
        path: PathBuf,
    },
    /// Records that were never captured.
    #[error("{count} of {of} records are not in the capture, the first is {first}")]
    Missing {
        /// How many.
        count: usize,
        /// Of how many.
        of: usize,
        /// The first one's id.
        first: String,
    },
    /// A position that carried no loss when the record was captured.
    #[error("record {id}: position {position} was not captured")]
    Position {
        /// The record.
        id: String,
        /// The input position.
        position: usize,
    },
    /// The teacher gave something that is no distribution.
    #[error("record {id}: the teacher's logits at position {position} are not finite")]
    NotFinite {
        /// The record.
        id: String,
        /// The input position.
        position: usize,
    },
    /// What was to be written contradicts itself.
    #[error("record {id}: {what}")]
    Shape {
        /// The record.
        id: String,
        /// What does not fit.
        what: String,
    },
    /// `top_k` or `temperature` makes no sense for this teacher.
    #[error("{what} must be {expected}, found {found}")]
    Setting {
        /// The setting.
        what: &'static str,
        /// What would be accepted.
        expected: String,
        /// What was given.
        found: String,
    },
    /// Another process is writing the same file.
    #[error("{} is being written by another process", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A teacher that no longer says what was captured.
    #[error(
        "record {id}: the capture and the teacher differ by {found:.4} nats at position {position}, expected at most {expected:.4}"
    )]
    Disagrees {
        /// The record.
        id: String,
        /// The input position.
        position: usize,
        /// The bound.
        expected: f64,
        /// The difference.
        found: f64,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Run(#[from] limbeck_run::Error),
    /// libtorch refused an operation.
    #[error("captured tensors")]
    Torch(#[from] tch::TchError),
}

impl CaptureError {
    /// What differs between the header of `path` and the one expected, as an error.
    pub(super) fn differs(
        path: &std::path::Path,
        expected: &Header,
        found: &Header,
    ) -> Option<Self> {
        let (what, expected, found) = expected.difference(found)?;
        Some(Self::Differs { path: path.to_owned(), what, expected, found })
    }
}

impl Diagnose for CaptureError {
    fn exit(&self) -> Exit {
        match self {
            Self::Run(source) => source.exit(),
            Self::Setting { .. } => Exit::Usage,
            Self::Locked { .. } | Self::NotFinite { .. } | Self::Shape { .. } | Self::Torch(_) => {
                Exit::Failed
            }
            _ => Exit::BadInput,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Run(source) => return source.hint(),
            Self::CutOff { .. } => {
                "run the same `limbeck capture` again: it cuts the rest off and goes on"
            }
            Self::Missing { .. } => {
                "run `limbeck capture` on the same data and --max-length: it captures what is missing"
            }
            Self::Damaged { .. } => {
                "the file was changed or the disk is failing: copy it again, or delete it and capture again"
            }
            Self::Version { .. } => "capture again, or use the version that made it",
            Self::Differs { .. } => {
                "use what the capture was made with, or capture again into another --output"
            }
            Self::ShardsDiffer { .. } => "read together only shards of one capture",
            Self::Repeated { .. } => {
                "read together only shards of one split: delete the files of the other"
            }
            Self::OtherTokens { .. } => {
                "the record or its chat template changed: capture again into another --output"
            }
            Self::Position { .. } => "capture the records again, into another --output",
            Self::NotFinite { .. } => "use --dtype float32 or bfloat16",
            Self::Locked { .. } => "wait for it, or give each process its own --shard",
            Self::Disagrees { .. } => {
                "use the --dtype and the device of the capture, or capture again into another --output"
            }
            Self::NoFile { .. }
            | Self::NotACapture { .. }
            | Self::Shape { .. }
            | Self::Setting { .. }
            | Self::Torch(_) => return None,
        };
        Some(hint.to_owned())
    }
}
