//! Imports a public file and writes the records: `convert FORMAT INPUT OUTPUT`, with
//! what was left out on standard error and the data set's card beside the records.

use std::path::{Path, PathBuf};

use limbeck_cot_data::{Card, CardCounts, Format, ImportOptions, RecordWriter, RejectLog, import};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [format, input, output] = arguments.as_slice() else {
        return Err("usage: convert FORMAT INPUT OUTPUT".into());
    };
    let output = Path::new(output);
    let format: Format = format.parse()?;
    let options = ImportOptions { allow_missing_chain: true, ..ImportOptions::default() };
    let mut writer = RecordWriter::create(output)?;
    let mut counts = CardCounts::default();
    let mut log = RejectLog::counting();
    let report = import(
        format,
        &[PathBuf::from(input)],
        &options,
        &mut |record| {
            counts.add("train", &record);
            writer.write(&record)
        },
        &mut log,
        &mut |progress| eprintln!("{} bytes, {} records", progress.num_bytes, progress.num_records),
    )?;
    writer.finish()?;
    let mut card = Card::new(format.name(), counts);
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    card.files = vec![("train".to_owned(), name.into_owned())];
    for (reason, count) in report.rejects {
        eprintln!("left out: {count} {reason}");
        card.rejects.insert(reason.to_owned(), count);
    }
    card.write(&output.with_file_name(""))?;
    Ok(())
}
