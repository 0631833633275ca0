//! `limbeck data export`: records into the formats of other tools.

use anyhow::Result;
use limbeck_cot_data::{ExportFormat, ExportOptions, export};

use super::conclude;
use super::counted::records;
use crate::cli::ExportArguments;

pub(crate) fn run(arguments: &ExportArguments, json: bool) -> Result<()> {
    let format: ExportFormat = arguments.format.parse()?;
    let records = records("export", &arguments.input)?;
    let options = ExportOptions { include_wrong: arguments.include_wrong };
    let report = export(format, records, &arguments.output, &options)?;
    conclude(&report, &arguments.output, json)
}
