//! The errors of this crate.

use limbeck_run::{Diagnose, Exit};

use crate::relations::Relation;

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in distillation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A pair of blocks of which one is not there.
    #[error("{key} pairs {pair:?}; the student has {student} blocks, the teacher {teacher}")]
    LayerMap {
        /// The configuration's key.
        key: &'static str,
        /// The student's block and the teacher's, from 1; 0 is the embedding.
        pair: [usize; 2],
        /// Blocks of the student.
        student: usize,
        /// Blocks of the teacher.
        teacher: usize,
    },
    /// Relation heads that do not divide the width of all heads together.
    #[error("{heads} relation heads do not divide the {model}'s {kind:?} width of {width}")]
    RelationHeads {
        /// Relation heads.
        heads: i64,
        /// Whose width.
        model: &'static str,
        /// Which vectors.
        kind: Relation,
        /// Their width over all heads.
        width: i64,
    },
    /// Something that takes the teacher's activations, or its opinion of new text.
    #[error("{key} needs a teacher in memory with the student's tokens")]
    NeedsLive {
        /// The configuration's key.
        key: &'static str,
    },
    /// Distributions captured at another temperature.
    #[error("the teacher was captured at temperature {captured}, expected {wanted}")]
    Temperature {
        /// The capture's.
        captured: f64,
        /// The configuration's.
        wanted: f64,
    },
    /// A divergence between tokens that are not the same.
    #[error("the divergence compares tokens by id, and the teacher has other tokens")]
    NotAligned,
    /// A record of whose reply no byte begins a token of both.
    #[error("record {id}: student and teacher never meet at the beginning of a token")]
    NoMeeting {
        /// The record's id.
        id: String,
    },
    /// A student that cannot be made as asked.
    #[error(transparent)]
    Student(#[from] crate::student::StudentError),
    /// A capture of a teacher.
    #[error(transparent)]
    Capture(#[from] crate::capture::CaptureError),
    /// From the core crate.
    #[error(transparent)]
    Core(#[from] limbeck_core::Error),
    /// From the model crate.
    #[error(transparent)]
    Model(#[from] limbeck_model::Error),
    /// From the infer crate.
    #[error(transparent)]
    Infer(#[from] limbeck_infer::Error),
    /// From the train crate.
    #[error(transparent)]
    Train(#[from] limbeck_train::Error),
    /// libtorch refused an operation.
    #[error("distillation step")]
    Torch(#[from] tch::TchError),
}

impl Diagnose for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::LayerMap { .. }
            | Self::RelationHeads { .. }
            | Self::NeedsLive { .. }
            | Self::Temperature { .. }
            | Self::NotAligned => Exit::Usage,
            Self::NoMeeting { .. } => Exit::BadInput,
            Self::Student(source) => source.exit(),
            Self::Capture(source) => source.exit(),
            Self::Core(source) => source.exit(),
            Self::Model(source) => source.exit(),
            Self::Infer(source) => source.exit(),
            Self::Train(source) => source.exit(),
            Self::Torch(_) => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::LayerMap { .. } => {
                Some("pairs are [student, teacher], counted from 1; 0 is the embedding".to_owned())
            }
            Self::RelationHeads { .. } => {
                Some("relations.heads must divide heads times head_dim of both".to_owned())
            }
            Self::NeedsLive { key } => Some(format!("set {key} to 0, or give the teacher itself")),
            Self::Temperature { captured, .. } => Some(format!(
                "set temperature to {captured}, or capture again: what the tail has at another \
                 temperature is not known"
            )),
            Self::NotAligned => Some("set divergence to sorted_l1".to_owned()),
            Self::NoMeeting { .. } => {
                Some("leave the record out, or look at the two chat templates".to_owned())
            }
            Self::Student(source) => source.hint(),
            Self::Capture(source) => source.hint(),
            Self::Core(source) => source.hint(),
            Self::Model(source) => source.hint(),
            Self::Infer(source) => source.hint(),
            Self::Train(source) => source.hint(),
            Self::Torch(_) => None,
        }
    }
}
