//! `limbeck lr-find`: a sweep over learning rates on a model in memory, thrown away after.

mod plot;

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use limbeck_run::config::Validate as _;
use limbeck_train::rate_finder::{Sweep, SweepConfig};
use limbeck_train::{SupervisedObjective, Trainer};

use super::sft::{Place, SftConfig, Start, start_model};
use super::table_config;
use super::training;
use crate::cli::{LrFindArguments, UsageError};
use crate::dataset::DataFolder;

/// Rows of the table.
const ROWS: usize = 20;

pub(crate) fn run(arguments: &LrFindArguments, json: bool) -> Result<()> {
    let config: SftConfig = table_config(arguments.config.as_deref(), &arguments.set)?;
    let LrFindArguments { lowest, highest, steps, seed, .. } = *arguments;
    let sweep = SweepConfig { lowest, highest, steps };
    sweep.validate().map_err(|invalid| UsageError {
        message: format!(
            "--{}: expected {}, found {}",
            invalid.field, invalid.expected, invalid.got
        ),
        hint: "see limbeck lr-find --help".to_owned(),
    })?;
    let device = arguments.device.resolve()?;
    let start = arguments.model.as_deref().or(arguments.tokenizer.as_deref());
    let start = start.context("--model or --tokenizer")?;
    let records = DataFolder::new(&arguments.data).read()?;
    let place = Place { device: arguments.device, seed };
    let Start { decoder, tokenizer, examples, .. } =
        start_model(&config, arguments.model.as_deref(), start, &records, place)?;
    let trainer = Trainer {
        config: &config.train,
        // Nothing is written.
        output: Path::new(""),
        seed,
        pad_token_id: tokenizer.pad_token_id(),
        device,
        label: "lr-find",
        run: "",
    };
    let mut objective = SupervisedObjective { chunk_rows: config.train.head_chunk_rows };
    let parameters = training::all_parameters(&decoder)?;
    let found = trainer.sweep(&decoder, parameters, &examples.train, &mut objective, &sweep)?;
    if let Some(path) = &arguments.plot {
        limbeck_run::write_file(path, plot::svg(&found).as_bytes())?;
    }
    if json {
        println!("{}", serde_json::to_string(&found)?);
    } else {
        print!("{}", table(&found));
    }
    Ok(())
}

fn table(sweep: &Sweep) -> String {
    let mut text = format!("{:>13}  {:>9}  {:>9}\n", "learning rate", "loss", "smoothed");
    let stride = sweep.points.len().div_ceil(ROWS).max(1);
    for point in sweep.points.iter().step_by(stride) {
        let (rate, loss, smoothed) = (point.learning_rate, point.loss, point.smoothed);
        let _ = writeln!(text, "{rate:>13.2e}  {loss:>9.4}  {smoothed:>9.4}");
    }
    let rate =
        |rate: Option<f64>| rate.map_or_else(|| "none".to_owned(), |rate| format!("{rate:.1e}"));
    let _ = writeln!(
        text,
        "steepest descent {}, a tenth of the minimum {}\nsuggestion: learning_rate = {}",
        rate(sweep.steepest),
        rate(sweep.tenth_of_minimum),
        rate(sweep.suggestion)
    );
    text
}
