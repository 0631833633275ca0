//! `limbeck report`: evaluations joined into one table and one page.

use anyhow::Result;
use limbeck_evaluate::Report;

use super::announce;
use crate::cli::ReportArguments;
use crate::stage::Stage;

pub(crate) fn run(arguments: &ReportArguments, json: bool) -> Result<()> {
    let options = &arguments.stage;
    let inputs: Vec<(&str, &std::path::Path)> = arguments
        .input
        .iter()
        .map(|path| {
            (path.file_name().and_then(|name| name.to_str()).unwrap_or("input"), path.as_path())
        })
        .collect();
    let stage = Stage::begin("report", options, serde_json::json!({}), &inputs)?;
    let report = Report::read(&arguments.input)?;
    report.write(stage.folder())?;
    let manifest = stage.finish()?;
    if !json {
        print!("{}", report.table());
    }
    announce(&manifest, &options.output, json)
}
