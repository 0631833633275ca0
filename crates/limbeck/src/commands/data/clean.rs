//! `limbeck data clean`: texts put in order, unwanted records and repeats removed.

use anyhow::Result;
use limbeck_cot_data::{CleanConfig, Error, ObjectWriter, RecordWriter, Shard, clean};
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::counted::RecordFile;
use super::part::{is_done, shard};
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

pub(crate) fn run(arguments: &CleanArguments, json: bool) -> Result<()> {
    let CleanTable(mut config) = table(arguments.config.as_deref(), &arguments.set)?;
    config.benchmarks.extend(arguments.benchmark.iter().cloned());
    let output = &arguments.output;
    let shard = shard(&arguments.part)?;
    if shard != Shard::WHOLE && (config.exact_duplicates || config.near_duplicates) {
        return Err(Error::ShardOfRepeats.into());
    }
    if is_done(&arguments.part, output, json)? {
        return Ok(());
    }
    let removed =
        arguments.removed.clone().unwrap_or_else(|| output.with_file_name("removed.jsonl"));
    let mut writer = RecordWriter::create(output)?;
    let mut list = ObjectWriter::create(&removed)?;
    let report = clean(
        &RecordFile::new(arguments.input.clone(), shard),
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
