//! The crate's error type.

use std::path::PathBuf;

use limbeck_run::{Diagnose, Exit};
use tch::TchError;

/// Result with this crate's [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong between a model folder and its logits.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor file or tokenizer could not be read or written.
    #[error(transparent)]
    Core(#[from] limbeck_core::Error),

    /// An output could not be written.
    #[error(transparent)]
    Run(#[from] limbeck_run::Error),

    /// A libtorch operation failed.
    #[error("libtorch operation failed")]
    Torch(#[from] TchError),

    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },

    /// A configuration could not be written as JSON.
    #[error("{}: cannot be written as JSON", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },

    /// A key of a Hugging Face configuration is missing or has an impossible value.
    #[error("model config: key `{key}`: expected {expected}, found {got}")]
    Config {
        /// The key, dotted when nested.
        key: String,
        /// What would be right.
        expected: String,
        /// What is there.
        got: String,
    },

    /// A GGUF file is damaged or lacks something.
    #[error("{}: expected {expected}, found {got}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What would be right, with the key or tensor.
        expected: String,
        /// What is there.
        got: String,
    },

    /// A model has something that llama.cpp has no place for.
    #[error("GGUF export: {what}: expected {expected}, found {got}")]
    Export {
        /// The part of the model or its tokenizer.
        what: String,
        /// What llama.cpp takes.
        expected: String,
        /// What the model has.
        got: String,
    },

    /// The configuration names an architecture without an implementation.
    #[error("model config: unsupported {what} `{found}`; supported: {}", supported.join(", "))]
    Unsupported {
        /// The key: `model_type`, `rope_type`, `hidden_act`, ….
        what: &'static str,
        /// Its value.
        found: String,
        /// The values that are implemented.
        supported: &'static [&'static str],
    },

    /// Tensors given to an operation do not fit each other or the model.
    #[error("{op}: expected {expected}, found {got}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// The shape or condition.
        expected: String,
        /// What was given.
        got: String,
    },

    /// A token id lies outside the embedding.
    #[error("token id {token} is outside the model's vocabulary of {vocab_size}")]
    TokenOutOfRange {
        /// The id.
        token: i64,
        /// Rows of the embedding.
        vocab_size: i64,
    },

    /// No projection has that name.
    #[error("no linear layer named `{name}`; the model has: {available}")]
    UnknownLinear {
        /// The name asked for.
        name: String,
        /// An excerpt of the names that exist.
        available: String,
    },

    /// No norm has that name.
    #[error("no norm named `{name}` in the model")]
    UnknownNorm {
        /// The name asked for.
        name: String,
    },

    /// A layer's replacement failed earlier and the layer is gone.
    #[error("linear layer `{name}` was taken out and not replaced")]
    LinearMissing {
        /// The layer.
        name: String,
    },

    /// A layer implemented in another crate failed.
    #[error("linear layer `{name}`")]
    Layer {
        /// The layer.
        name: String,
        /// The other crate's exit code.
        exit: Exit,
        /// The other crate's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Wraps another crate's error about the layer `name`.
    pub fn layer(name: impl Into<String>, source: impl Diagnose + Send + Sync + 'static) -> Self {
        Self::Layer { name: name.into(), exit: source.exit(), source: Box::new(source) }
    }

    pub(crate) fn config(
        key: impl Into<String>,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Config { key: key.into(), expected: expected.into(), got: got.into() }
    }

    pub(crate) fn shape(
        op: &'static str,
        expected: impl Into<String>,
        got: impl Into<String>,
    ) -> Self {
        Self::Shape { op, expected: expected.into(), got: got.into() }
    }
}

impl Diagnose for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Core(source) => source.exit(),
            Self::Run(source) => source.exit(),
            Self::Layer { exit, .. } => *exit,
            Self::Torch(_) | Self::LinearMissing { .. } => Exit::Failed,
            _ => Exit::BadInput,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Core(source) => return source.hint(),
            Self::Run(source) => return source.hint(),
            Self::Read { .. } => {
                "a model folder holds config.json, model.safetensors (or shards with their index) and tokenizer.json"
            }
            Self::Gguf { .. } => {
                "the file may be truncated: compare its checksum with the source's"
            }
            Self::Config { .. } => "compare config.json with the model's published one",
            Self::Unsupported { .. } => "convert the model to a supported architecture",
            Self::Export { .. } => {
                "llama.cpp would compute something else: keep this model in a folder of safetensors"
            }
            Self::TokenOutOfRange { .. } => "use the tokenizer that belongs to this model",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
