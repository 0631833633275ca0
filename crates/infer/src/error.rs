//! The errors of this crate.

use limbeck_run::config::Invalid;
use limbeck_run::{Diagnose, Exit};

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in generation and scoring.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A sampling or engine setting has an impossible value.
    #[error("{}: expected {}, found {}", .0.field, .0.expected, .0.got)]
    Setting(Invalid),
    /// There is nothing to condition on.
    #[error("request {index}: expected at least one token, found none")]
    Empty {
        /// Place of the request in the input, from 0.
        index: usize,
    },
    /// A token id that the model has no embedding for.
    #[error("request {index}: token id {token} is outside the model's vocabulary of {vocab_size}")]
    TokenOutOfRange {
        /// Place of the request in the input, from 0.
        index: usize,
        /// The id.
        token: i64,
        /// Rows of the embedding.
        vocab_size: i64,
    },
    /// The model was made for shorter sequences.
    #[error(
        "request {index}: {prompt_tokens} tokens with {max_new_tokens} more to generate exceed the \
         model's max_position_embeddings of {limit}"
    )]
    TooLong {
        /// Place of the request in the input, from 0.
        index: usize,
        /// Tokens given.
        prompt_tokens: usize,
        /// Tokens that may be added.
        max_new_tokens: usize,
        /// The model's limit.
        limit: i64,
    },
    /// One request needs more cache than all requests together may hold.
    #[error(
        "request {index}: {bytes} bytes of cache are needed, max_cache_bytes allows {max_cache_bytes}"
    )]
    OverBudget {
        /// Place of the request in the input, from 0.
        index: usize,
        /// Keys and values of the prompt and all new tokens.
        bytes: u64,
        /// The engine's limit.
        max_cache_bytes: u64,
    },
    /// The model's logits hold NaN or infinity.
    #[error("request {index}: the logits after {position} tokens are not finite")]
    NotFinite {
        /// Place of the request in the input, from 0.
        index: usize,
        /// Tokens read before.
        position: usize,
    },
    /// Nothing that a reply could go on with is allowed.
    #[error(
        "request {index}: after {position} tokens, its constraint and bias allow no token at all"
    )]
    NothingAllowed {
        /// Place of the request in the input, from 0.
        index: usize,
        /// Tokens read before.
        position: usize,
    },
    /// A request's constraint failed.
    #[error("constraint")]
    Constraint {
        /// The constraint's exit code.
        exit: Exit,
        /// The constraint's hint.
        hint: Option<String>,
        /// The constraint's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The router could not prepare the model for a batch.
    #[error("{}", index.map_or_else(|| "a batch".to_owned(), |index| format!("request {index}")))]
    Router {
        /// Place of the request in the input, from 0, if one is at fault.
        index: Option<usize>,
        /// The router's exit code.
        exit: Exit,
        /// The router's hint.
        hint: Option<String>,
        /// The router's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// From the core crate: a tokenizer.
    #[error(transparent)]
    Core(#[from] limbeck_core::Error),
    /// From the model crate.
    #[error(transparent)]
    Model(#[from] limbeck_model::Error),
    /// libtorch refused an operation.
    #[error("generation")]
    Torch(#[from] tch::TchError),
}

impl Error {
    /// Place in the input, from 0, of the request that is at fault.
    pub fn request(&self) -> Option<usize> {
        match self {
            Self::Empty { index }
            | Self::TokenOutOfRange { index, .. }
            | Self::TooLong { index, .. }
            | Self::OverBudget { index, .. }
            | Self::NotFinite { index, .. }
            | Self::NothingAllowed { index, .. } => Some(*index),
            Self::Router { index, .. } => *index,
            Self::Setting(_)
            | Self::Constraint { .. }
            | Self::Core(_)
            | Self::Model(_)
            | Self::Torch(_) => None,
        }
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Self::Setting(invalid)
    }
}

impl Diagnose for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Setting(_) | Self::OverBudget { .. } => Exit::Usage,
            Self::Router { exit, .. } | Self::Constraint { exit, .. } => *exit,
            Self::Core(source) => source.exit(),
            Self::Model(source) => source.exit(),
            Self::Torch(_) | Self::NotFinite { .. } => Exit::Failed,
            _ => Exit::BadInput,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Router { hint, .. } | Self::Constraint { hint, .. } => return hint.clone(),
            Self::Core(source) => return source.hint(),
            Self::NothingAllowed { .. } => "no text that the constraint asks for can go on here",
            Self::Model(source) => return source.hint(),
            Self::TokenOutOfRange { .. } => "use the tokenizer that belongs to this model",
            Self::TooLong { .. } => "shorten the prompt or lower max_new_tokens",
            Self::OverBudget { .. } => "raise max_cache_bytes or lower max_new_tokens",
            Self::NotFinite { .. } => {
                "the weights diverged or overflow this dtype: try float32, or an earlier checkpoint"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
