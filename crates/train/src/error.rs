//! The errors of this crate.

use std::path::PathBuf;

use limbeck_run::{Diagnose, Exit};

use crate::MemoryEstimate;

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
    /// The loss stayed infinite or not a number, also after going back.
    #[error(
        "the gradient was not finite for {steps} steps in a row, the last is step {step}, after \
         {rollbacks} rollbacks; {}", good_checkpoint(checkpoint.as_deref())
    )]
    Diverged {
        /// How many steps.
        steps: u64,
        /// The last of them.
        step: u64,
        /// How often the run went back to a checkpoint with half the learning rate.
        rollbacks: u64,
        /// The last checkpoint before the bad steps, which stays.
        checkpoint: Option<PathBuf>,
    },
    /// More memory than the machine has.
    #[error(
        "the run needs about {estimate}; expected at most {:.2} GB, which the device has",
        *available as f64 / 1e9
    )]
    Memory {
        /// What is needed.
        estimate: MemoryEstimate,
        /// What there is, bytes.
        available: u64,
        /// What to change.
        advice: &'static str,
    },
    /// Validations are to decide, and there are no validation records.
    #[error("{key}: expected validation records to decide by, found none")]
    NoValidation {
        /// The key of the configuration.
        key: &'static str,
    },
    /// A metric that the caller cannot measure.
    #[error("validation_metric: expected \"loss\" for this run, found \"accuracy\"")]
    NoMetric,
    /// A validation metric failed.
    #[error("validation metric {name}")]
    Metric {
        /// The metric.
        name: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Recomputation where the loss needs the activations themselves.
    #[error("activation_checkpointing: expected false with this objective, found true")]
    ActivationCheckpointing,
    /// From the core crate.
    #[error(transparent)]
    Core(#[from] limbeck_core::Error),
    /// From the model crate.
    #[error(transparent)]
    Model(#[from] limbeck_model::Error),
    /// From the run crate.
    #[error(transparent)]
    Run(#[from] limbeck_run::Error),
    /// From an objective of another crate.
    #[error("loss of a batch")]
    Objective {
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// The exit code that it leads to.
        exit: Exit,
        /// What to do about it.
        hint: Option<String>,
    },
    /// libtorch refused an operation.
    #[error("training step")]
    Torch(#[from] tch::TchError),
}

impl Error {
    /// An error of an objective of another crate.
    pub fn objective(source: impl Diagnose + Send + Sync + 'static) -> Self {
        let (exit, hint) = (source.exit(), source.hint());
        Self::Objective { source: Box::new(source), exit, hint }
    }
}

fn good_checkpoint(path: Option<&std::path::Path>) -> String {
    path.map_or_else(
        || "there is no checkpoint".to_owned(),
        |path| format!("the last good checkpoint stays at {}", path.display()),
    )
}

impl Diagnose for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Core(source) => source.exit(),
            Self::Model(source) => source.exit(),
            Self::Run(source) => source.exit(),
            Self::Objective { exit, .. } => *exit,
            Self::EmptyMask { .. }
            | Self::Template { .. }
            | Self::EmptyDataset { .. }
            | Self::Checkpoint { .. }
            | Self::NoValidation { .. }
            | Self::Mix { .. } => Exit::BadInput,
            Self::ActivationCheckpointing | Self::NoMetric => Exit::Usage,
            Self::Memory { .. } => Exit::Missing,
            Self::NoParameters
            | Self::UpdateGroups { .. }
            | Self::Diverged { .. }
            | Self::Metric { .. }
            | Self::Torch(_) => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Core(source) => return source.hint(),
            Self::Model(source) => return source.hint(),
            Self::Run(source) => return source.hint(),
            Self::Objective { hint, .. } => return hint.clone(),
            Self::EmptyMask { .. } => "raise max_length, or drop the record",
            Self::Template { .. } => {
                "use a template that renders the assistant's turn as written, with its <think> block"
            }
            Self::EmptyDataset { .. } => "raise max_length, or give more data",
            Self::Checkpoint { .. } => "delete the checkpoint (or use --fresh) to start again",
            Self::Diverged { .. } => "lower learning_rate or clip_norm, or raise warmup_steps",
            Self::ActivationCheckpointing => {
                "set train.activation_checkpointing=false; lower micro_batch_tokens to save memory"
            }
            Self::Memory { advice, .. } => {
                return Some(format!("{advice}; check_memory=false runs all the same"));
            }
            Self::NoValidation { .. } => "give a data folder with validation.jsonl",
            Self::NoMetric => "set train.validation_metric=\"loss\"",
            Self::Mix { .. } => "see the keys of the table train.mix",
            Self::NoParameters
            | Self::UpdateGroups { .. }
            | Self::Metric { .. }
            | Self::Torch(_) => return None,
        };
        Some(hint.to_owned())
    }
}
