//! Where records come from: something that can be read twice.

use std::path::PathBuf;

use crate::error::Result;
use crate::jsonl::JsonlReader;
use crate::record::CotRecord;

/// A stream of records.
pub type RecordStream<'a> = Box<dyn Iterator<Item = Result<CotRecord>> + Send + 'a>;

/// A source that can be opened again and then gives the same records in the same order:
/// cleaning reads it twice, so that it need not hold it.
pub trait RecordSource {
    /// A stream of all records from the first.
    ///
    /// # Errors
    /// What the system refused.
    fn open(&self) -> Result<RecordStream<'_>>;
}

/// Files of records, one after the other.
#[derive(Clone, Debug)]
pub struct JsonlSource {
    /// The files.
    pub paths: Vec<PathBuf>,
}

impl RecordSource for JsonlSource {
    fn open(&self) -> Result<RecordStream<'_>> {
        let readers: Result<Vec<JsonlReader>> =
            self.paths.iter().map(|path| JsonlReader::open(path)).collect();
        Ok(Box::new(readers?.into_iter().flatten()))
    }
}

/// Records in memory.
impl RecordSource for [CotRecord] {
    fn open(&self) -> Result<RecordStream<'_>> {
        Ok(Box::new(self.iter().cloned().map(Ok)))
    }
}

impl RecordSource for Vec<CotRecord> {
    fn open(&self) -> Result<RecordStream<'_>> {
        self.as_slice().open()
    }
}
