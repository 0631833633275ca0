//! Records as a Parquet table and back.
//!
//! The columns are those of the record. What a column cannot hold, the fields unknown to
//! us, is JSON text in the column `extra`: an object with `record`, `source` and `checks`,
//! each there only if it has such fields.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::label::Label;
use crate::partial::Partial;
use crate::record::CotRecord;

/// The table's columns. The order is that in which [`Columns::flush`] writes them.
const SCHEMA: &str = "message cot_record {
  required binary id (STRING);
  required binary question (STRING);
  required group thought_process (LIST) {
    repeated group list { required binary element (STRING); }
  }
  required binary answer (STRING);
  required binary domain (STRING);
  required int32 difficulty (INTEGER(8,false));
  required binary bloom (STRING);
  required group label {
    required binary kind (STRING);
    optional int64 first_wrong_step (INTEGER(64,true));
    optional binary error (STRING);
    optional group wrong_thought_process (LIST) {
      repeated group list { required binary element (STRING); }
    }
    optional binary correction (STRING);
  }
  required group source {
    required binary name (STRING);
    required binary license (STRING);
    optional binary teacher (STRING);
    optional binary generator (STRING);
    optional int64 seed (INTEGER(64,false));
  }
  required group checks {
    required binary answer (STRING);
    required group steps (LIST) { repeated group list { required boolean element; } }
  }
  optional binary extra (STRING);
}";

/// A row group is written when its texts have this many bytes together.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// A row group is written when it has this many rows.
const ROW_GROUP_ROWS: usize = 65_536;

/// One column's values, with the level of definition and of repetition of each entry.
struct Column<T: DataType> {
    values: Vec<T::T>,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
}

impl<T: DataType> Default for Column<T> {
    fn default() -> Self {
        Self { values: Vec::new(), definitions: Vec::new(), repetitions: Vec::new() }
    }
}

impl<T: DataType> Column<T> {
    /// A value that is always there.
    fn put(&mut self, value: T::T) {
        self.values.push(value);
    }

    /// A value that may be absent.
    fn put_optional(&mut self, value: Option<T::T>) {
        self.definitions.push(i16::from(value.is_some()));
        self.values.extend(value);
    }

    /// A list; an empty one is defined up to `present`, an element one level more.
    fn put_list(&mut self, values: impl Iterator<Item = T::T>, present: i16) {
        let before = self.values.len();
        self.values.extend(values);
        let length = self.values.len() - before;
        if length == 0 {
            self.put_level(present);
            return;
        }
        self.definitions.extend(std::iter::repeat_n(present + 1, length));
        self.repetitions.push(0);
        self.repetitions.extend(std::iter::repeat_n(1, length - 1));
    }

    /// An entry of a list column without an element.
    fn put_level(&mut self, definition: i16) {
        self.definitions.push(definition);
        self.repetitions.push(0);
    }

    /// Writes the values as the row group's next column.
    fn flush(
        &mut self,
        group: &mut SerializedRowGroupWriter<'_, File>,
    ) -> std::result::Result<(), ParquetError> {
        let Some(mut column) = group.next_column()? else {
            return Err(ParquetError::General("the schema has too few columns".to_owned()));
        };
        let given = |levels: &[i16]| (!levels.is_empty()).then(|| levels.to_vec());
        let (definitions, repetitions) = (given(&self.definitions), given(&self.repetitions));
        let typed = column.typed::<T>();
        typed.write_batch(&self.values, definitions.as_deref(), repetitions.as_deref())?;
        column.close()?;
        *self = Self::default();
        Ok(())
    }
}

type Text = Column<ByteArrayType>;

/// The values of a row group.
#[derive(Default)]
struct Columns {
    id: Text,
    question: Text,
    thought_process: Text,
    answer: Text,
    domain: Text,
    difficulty: Column<Int32Type>,
    bloom: Text,
    label_kind: Text,
    label_first_wrong_step: Column<Int64Type>,
    label_error: Text,
    label_wrong_thought_process: Text,
    label_correction: Text,
    source_name: Text,
    source_license: Text,
    source_teacher: Text,
    source_generator: Text,
    source_seed: Column<Int64Type>,
    checks_answer: Text,
    checks_steps: Column<BoolType>,
    extra: Text,
    num_rows: usize,
    num_bytes: usize,
}

impl Columns {
    fn put(&mut self, record: &CotRecord) {
        let bytes = &mut self.num_bytes;
        let mut text = |text: &str| {
            *bytes += text.len();
            ByteArray::from(text)
        };
        self.id.put(text(&record.id));
        self.question.put(text(&record.question));
        self.thought_process.put_list(record.thought_process.iter().map(|step| text(step)), 0);
        self.answer.put(text(&record.answer));
        self.domain.put(text(&record.domain));
        self.difficulty.put(i32::from(record.difficulty));
        self.bloom.put(text(&record.bloom));
        self.label_kind.put(text(record.label.kind()));
        let (mut first, mut error, mut wrong, mut correction) = (None, None, None, None);
        match &record.label {
            Label::Correct => {}
            Label::Wrong { first_wrong_step, error: name } => {
                first = Some(*first_wrong_step as i64);
                error = Some(text(name));
            }
            Label::Corrected { wrong_thought_process, first_wrong_step, correction: how } => {
                first = Some(*first_wrong_step as i64);
                wrong = Some(wrong_thought_process);
                correction = Some(text(how));
            }
        }
        self.label_first_wrong_step.put_optional(first);
        self.label_error.put_optional(error);
        match wrong {
            None => self.label_wrong_thought_process.put_level(0),
            Some(steps) => {
                self.label_wrong_thought_process.put_list(steps.iter().map(|step| text(step)), 1);
            }
        }
        self.label_correction.put_optional(correction);
        let source = &record.source;
        self.source_name.put(text(&source.name));
        self.source_license.put(text(&source.license));
        self.source_teacher.put_optional(source.teacher.as_deref().map(&mut text));
        self.source_generator.put_optional(source.generator.as_deref().map(&mut text));
        // The column is unsigned; the bits are the same.
        self.source_seed.put_optional(source.seed.map(|seed| seed as i64));
        self.checks_answer.put(text(&record.checks.answer));
        self.checks_steps.put_list(record.checks.steps.iter().copied(), 0);
        self.extra.put_optional(extra_text(record).as_deref().map(&mut text));
        self.num_rows += 1;
    }

