//! The errors of this crate: bad files, bad templates, missing devices.

use std::path::PathBuf;

use limbeck_run::{Diagnose, Exit};

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with devices, tensor files, tokenizers and templates.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be opened or read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file or folder could not be written.
    #[error(transparent)]
    Run(#[from] limbeck_run::Error),
    /// A safetensors file whose header does not fit its content.
    #[error("{} is no valid safetensors file: expected {expected}, found {found}", path.display())]
    TensorFile {
        /// The file.
        path: PathBuf,
        /// What the format requires there.
        expected: String,
        /// What the file holds.
        found: String,
    },
    /// A tensor that the model needs is not in the checkpoint.
    #[error("tensor {tensor} is missing from {}", path.display())]
    MissingTensor {
        /// The folder or file searched.
        path: PathBuf,
        /// The key looked up.
        tensor: String,
    },
    /// A tensor has another shape than the configuration implies.
    #[error("tensor {tensor} in {} has the wrong shape: expected {expected:?}, found {found:?}", path.display())]
    TensorShape {
        /// The folder or file.
        path: PathBuf,
        /// The tensor's key.
        tensor: String,
        /// The shape the configuration implies.
        expected: Vec<i64>,
        /// The shape stored.
        found: Vec<i64>,
    },
    /// A tensor is stored in a dtype that libtorch's bindings do not hold.
    #[error("tensor {tensor} in {} is stored as {found}: expected one of {expected}", path.display())]
    TensorDtype {
        /// The file.
        path: PathBuf,
        /// The tensor's key.
        tensor: String,
        /// The dtypes that can be read.
        expected: String,
        /// The dtype stored.
        found: String,
    },
    /// Tensors that nothing consumed: the file belongs to another architecture.
    #[error("{} tensors of {} belong to no part of the model, the first is {first}", tensors.len(), path.display())]
    LeftoverTensors {
        /// The folder or file.
        path: PathBuf,
        /// The first of them in name order.
        first: String,
        /// All of them.
        tensors: Vec<String>,
    },
    /// A JSON file that does not parse or lacks a key.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What was expected there.
        expected: String,
        /// What was found.
        found: String,
    },
    /// The tokenizer library refused the file or the text.
    #[error("tokenizer {}: {message}", path.display())]
    Tokenizer {
        /// The tokenizer's file.
        path: PathBuf,
        /// The library's message.
        message: String,
    },
    /// The tokenizer can produce an id that the model has no embedding for.
    #[error(
        "tokenizer {} has ids up to {highest_id}, but the model's embedding has {vocab_size} rows",
        path.display()
    )]
    VocabularyMismatch {
        /// The tokenizer's file.
        path: PathBuf,
        /// The highest id it can produce.
        highest_id: i64,
        /// Rows of the embedding.
        vocab_size: i64,
    },
    /// A chat template that does not compile or render.
    #[error("chat template of {}: {message}", path.display())]
    Template {
        /// The file the template came from.
        path: PathBuf,
        /// The engine's message, with the template's line.
        message: String,
    },
    /// A device was asked for that this machine or this libtorch lacks.
    #[error("device {asked} is not available: {reason}")]
    Device {
        /// What was asked for.
        asked: String,
        /// Why it cannot be had.
        reason: String,
    },
    /// A word that names no device or dtype.
    #[error("unknown {what} {found:?}: expected {expected}")]
    Unknown {
        /// Device or dtype.
        what: &'static str,
        /// The word found.
        found: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// libtorch refused an operation.
    #[error("{op}")]
    Torch {
        /// What was being done.
        op: String,
        /// libtorch's error.
        #[source]
        source: tch::TchError,
    },
}

impl From<tch::TchError> for Error {
    fn from(source: tch::TchError) -> Self {
        Self::Torch { op: "tensor operation".to_owned(), source }
    }
}

impl Diagnose for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Run(source) => source.exit(),
            Self::Device { .. } => Exit::Missing,
            Self::Unknown { .. } => Exit::Usage,
            Self::Torch { .. } => Exit::Failed,
            _ => Exit::BadInput,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Run(source) => return source.hint(),
            Self::TensorFile { .. } => {
                "the file looks truncated or damaged: copy or download it again"
            }
            Self::MissingTensor { .. }
            | Self::TensorShape { .. }
            | Self::LeftoverTensors { .. } => {
                "config.json and the safetensors files must come from the same model"
            }
            Self::VocabularyMismatch { .. } => {
                "tokenizer.json and model.safetensors must come from the same model"
            }
            Self::Device { .. } => "use --device cpu, or run on a machine that has the device",
            Self::Template { .. } => {
                "the template is read from chat_template.jinja or tokenizer_config.json (chat_template); for a base model, limbeck convert --chat-template writes one"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
