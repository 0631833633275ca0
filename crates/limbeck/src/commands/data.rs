//! `limbeck data`: generate, build and inspect chain-of-thought records.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use limbeck_cot_data::{
    DataConfig, Family, Shard, build_splits, check_chain, generate_many, read_jsonl, write_jsonl,
};
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

use super::{announce, stage_config};
use crate::cli::DataCommand;
use crate::stage::Stage;

/// cot-data's configuration with the interface of the others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct DataTable(pub(crate) DataConfig);

impl Validate for DataTable {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        self.0.validate().map_err(|error| Invalid::new(error.field, error.expected, error.got))
    }
}

pub(crate) fn run(command: DataCommand, json: bool) -> Result<()> {
    match command {
        DataCommand::Generate { family, level, count, seed, shard, output } => {
            let shard: Shard = shard.as_deref().map_or(Ok(Shard::WHOLE), str::parse)?;
            let families: Vec<Family> =
                if family == "all" { Family::ALL.to_vec() } else { vec![family.parse()?] };
            let mut records = Vec::new();
            for family in families {
                records.extend(generate_many(family, level, count, seed, shard)?);
            }
            write_jsonl(&output, &records)?;
            tracing::info!("{} records in {}", records.len(), output.display());
            Ok(())
        }
        DataCommand::Build { stage: options } => {
            let DataTable(mut config) = stage_config(&options)?;
            // The pipeline's seed counts unless the table names one of its own.
            if config.seed == 0 {
                config.seed = options.seed;
            }
            let mut stage = Stage::begin("data", &options, serde_json::to_value(&config)?, &[])?;
            let splits = build_splits(&config)?;
            splits.write(stage.folder())?;
            stage.metric("train", splits.train.len());
            stage.metric("validation", splits.validation.len());
            stage.metric("test", splits.test.len());
            let manifest = stage.finish()?;
            announce(&manifest, &options.output, json)
        }
        DataCommand::Stats { input } => stats(&input, json),
    }
}

/// What a file holds, per family and level.
#[derive(Debug, Default, Serialize)]
struct Cell {
    records: usize,
    verified: usize,
    mean_steps: f64,
}

fn stats(input: &Path, json: bool) -> Result<()> {
    let mut cells: BTreeMap<String, Cell> = BTreeMap::new();
    for record in read_jsonl(input)? {
        let check = check_chain(&record.question, &record.thought_process, &record.answer);
        let key = format!("{} {}", record.domain, record.difficulty);
        let cell = cells.entry(key).or_default();
        cell.records += 1;
        cell.verified += usize::from(check.all_ok());
        cell.mean_steps += record.thought_process.len() as f64;
    }
    for cell in cells.values_mut() {
        cell.mean_steps /= cell.records as f64;
    }
    if json {
        println!("{}", serde_json::to_string(&cells)?);
        return Ok(());
    }
    println!("{:<16} {:>9} {:>9} {:>6}", "family level", "records", "verified", "steps");
    for (key, cell) in &cells {
        println!("{key:<16} {:>9} {:>9} {:>6.1}", cell.records, cell.verified, cell.mean_steps);
    }
    Ok(())
}
