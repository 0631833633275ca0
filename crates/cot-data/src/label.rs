//! What is known about a chain: right, wrong, or a wrong one with its correction.

use serde_json::{Map, Value};

use crate::error::FieldError;
use crate::field;

/// Verdict on a record's chain of thought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Label {
    /// Every step and the answer hold.
    #[default]
    Correct,
    /// The chain goes wrong.
    Wrong {
        /// Index, from 0, of the first step that does not hold.
        first_wrong_step: usize,
        /// Name of the error, such as `off_by_one`.
        error: String,
    },
    /// `thought_process` is right; the wrong chain that it corrects is kept beside it.
    Corrected {
        /// The wrong chain.
        wrong_thought_process: Vec<String>,
        /// Index, from 0, of the wrong chain's first step that does not hold.
        first_wrong_step: usize,
        /// What was wrong and how it is put right.
        correction: String,
    },
}

impl Label {
    /// The value of `label.kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Correct => "correct",
            Self::Wrong { .. } => "wrong",
            Self::Corrected { .. } => "corrected",
        }
    }

    /// As a JSON object.
    pub(crate) fn to_map(&self) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("kind".to_owned(), self.kind().into());
        match self {
            Self::Correct => {}
            Self::Wrong { first_wrong_step, error } => {
                map.insert("first_wrong_step".to_owned(), (*first_wrong_step).into());
                map.insert("error".to_owned(), error.as_str().into());
            }
            Self::Corrected { wrong_thought_process, first_wrong_step, correction } => {
                map.insert(
                    "wrong_thought_process".to_owned(),
                    wrong_thought_process.as_slice().into(),
                );
                map.insert("first_wrong_step".to_owned(), (*first_wrong_step).into());
                map.insert("correction".to_owned(), correction.as_str().into());
            }
        }
        map
    }

    /// From a JSON object.
    ///
    /// # Errors
    /// A missing, misplaced or unknown field, or a step index past the chain's end.
    pub(crate) fn from_map(mut map: Map<String, Value>) -> Result<Self, FieldError> {
        let kind = field::text(&mut map, "label", "kind")?;
        let label = match kind.as_str() {
            "correct" => Self::Correct,
            "wrong" => Self::Wrong {
                first_wrong_step: field::index(&mut map, "label", "first_wrong_step")?,
                error: field::text(&mut map, "label", "error")?,
            },
            "corrected" => Self::Corrected {
                wrong_thought_process: field::texts(&mut map, "label", "wrong_thought_process")?,
                first_wrong_step: field::index(&mut map, "label", "first_wrong_step")?,
                correction: field::text(&mut map, "label", "correction")?,
            },
            other => {
                return Err(FieldError {
                    field: "label.kind".to_owned(),
                    expected: "correct, wrong or corrected".to_owned(),
                    got: format!("`{other}`"),
                });
            }
        };
        if let Some((key, value)) = map.iter().next() {
            return Err(FieldError {
                field: format!("label.{key}"),
                expected: format!("no such field beside kind `{kind}`"),
                got: field::shown(value),
            });
        }
        Ok(label)
    }
}
