//! `limbeck data clean`: texts put in order, unwanted records and repeats removed.

use std::path::PathBuf;

use anyhow::Result;
use limbeck_cot_data::clean::RecordStream;
use limbeck_cot_data::{
    CleanConfig, InputOptions, ObjectWriter, RecordSource, RecordWriter, clean, records_of,
};
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{conclude, table};
use crate::cli::CleanArguments;

/// cot-data's configuration with the interface of the others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct CleanTable(CleanConfig);

impl Validate for CleanTable {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        self.0.validate().map_err(|error| Invalid::new(error.field, error.expected, error.got))
    }
}

/// A file of records of any kind that can be read again.
struct RecordFile(PathBuf);

impl RecordSource for RecordFile {
    fn open(&self) -> limbeck_cot_data::Result<RecordStream<'_>> {
        Ok(Box::new(records_of(&self.0, &InputOptions::default())?))
    }
}

pub(crate) fn run(arguments: &CleanArguments, json: bool) -> Result<()> {
    let CleanTable(mut config) = table(arguments.config.as_deref(), &arguments.set)?;
    config.benchmarks.extend(arguments.benchmark.iter().cloned());
    let output = &arguments.output;
    let removed =
        arguments.removed.clone().unwrap_or_else(|| output.with_file_name("removed.jsonl"));
    let mut writer = RecordWriter::create(output)?;
    let mut list = ObjectWriter::create(&removed)?;
    let report = clean(
        &RecordFile(arguments.input.clone()),
        &config,
        |record| writer.write(&record),
        |removed| match serde_json::to_value(&removed) {
            Ok(Value::Object(map)) => list.write(&map),
            _ => Ok(()),
        },
    )?;
    writer.finish()?;
    list.finish()?;
    conclude(&report, output, json)
}
