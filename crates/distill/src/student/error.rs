//! What can be wrong with a student's initialisation, known before any training.

use std::path::PathBuf;

use limbeck_run::{Diagnose, Exit};

/// Why a student cannot be made as asked.
#[derive(Debug, thiserror::Error)]
pub enum StudentError {
    /// A key that does not fit the model that the student is made from.
    #[error("student: key `{key}`: expected {expected}, found {found}")]
    Impossible {
        /// The key of the student's table.
        key: &'static str,
        /// What would be accepted, with the other model's value.
        expected: String,
        /// The value.
        found: String,
    },
    /// A start from a teacher where there is none.
    #[error("student: key `init`: `{init}` takes the weights of a model, and none was given")]
    NoTeacher {
        /// The value of `init`.
        init: &'static str,
    },
    /// No text to measure importance on.
    #[error("student: `width_sliced` measures importance on training records, and none are left")]
    NoCalibration,
    /// A calibration text on which the teacher gives no finite numbers.
    #[error("student: activations of the {part} of block {block} are not finite")]
    NotFinite {
        /// The block, from 0.
        block: usize,
        /// What was measured.
        part: &'static str,
    },
    /// A start whose token ids mean something else than the teacher's.
    #[error(
        "student: key `path`: {}: expected the teacher's vocabulary ({teacher}), found \
         another: id {id} is {student_token} there and {teacher_token} in the teacher's",
        path.display()
    )]
    OtherVocabulary {
        /// The student's folder.
        path: PathBuf,
        /// The teacher's folder.
        teacher: String,
        /// The first id that differs.
        id: i64,
        /// The student's token of that id, quoted, or `no token`.
        student_token: String,
        /// The teacher's token of that id, quoted, or `no token`.
        teacher_token: String,
    },
}

impl Diagnose for StudentError {
    fn exit(&self) -> Exit {
        match self {
            Self::Impossible { .. } | Self::NoTeacher { .. } => Exit::Usage,
            Self::NoCalibration | Self::OtherVocabulary { .. } => Exit::BadInput,
            Self::NotFinite { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Impossible { .. } => "0, the default, takes a size over from the other model",
            Self::NoTeacher { .. } => {
                "limbeck distill takes them from --teacher, limbeck sft from --model"
            }
            Self::NoCalibration => "add records, or raise train.max_length",
            Self::NotFinite { .. } => "compute in float32 (train.compute_dtype)",
            Self::OtherVocabulary { .. } => {
                "distributions over other tokens can only be compared by cross-tokenizer \
                 distillation; start from a model that has the teacher's tokenizer"
            }
        };
        Some(hint.to_owned())
    }
}
