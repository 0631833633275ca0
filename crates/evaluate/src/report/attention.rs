//! The attention maps that lie beside an evaluation.

use std::io::ErrorKind;
use std::path::Path;

use crate::attention::AttentionMap;
use crate::{Error, Result};

/// The file's name within an evaluation folder.
const FILE: &str = "attention.json";

/// The maps of a folder; none where it has no such file.
///
/// # Errors
/// A damaged file.
pub(super) fn read(folder: &Path) -> Result<Vec<AttentionMap>> {
    let path = folder.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(limbeck_run::Error::read(&path, source).into()),
    };
    serde_json::from_str(&text).map_err(|source| Error::Json {
        path,
        line: None,
        expected: "a list of attention maps",
        source,
    })
}
