//! `limbeck data`: generate, build and inspect chain-of-thought records.

mod augment;
mod clean;
mod counted;
mod export;
mod import;
mod negatives;
mod part;
mod stratify;
mod variants;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Result;
use limbeck_cot_data::{
    AnswerVerdict, CotRecord, DataConfig, Family, Language, Recipe, RecordWriter, build_splits,
    check_chain, generate_range, shortened,
};
use limbeck_run::Progress;
use limbeck_run::config::{Invalid, Validate, apply_overrides, load_table, parse};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{announce, stage_config};
use crate::cli::{Chains, DataCommand, GenerateRecordsArguments, StageOptions};
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
        DataCommand::Generate(arguments) => generate(&arguments, json),
        DataCommand::Build { stage } => build(&stage, json),
        DataCommand::Import(arguments) => import::run(&arguments, json),
        DataCommand::Export(arguments) => export::run(&arguments, json),
        DataCommand::Clean(arguments) => clean::run(&arguments, json),
        DataCommand::Stratify(arguments) => stratify::run(&arguments, json),
        DataCommand::Negatives(arguments) => negatives::run(&arguments, json),
        DataCommand::Variants(arguments) => variants::run(&arguments, json),
        DataCommand::Augment(arguments) => augment::run(&arguments, json),
        DataCommand::Stats { input } => stats(&input, json),
    }
}

fn generate(arguments: &GenerateRecordsArguments, json: bool) -> Result<()> {
    let shard = part::shard(&arguments.part)?;
    let families: Vec<Family> = if arguments.family == "all" {
        Family::ALL.to_vec()
    } else {
        vec![arguments.family.parse()?]
    };
    let language: Option<Language> = arguments.lang.as_deref().map(str::parse).transpose()?;
    if part::is_done(&arguments.part, &arguments.output, json)? {
        return Ok(());
    }
    let mut writer = RecordWriter::create(&arguments.output)?;
    for family in families {
        let recipe = Recipe { language: language.unwrap_or(family.languages()[0]), family };
        let label = format!("generate {}", family.name());
        let progress = Progress::new(&label, arguments.count / shard.count, "records");
        for block in blocks(arguments.count) {
            let made = generate_range(recipe, arguments.level, block, arguments.seed, shard)?;
            progress.inc(made.len() as u64);
            write(&mut writer, made, arguments.chains)?;
        }
        progress.finish();
    }
    let num_records = writer.num_written();
    writer.finish()?;
    conclude(&serde_json::json!({ "num_records": num_records }), &arguments.output, json)
}

/// Indices in blocks that fit in memory whatever they are in all.
fn blocks(count: u64) -> impl Iterator<Item = Range<u64>> {
    const BLOCK: u64 = 1 << 15;
    (0..count).step_by(BLOCK as usize).map(move |start| start..count.min(start + BLOCK))
}

/// Writes records with long or short chains, or both.
fn write(writer: &mut RecordWriter, records: Vec<CotRecord>, chains: Chains) -> Result<()> {
    for record in records {
        // A chain that cannot be shorter is its own short form.
        let short = match chains {
            Chains::Long => None,
            Chains::Short | Chains::Both => shortened(&record),
        };
        if chains != Chains::Short || short.is_none() {
            writer.write(&record)?;
        }
        if let Some(short) = short {
            writer.write(&short)?;
        }
    }
    Ok(())
}

fn build(options: &StageOptions, json: bool) -> Result<()> {
    let DataTable(mut config) = stage_config(options)?;
    // The pipeline's seed counts unless the table names one of its own.
    if config.seed == 0 {
        config.seed = options.seed;
    }
    let benchmarks = config.clean.iter().flat_map(|clean| &clean.benchmarks);
    let sources: Vec<(String, &PathBuf)> = (config.sources.iter().chain(benchmarks))
        .map(|path| (path.display().to_string(), path))
        .collect();
    let inputs: Vec<(&str, &Path)> =
        sources.iter().map(|(name, path)| (name.as_str(), path.as_path())).collect();
    let mut stage = Stage::begin("data", options, serde_json::to_value(&config)?, &inputs)?;
    let splits = build_splits(&config)?;
    splits.write(stage.folder())?;
    if let Some(cleaned) = &splits.prepared.clean {
        stage.metric("removed", cleaned.num_removed.values().sum::<u64>());
    }
    if !splits.negatives.is_empty() {
        stage.metric("negatives", splits.negatives.len());
    }
    stage.metric("train", splits.train.len());
    stage.metric("validation", splits.validation.len());
    stage.metric("test", splits.test.len());
    let manifest = stage.finish()?;
    announce(&manifest, &options.output, json)
}

/// A table of its own from a file, or of defaults, and the overrides.
fn table<T: Serialize + DeserializeOwned + Validate>(
    file: Option<&Path>,
    overrides: &[String],
) -> Result<T> {
    let mut table = load_table(file)?;
    apply_overrides(&mut table, overrides)?;
    let source = file.map_or("the command line".into(), Path::to_string_lossy);
    Ok(parse(&table, &source)?)
}

/// Says what a command did: as JSON on stdout, or in a line on stderr.
fn conclude(report: &impl Serialize, output: &Path, json: bool) -> Result<()> {
    let text = serde_json::to_string(report)?;
    if json {
        println!("{text}");
    } else {
        tracing::info!("{}: {text}", output.display());
    }
    Ok(())
}

/// What a file holds of a domain and level.
#[derive(Debug, Default, Serialize)]
struct Cell {
    records: usize,
    /// Every step and the answer hold, and agree.
    verified: usize,
    /// A step or the answer does not hold.
    wrong: usize,
    /// Nothing is wrong, but not everything can be checked: prose, or no second solver.
    unchecked: usize,
    mean_steps: f64,
}

fn stats(input: &Path, json: bool) -> Result<()> {
    let mut cells: BTreeMap<String, Cell> = BTreeMap::new();
    for record in counted::records("stats", input)? {
        let record = record?;
        let check = check_chain(&record.question, &record.thought_process, &record.answer);
        let key = format!("{} {}", record.domain, record.difficulty);
        let cell = cells.entry(key).or_default();
        cell.records += 1;
        let is_wrong = check.first_wrong_step().is_some() || check.answer == AnswerVerdict::Wrong;
        match (check.all_ok(), is_wrong) {
            (true, _) => cell.verified += 1,
            (false, true) => cell.wrong += 1,
            (false, false) => cell.unchecked += 1,
        }
        cell.mean_steps += record.thought_process.len() as f64;
    }
    for cell in cells.values_mut() {
        cell.mean_steps /= cell.records as f64;
    }
    if json {
        println!("{}", serde_json::to_string(&cells)?);
        return Ok(());
    }
    let titles = ["records", "verified", "wrong", "unchecked", "steps"];
    println!("{:<16} {}", "domain level", titles.map(|title| format!("{title:>9}")).join(" "));
    for (key, cell) in &cells {
        let Cell { records, verified, wrong, unchecked, mean_steps } = cell;
        println!(
            "{key:<16} {records:>9} {verified:>9} {wrong:>9} {unchecked:>9} {mean_steps:>9.1}"
        );
    }
    Ok(())
}
