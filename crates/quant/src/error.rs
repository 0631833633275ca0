//! The errors of this crate.

use std::path::PathBuf;

use limbeck_run::{Diagnose, Exit};

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong between a model and its quantised folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer's size does not divide into groups or words.
    #[error("layer {layer}: expected {expected}, found {found}")]
    LayerShape {
        /// The layer.
        layer: String,
        /// What the format requires.
        expected: String,
        /// The layer's size.
        found: String,
        /// What would work.
        hint: String,
    },
    /// A weight that is not finite, or too large for a scale in f16.
    #[error(
        "layer {layer}: expected weights whose scale fits float16, found infinite, NaN or too large ones"
    )]
    WeightRange {
        /// The layer.
        layer: String,
    },
    /// A weight that is not finite.
    #[error("layer {layer}: expected finite weights, found NaN or infinity")]
    NotFinite {
        /// The layer.
        layer: String,
    },
    /// A row that a matrix does not have.
    #[error("row {row}: expected one of {rows}")]
    NoRow {
        /// The number asked for.
        row: i64,
        /// Rows that there are.
        rows: i64,
    },
    /// A bias outside f16, in which the format stores it.
    #[error("layer {layer}: expected a bias within float16, found one of magnitude {found}")]
    BiasRange {
        /// The layer.
        layer: String,
        /// The largest magnitude.
        found: f64,
    },
    /// Calibration gave activations that are not finite.
    #[error(
        "layer {layer}: expected finite inputs on the calibration records, found NaN or infinity"
    )]
    ActivationRange {
        /// The layer.
        layer: String,
    },
    /// The Hessian stayed indefinite at the highest damping.
    #[error(
        "layer {layer}: the Hessian of {tokens} tokens is not positive definite at damping {damping}"
    )]
    Indefinite {
        /// The layer.
        layer: String,
        /// Tokens that it was summed over.
        tokens: i64,
        /// The last damping tried, as a share of the mean diagonal.
        damping: f64,
    },
    /// There is nothing to calibrate on.
    #[error("no calibration token: {reason}")]
    NoCalibration {
        /// Why.
        reason: String,
    },
    /// Fewer calibration tokens than methods can go by.
    #[error(
        "calibration: expected at least {expected} tokens, found {found} in {sequences} sequences"
    )]
    TooFewTokens {
        /// Tokens that the limits admit.
        found: usize,
        /// Sequences that they come from.
        sequences: usize,
        /// `calibration_tokens_min`.
        expected: usize,
    },
    /// A pattern that names no layer.
    #[error(
        "quantisation config: key {field}: expected a pattern of some projection's name, found {pattern}"
    )]
    UnmatchedPattern {
        /// The key.
        field: &'static str,
        /// The pattern.
        pattern: String,
        /// A projection that there is.
        example: String,
    },
    /// A block of an interrupted run that cannot be gone on with.
    #[error("{}: {reason}", path.display())]
    Resume {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A configuration with an impossible value.
    #[error("quantisation config: key {field}: expected {expected}, found {found}")]
    Config {
        /// The key.
        field: String,
        /// What would be accepted.
        expected: String,
        /// The value.
        found: String,
    },
    /// A layer that is packed already.
    #[error("layer {layer} is quantised already")]
    AlreadyQuantized {
        /// The layer.
        layer: String,
    },
    /// A folder that is packed already and is to be rounded to NF4.
    #[error("{}: expected an unquantised model to round to NF4, found quantization_config", path.display())]
    PackedTwice {
        /// The folder's configuration.
        path: PathBuf,
    },
    /// A packed decoder of which nothing was changed, where it is to be packed again.
    #[error("no projection of the packed model is dense: there is nothing to quantise again")]
    NothingDense,
    /// A decoder without packed layers where one with them is needed.
    #[error("the model has no quantised layer to save")]
    NotQuantized,
    /// A folder quantised in a way that is not supported.
    #[error("{}: quantization_config: {key}: expected {expected}, found {found}", path.display())]
    QuantizationConfig {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is supported.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A packed tensor of the wrong dtype or with impossible values.
    #[error("tensor {tensor} in {}: expected {expected}, found {found}", path.display())]
    PackedTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's key.
        tensor: String,
        /// What the format requires.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Zeros of another version of the GPTQ format than the configuration says.
    #[error(
        "tensor {tensor} in {}: expected zeros of a symmetric {stated} file, found {zero} throughout, which is {found}'s",
        path.display()
    )]
    ZeroVersion {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's key.
        tensor: String,
        /// The version that the configuration says.
        stated: &'static str,
        /// The version that the zeros are of.
        found: &'static str,
        /// The zero, as stored.
        zero: u8,
    },
    /// Something that a format cannot hold.
    #[error("format {format}: expected {expected}, found {found}")]
    FormatLimit {
        /// The format.
        format: &'static str,
        /// What it holds.
        expected: String,
        /// What is asked of it.
        found: String,
        /// What would work.
        hint: String,
    },
    /// The folder computes something else than the decoder that was written.
    #[error(
        "{}: the logits of the folder differ from those of the model in memory by {difference:.1e} of their size, expected at most {tolerance:.0e}",
        path.display()
    )]
    ReadBackLogits {
        /// The folder.
        path: PathBuf,
        /// Norm of the difference over the norm of the logits.
        difference: f64,
        /// What rounding explains.
        tolerance: f64,
    },
    /// What was written does not read back as what was quantised.
    #[error("layer {layer} in {}: the stored weights differ from the quantised ones: {reason}", path.display())]
    ReadBack {
        /// The layer.
        layer: String,
        /// The folder.
        path: PathBuf,
        /// In what they differ.
        reason: String,
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
    #[error("libtorch operation failed during quantisation")]
    Torch(#[from] tch::TchError),
}

impl Diagnose for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Core(source) => source.exit(),
            Self::Model(source) => source.exit(),
            Self::Run(source) => source.exit(),
            Self::Config { .. }
            | Self::LayerShape { .. }
            | Self::FormatLimit { .. }
            | Self::UnmatchedPattern { .. }
            | Self::PackedTwice { .. } => Exit::Usage,
            Self::Indefinite { .. }
            | Self::NotQuantized
            | Self::NothingDense
            | Self::ReadBack { .. }
            | Self::ReadBackLogits { .. }
            | Self::Torch(_) => Exit::Failed,
            _ => Exit::BadInput,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Core(source) => return source.hint(),
            Self::Model(source) => return source.hint(),
            Self::Run(source) => return source.hint(),
            Self::LayerShape { hint, .. } | Self::FormatLimit { hint, .. } => {
                return Some(hint.clone());
            }
            Self::ZeroVersion { found, .. } => {
                return Some(format!(
                    "set checkpoint_format to \"{found}\" in quantization_config and in quantize_config.json"
                ));
            }
            Self::WeightRange { .. } | Self::BiasRange { .. } | Self::NotFinite { .. } => {
                "the model's weights look damaged: evaluate it before quantising it"
            }
            Self::ActivationRange { .. } => {
                "evaluate the unquantised model on these records; float16 activations overflow where bfloat16 ones do not"
            }
            Self::Indefinite { .. } => "use more calibration records, or method = \"rtn\"",
            Self::NoCalibration { .. } => {
                "give records whose tokens fit this model, or use method = \"rtn\", which needs none"
            }
            Self::TooFewTokens { .. } => {
                "give more records, lower calibration_tokens_min, or use method = \"rtn\", which needs none"
            }
            Self::UnmatchedPattern { example, .. } => {
                return Some(format!(
                    "patterns match names such as {example} from their first letter on"
                ));
            }
            Self::Resume { .. } => "remove the folder of finished blocks to begin anew",
            Self::NoRow { .. } => "give tokens of this model's vocabulary",
            Self::AlreadyQuantized { .. } => "quantise the unquantised model",
            Self::PackedTwice { .. } => {
                "set base = \"stored\": a quantised folder stays packed below an adapter as it is"
            }
            Self::NothingDense => "merge an adapter that targets projections first",
            Self::NotQuantized => "call quantize first",
            Self::QuantizationConfig { .. } => {
                "re-quantise the original model with limbeck quantize, or convert the checkpoint to GPTQ"
            }
            Self::PackedTensor { .. } => {
                "the checkpoint is damaged, or its quantization_config belongs to another one"
            }
            Self::ReadBack { .. } | Self::ReadBackLogits { .. } => {
                "the disk or this program is at fault; quantise again"
            }
            Self::Config { .. } | Self::Torch(_) => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<limbeck_run::config::Invalid> for Error {
    fn from(invalid: limbeck_run::config::Invalid) -> Self {
        Self::Config { field: invalid.field, expected: invalid.expected, found: invalid.got }
    }
}
