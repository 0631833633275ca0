//! The errors of this crate.

use std::path::PathBuf;

use limbeck_run::{Diagnose, Exit};

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong with adapters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A number outside of its range.
    #[error("{what}: expected {expected}, found {found}")]
    Value {
        /// What the number is.
        what: &'static str,
        /// What would be right.
        expected: &'static str,
        /// The number.
        found: String,
    },
    /// A key of `adapter_config.json` is missing or has an impossible value.
    #[error("{}: key `{key}`: expected {expected}, found {found}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
    },
    /// `adapter_config.json` asks for something that is not implemented. Ignoring it
    /// would give another model than the one that was trained.
    #[error("{}: `{key}` is {found}, which is not supported: expected {expected}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is supported.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A pattern for module names is no regular expression.
    #[error("{what}: `{pattern}` is no valid pattern")]
    Pattern {
        /// The key it stands under.
        what: &'static str,
        /// The pattern.
        pattern: String,
        /// Where and why.
        #[source]
        source: Box<regex::Error>,
    },
    /// Names or patterns that no projection of the model matches.
    #[error("{what}: nothing in the model matches {}; its modules end in {}", unmatched.join(", "), available.join(", "))]
    Unmatched {
        /// The key they stand under.
        what: &'static str,
        /// The names without a match.
        unmatched: Vec<String>,
        /// Last parts of the names that exist.
        available: Vec<String>,
    },
    /// A variant that a module, or an operation, cannot have.
    #[error("{what} cannot be {operation}: {reason}")]
    Refused {
        /// Which adapter or module.
        what: String,
        /// What was asked for.
        operation: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// A tensor of an adapter's file does not fit the others or the configuration.
    #[error("tensor {tensor} in {}: expected {expected}, found {found}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What would fit.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The projection carries an adapter already.
    #[error("projection {name} has an adapter already")]
    AlreadyAdapted {
        /// The projection.
        name: String,
    },
    /// The projection that an adapter is to be taken off has none.
    #[error("projection {name} has no adapter")]
    NotAdapted {
        /// The projection.
        name: String,
    },
    /// An adapter's matrices do not fit each other or the projection.
    #[error("{tensor}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// Which matrix.
        tensor: &'static str,
        /// The shape that fits.
        expected: Vec<i64>,
        /// Its shape.
        found: Vec<i64>,
    },
    /// An adapter's tensor is stored in a dtype that holds no weights.
    #[error("tensor {tensor} in {} is stored as {found}: expected a floating-point dtype", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its dtype.
        found: String,
    },
    /// An adapter or a request that the tiers refuse.
    #[error(transparent)]
    Tier(#[from] crate::tiers::TierError),
    /// A merge without anything to compare on.
    #[error("the merge gate was given no tokens to compare the models on")]
    EmptyGate,
    /// The merged model computes something else than the adapted one.
    #[error(
        "the merged model's logits differ from the adapted one's by up to {largest:.3e}, \
         the gate allows {allowed:.3e} (sequence {sequence}, position {position})"
    )]
    MergeDiffers {
        /// The largest absolute difference of a logit.
        largest: f64,
        /// What the gate's tolerance allows on these logits.
        allowed: f64,
        /// Index of the sequence it occurs in.
        sequence: usize,
        /// Position in that sequence.
        position: i64,
    },
    /// A penalty on the update of the weights, and an adapter that trains something else.
    #[error("parameter {parameter}: expected lora_A and lora_B of projections and no other")]
    NotLowRank {
        /// The parameter that is missing or too many.
        parameter: String,
    },
    /// A probed projection that no forward and backward pass went through.
    #[error("projection {name} was not observed in a forward and backward pass")]
    Unobserved {
        /// The projection.
        name: String,
    },
    /// Importances that are none: of no example, or with a mean that divides nothing.
    #[error("importances of weights: expected a finite mean above 0, found {found}")]
    NoImportance {
        /// The mean.
        found: f64,
    },
    /// Importances of other projections or of another form.
    #[error("importances of weights: expected {expected}, found {found}")]
    FisherMismatch {
        /// What would fit.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A file of importances or subspaces that is not what it says.
    #[error("{}: expected {expected}, found {found}", path.display())]
    FisherFile {
        /// The file.
        path: PathBuf,
        /// What would be right.
        expected: String,
        /// What is there.
        found: String,
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
    /// From the training crate.
    #[error(transparent)]
    Train(#[from] limbeck_train::Error),
    /// From the registry.
    #[error(transparent)]
    Registry(#[from] crate::registry::RegistryError),
    /// libtorch refused an operation.
    #[error("libtorch operation failed")]
    Torch(#[from] tch::TchError),
}

impl Diagnose for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Tier(source) => source.exit(),
            Self::Core(source) => source.exit(),
            Self::Model(source) => source.exit(),
            Self::Run(source) => source.exit(),
            Self::Train(source) => source.exit(),
            Self::Registry(source) => source.exit(),
            Self::Value { .. } | Self::Pattern { .. } | Self::EmptyGate => Exit::Usage,
            Self::MergeDiffers { .. } => Exit::Gate,
            Self::AlreadyAdapted { .. }
            | Self::NotAdapted { .. }
            | Self::Unobserved { .. }
            | Self::Torch(_) => Exit::Failed,
            _ => Exit::BadInput,
        }
    }

    fn hint(&self) -> Option<String> {
        use limbeck_core::Error as Core;
        let hint = match self {
            Self::Tensor { .. }
            | Self::Core(
                Core::MissingTensor { .. }
                | Core::TensorShape { .. }
                | Core::LeftoverTensors { .. },
            ) => {
                "the adapter belongs to another base model, or its adapter_config.json to another adapter_model.safetensors"
            }
            Self::Tier(source) => return source.hint(),
            Self::Core(source) => return source.hint(),
            Self::Model(source) => return source.hint(),
            Self::Run(source) => return source.hint(),
            Self::Train(source) => return source.hint(),
            Self::Registry(source) => return source.hint(),
            Self::Config { .. } => {
                "an adapter folder holds the adapter_config.json that PEFT writes"
            }
            Self::Unsupported { .. } => {
                "merge the adapter into its base with PEFT and use the merged model"
            }
            Self::Pattern { .. } => {
                "look-around and back-references are not supported: list the names instead"
            }
            Self::Unmatched { .. } => {
                "target_modules = \"all-linear\" takes every projection of the blocks"
            }
            Self::MergeDiffers { .. } => {
                "merge in float32, or raise the tolerance to what the dtype of the weights allows"
            }
            Self::NotLowRank { .. } => {
                "train a plain LoRA adapter, or leave out the penalty on its update"
            }
            Self::NoImportance { .. } => {
                "give records that the model can still learn from, with a loss above 0"
            }
            Self::FisherFile { .. } | Self::FisherMismatch { .. } => {
                "importances belong to one model and one target_modules: estimate them again"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
