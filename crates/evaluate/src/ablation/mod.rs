//! An ablation: the same student trained in several ways, with several seeds each, and what
//! each way adds.
//!
//! A tree of folders says what belongs together: `VARIANT/seed-N/evaluation` for a student,
//! `VARIANT/seed-N/student` for its training if that is there, `teacher/evaluation` for the
//! teacher. Reading order: [`tree`] (the folders), [`result`] (what comes of them), `table`.

pub mod result;
pub(crate) mod table;
pub mod tree;

use std::path::Path;

pub use result::{Difference, TrainingCost, Variant, Verdict};
use serde::{Deserialize, Serialize};
pub use tree::{Selection, Tree};

use crate::folder::write_json;
use crate::statistics::Proportion;
use crate::{Error, Result};

/// The file's name within its folder.
pub const FILE: &str = "ablation.json";

/// What an ablation shows, as `ablation.json` holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ablation {
    /// The seeds that each variant was trained with.
    pub seeds: Vec<u64>,
    /// Problems that every student and the teacher were asked.
    pub problems: u64,
    /// The teacher's accuracy on them.
    pub teacher: Proportion,
    /// The variants that the others are held against.
    pub against: Vec<String>,
    /// The variants in order.
    pub variants: Vec<Variant>,
}

impl Ablation {
    /// Reads an `ablation.json`.
    ///
    /// # Errors
    /// A file that cannot be read, or is no ablation.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| limbeck_run::Error::read(path, source))?;
        serde_json::from_str(&text)
            .map_err(|source| Error::AblationFile { path: path.to_owned(), source })
    }

    /// The table for a terminal.
    pub fn table(&self) -> String {
        table::text(self)
    }

    /// The table in GitHub's Markdown, with a note on how to read it.
    pub fn markdown(&self) -> String {
        table::markdown(self)
    }

    /// Writes `ablation.json`, `ablation.md` and `ablation.txt` into a folder that exists.
    ///
    /// # Errors
    /// Write errors.
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join(FILE), self)?;
        for (name, text) in [("ablation.md", self.markdown()), ("ablation.txt", self.table())] {
            limbeck_run::write_file(&folder.join(name), text.as_bytes())?;
        }
        Ok(())
    }
}