    fn flush(
        &mut self,
        group: &mut SerializedRowGroupWriter<'_, File>,
    ) -> std::result::Result<(), ParquetError> {
        self.id.flush(group)?;
        self.question.flush(group)?;
        self.thought_process.flush(group)?;
        self.answer.flush(group)?;
        self.domain.flush(group)?;
        self.difficulty.flush(group)?;
        self.bloom.flush(group)?;
        self.label_kind.flush(group)?;
        self.label_first_wrong_step.flush(group)?;
        self.label_error.flush(group)?;
        self.label_wrong_thought_process.flush(group)?;
        self.label_correction.flush(group)?;
        self.source_name.flush(group)?;
        self.source_license.flush(group)?;
        self.source_teacher.flush(group)?;
        self.source_generator.flush(group)?;
        self.source_seed.flush(group)?;
        self.checks_answer.flush(group)?;
        self.checks_steps.flush(group)?;
        self.extra.flush(group)?;
        (self.num_rows, self.num_bytes) = (0, 0);
        Ok(())
    }
}

/// A table that is being written.
pub(super) struct Table {
    partial: Partial,
    writer: SerializedFileWriter<File>,
    columns: Columns,
    num_written: u64,
}

impl Table {
    pub(super) fn create(path: &Path) -> Result<Self> {
        let write_error = |source| Error::Write { path: path.to_owned(), source };
        let (partial, file) = Partial::create(path).map_err(write_error)?;
        let opened = parse_message_type(SCHEMA).and_then(|schema| {
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .set_created_by("limbeck".to_owned())
                .build();
            SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))
        });
        let writer = opened.map_err(|error| write_error(io_error(error)))?;
        Ok(Self { partial, writer, columns: Columns::default(), num_written: 0 })
    }

    pub(super) fn write(&mut self, record: &CotRecord) -> Result<()> {
        self.columns.put(record);
        self.num_written += 1;
        if self.columns.num_rows >= ROW_GROUP_ROWS || self.columns.num_bytes >= ROW_GROUP_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    pub(super) fn num_written(&self) -> u64 {
        self.num_written
    }

    pub(super) fn finish(mut self) -> Result<()> {
        if self.columns.num_rows > 0 {
            self.flush()?;
        }
        let Self { partial, writer, .. } = self;
        let path = partial.target().to_owned();
        writer
            .into_inner()
            .map_err(io_error)
            .and_then(|file| partial.keep(&file))
            .map_err(|source| Error::Write { path, source })
    }

    fn flush(&mut self) -> Result<()> {
        let written = (|| {
            let mut group = self.writer.next_row_group()?;
            self.columns.flush(&mut group)?;
            group.close().map(|_| ())
        })();
        written.map_err(|error| Error::Write {
            path: self.partial.target().to_owned(),
            source: io_error(error),
        })
    }
}

/// The system's own error where there is one, so that a full disk is told as such.
fn io_error(error: ParquetError) -> std::io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(error) => *error,
            Err(other) => std::io::Error::other(other),
        },
        other => std::io::Error::other(other),
    }
}

/// Keys of the `extra` column's object.
const EXTRA_KEYS: [&str; 3] = ["record", "source", "checks"];

fn extra_text(record: &CotRecord) -> Option<String> {
    let parts = [&record.extra, &record.source.extra, &record.checks.extra];
    let mut all = Map::new();
    for (key, part) in EXTRA_KEYS.iter().zip(parts) {
        if !part.is_empty() {
            all.insert((*key).to_owned(), Value::Object(part.clone()));
        }
    }
    (!all.is_empty()).then(|| Value::Object(all).to_string())
}

/// Undoes what a table does to a record's object: a label's absent fields come back as
/// nulls, and unknown fields as text in `extra`.
pub(crate) fn object_of_row(mut row: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(label)) = row.get_mut("label") {
        label.retain(|_, value| !value.is_null());
    }
    let extra = match row.get("extra") {
        Some(Value::Null) => Some(Map::new()),
        Some(Value::String(text)) => serde_json::from_str::<Map<String, Value>>(text)
            .ok()
            .filter(|all| all.iter().all(|(key, part)| is_extra_part(key, part))),
        _ => None,
    };
    // A table that others made may have a column of this name with something else in it.
    let Some(extra) = extra else { return row };
    row.shift_remove("extra");
    for (key, part) in extra {
        let Value::Object(part) = part else { continue };
        if key == EXTRA_KEYS[0] {
            row.extend(part);
        } else if let Some(Value::Object(parent)) = row.get_mut(&key) {
            parent.extend(part);
        }
    }
    row
}

fn is_extra_part(key: &str, part: &Value) -> bool {
    EXTRA_KEYS.contains(&key) && part.is_object()
}
