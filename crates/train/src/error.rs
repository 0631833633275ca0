//! The errors of this crate.

use std::path::PathBuf;

use limbeck_run::{Diagnose, Exit};

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in training.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A record whose rendering leaves nothing to learn from.
    #[error("record {id}: no token of the completion is left to learn from: {reason}")]
    EmptyMask {
        /// The record's id.
        id: String,
        /// Why nothing is left.
        reason: String,
    },
    /// A record whose conversation does not begin with its own prompt when rendered.
    #[error("record {id}: the chat template does not keep {what}")]
    Template {
        /// The record's id.
        id: String,
        /// The part that is lost.
        what: &'static str,
    },
    /// There is nothing to train on.
    #[error("the dataset holds no example: {reason}")]
    EmptyDataset {
        /// Why.
        reason: String,
    },
    /// A mix of groups of examples that cannot be made.
    #[error("the mix of examples cannot be made: {reason}")]
    Mix {
        /// Why.
        reason: String,
    },
    /// Groups of parameters that an update schedule does not know.
    #[error("an update schedule needs the groups adapter and base, found {found:?}")]
    UpdateGroups {
        /// The groups there are.
        found: String,
    },
    /// There is nothing to train.
    #[error("the model has no trainable parameter")]
    NoParameters,
    /// A checkpoint of another run.
    #[error("checkpoint {} does not fit this run: {what} was {found}, expected {expected}", path.display())]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// What differs.
        what: String,
        /// This run's.
        expected: String,
        /// The checkpoint's.
        found: String,
    },
    /// The loss stayed infinite or not a number.
    #[error("the gradient was not finite for {steps} steps in a row, the last is step {step}")]
    Diverged {
        /// How many steps.
        steps: u64,
        /// The last of them.
        step: u64,
    },
    /// From the core crate.
    #[error(transparent)]
    Core(#[from] limbeck_core::Error),
    /// From the model crate.
    #[error(transparent)]
    Model(#[from] limbeck_model::Error),
    /// From the run crate.
    #[error(transparent)]
    Run(#[from] limbeck_run::Error),
    /// libtorch refused an operation.
    #[error("training step")]
    Torch(#[from] tch::TchError),
}

impl Diagnose for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Core(source) => source.exit(),
            Self::Model(source) => source.exit(),
            Self::Run(source) => source.exit(),
            Self::EmptyMask { .. } | Self::Template { .. } | Self::EmptyDataset { .. } => {
                Exit::BadInput
            }
            Self::Checkpoint { .. } | Self::Mix { .. } => Exit::BadInput,
            Self::NoParameters
            | Self::UpdateGroups { .. }
            | Self::Diverged { .. }
            | Self::Torch(_) => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Core(source) => return source.hint(),
            Self::Model(source) => return source.hint(),
            Self::Run(source) => return source.hint(),
            Self::EmptyMask { .. } => "raise max_length, or drop the record",
            Self::Template { .. } => {
                "use a template that renders the assistant's turn as written, with its <think> block"
            }
            Self::EmptyDataset { .. } => "raise max_length, or give more data",
            Self::Checkpoint { .. } => "delete the checkpoint (or use --fresh) to start again",
            Self::Diverged { .. } => "lower learning_rate or clip_norm, or raise warmup_steps",
            Self::Mix { .. } => "see the keys of the table train.mix",
            Self::NoParameters | Self::UpdateGroups { .. } | Self::Torch(_) => return None,
        };
        Some(hint.to_owned())
    }
}
