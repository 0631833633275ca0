//! `limbeck data export`: records into the formats of other tools.

use anyhow::Result;
use limbeck_cot_data::{ExportFormat, ExportOptions, export};

use super::conclude;
use super::counted::records_of_shard;
use super::part::{is_done, shard};
use crate::cli::ExportArguments;

pub(crate) fn run(arguments: &ExportArguments, json: bool) -> Result<()> {
    let format: ExportFormat = arguments.format.parse()?;
    if is_done(&arguments.part, &arguments.output, json)? {
        return Ok(());
    }
    let records = records_of_shard("export", &arguments.input, shard(&arguments.part)?)?
        .map(|numbered| numbered.map(|(_, record)| record));
    let options = ExportOptions { include_wrong: arguments.include_wrong };
    let report = export(format, records, &arguments.output, &options)?;
    conclude(&report, &arguments.output, json)
}
