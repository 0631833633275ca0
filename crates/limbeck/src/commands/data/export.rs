//! `limbeck data export`: records into the formats of other tools.

use anyhow::Result;
use limbeck_cot_data::{ExportFormat, ExportOptions, InputOptions, export, records_of};

use super::conclude;
use crate::cli::ExportArguments;

pub(crate) fn run(arguments: &ExportArguments, json: bool) -> Result<()> {
    let format: ExportFormat = arguments.format.parse()?;
    let records = records_of(&arguments.input, &InputOptions::default())?;
    let options = ExportOptions { include_wrong: arguments.include_wrong };
    let report = export(format, records, &arguments.output, &options)?;
    conclude(&report, &arguments.output, json)
}
