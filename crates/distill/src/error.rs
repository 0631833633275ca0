//! The errors of this crate.

use limbeck_run::{Diagnose, Exit};

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in distillation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Student and teacher do not share a vocabulary.
    #[error("the student's vocabulary has {student} tokens, the teacher's {teacher}")]
    Vocabulary {
        /// Rows of the student's head.
        student: i64,
        /// Rows of the teacher's head.
        teacher: i64,
    },
    /// A pair of blocks of which one is not there.
    #[error("layer_map pairs {pair:?}; the student has {student} blocks, the teacher {teacher}")]
    LayerMap {
        /// The student's block and the teacher's, from 1; 0 is the embedding.
        pair: [usize; 2],
        /// Blocks of the student.
        student: usize,
        /// Blocks of the teacher.
        teacher: usize,
    },
    /// A capture of a teacher.
    #[error(transparent)]
    Capture(#[from] crate::capture::CaptureError),
    /// From the core crate.
    #[error(transparent)]
    Core(#[from] limbeck_core::Error),
    /// From the model crate.
    #[error(transparent)]
    Model(#[from] limbeck_model::Error),
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
            Self::Vocabulary { .. } => Exit::BadInput,
            Self::LayerMap { .. } => Exit::Usage,
            Self::Capture(source) => source.exit(),
            Self::Core(source) => source.exit(),
            Self::Model(source) => source.exit(),
            Self::Train(source) => source.exit(),
            Self::Torch(_) => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Vocabulary { .. } => {
                Some("student and teacher must share one tokenizer and one vocab_size".to_owned())
            }
            Self::LayerMap { .. } => {
                Some("pairs are [student, teacher], counted from 1; 0 is the embedding".to_owned())
            }
            Self::Capture(source) => source.hint(),
            Self::Core(source) => source.hint(),
            Self::Model(source) => source.hint(),
            Self::Train(source) => source.hint(),
            Self::Torch(_) => None,
        }
    }
}
