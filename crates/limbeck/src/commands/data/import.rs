//! `limbeck data import`: public data into records.

use anyhow::Result;
use limbeck_cot_data::{
    Card, CardCounts, Format, ImportOptions, InputOptions, RecordWriter, RejectLog, import,
};
use limbeck_run::Progress;

use super::conclude;
use super::part::{is_done, shard};
use crate::cli::ImportArguments;

pub(crate) fn run(arguments: &ImportArguments, json: bool) -> Result<()> {
    let format: Format = arguments.format.parse()?;
    let options = ImportOptions {
        name: arguments.name.clone(),
        source_name: arguments.source_name.clone(),
        license: arguments.license.clone(),
        teacher: arguments.teacher.clone(),
        domain: arguments.domain.clone(),
        allow_missing_chain: arguments.allow_missing_chain,
        keep_wrong: arguments.keep_wrong,
        verify: arguments.verify,
        keep_annotations: arguments.keep_annotations,
        input: InputOptions::default(),
        shard: shard(&arguments.part)?,
    };
    let output = &arguments.output;
    if is_done(&arguments.part, output, json)? {
        return Ok(());
    }
    let rejects =
        arguments.rejects.clone().unwrap_or_else(|| output.with_file_name("rejects.jsonl"));
    let log = RejectLog::to_file(&rejects)?;
    let mut log = if arguments.strict { log.into_strict() } else { log };
    let mut writer = RecordWriter::create(output)?;
    let mut counts = CardCounts::default();
    let total: u64 = (arguments.input.iter())
        .map(|path| std::fs::metadata(path).map_or(0, |metadata| metadata.len()))
        .sum();
    let progress = Progress::new("import", total, "bytes");
    let mut num_bytes = 0;
    let report = import(
        format,
        &arguments.input,
        &options,
        &mut |record| {
            counts.add("train", &record);
            writer.write(&record)
        },
        &mut log,
        &mut |reached| {
            progress.inc(reached.num_bytes - num_bytes);
            num_bytes = reached.num_bytes;
        },
    )?;
    progress.finish();
    writer.finish()?;
    log.finish()?;
    if arguments.card {
        let mut card = Card::new(arguments.name.as_deref().unwrap_or(format.name()), counts);
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        card.files = vec![("train".to_owned(), name.into_owned())];
        card.rejects
            .extend(report.rejects.iter().map(|(reason, count)| ((*reason).to_owned(), *count)));
        card.command = Some(std::env::args().collect::<Vec<_>>().join(" "));
        card.write(output.parent().unwrap_or(output))?;
    }
    conclude(&report, output, json)
}
