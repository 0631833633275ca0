//! `limbeck lora train --sequence`: task after task on one model, in several ways and with
//! several seeds, and what each way kept and learned.
//!
//! Every task is learned by an adapter that is then merged into float32 weights; a cell is one
//! method with one seed. Reading order: `config`, `tasks` (what is trained and tested on),
//! `cell` (one run through all tasks, continued where a killed one ended), `result` (means over
//! seeds), `table` and `picture`.

mod cell;
mod config;
mod picture;
mod result;
mod table;
mod tasks;

use std::path::Path;

use anyhow::{Context as _, Result};
use limbeck_evaluate::evaluate;
use limbeck_lora::forgetting::ScoreMatrix;
use limbeck_model::Decoder;
use limbeck_run::write_file;
use tch::Device;

use self::cell::{Cell, read_state, write_state};
use self::config::SequenceConfig;
use self::result::SequenceResult;
use self::tasks::Task;
use crate::cli::StageOptions;
use crate::commands::{announce, table_config};
use crate::model_folder::ModelFolder;
use crate::stage::Stage;

/// The scores of the model before the sequence, which all cells share.
const BASELINE: &str = "baseline.json";

/// What all cells share.
struct Plan<'a> {
    config: &'a SequenceConfig,
    model: &'a Path,
    tokenizer: limbeck_core::Tokenizer,
    device: Device,
    /// The base first.
    tasks: Vec<Task>,
    /// Identifies configuration and inputs.
    fingerprint: String,
}

pub(crate) fn run(model: &Path, file: &Path, options: &StageOptions, json: bool) -> Result<()> {
    let config: SequenceConfig = table_config(Some(file), &options.set)?;
    let mut inputs = vec![("model", model)];
    inputs.extend(config.data_folders());
    let value = serde_json::to_value(&config)?;
    let mut stage = Stage::begin("lora-sequence", options, value, &inputs)?;

    let ModelFolder { decoder, tokenizer } =
        ModelFolder::open_for_training(model, options.device, limbeck_core::DType::Float32)?;
    if config.has_penalties() {
        let linears = decoder.linear_names();
        let plans = config.lora.adapter(None).resolve(&linears)?;
        if let Some(plan) = plans.into_iter().find(|plan| !linears.contains(&plan.name)) {
            return Err(limbeck_lora::Error::NotLowRank { parameter: plan.name }.into());
        }
    }
    let tasks = config
        .tasks()
        .map(|task| Task::new(task, &config.lora, &tokenizer, options.seed))
        .collect::<Result<Vec<Task>>>()?;
    let plan = Plan {
        config: &config,
        model,
        tokenizer,
        device: options.device.resolve()?,
        tasks,
        fingerprint: stage.fingerprint().to_owned(),
    };
    let before = plan.baseline(&decoder, &stage.folder().join(BASELINE))?;
    drop(decoder);
    // Seeds outermost: a run that is cut short has all methods of the seeds that it got to.
    let mut cells: Vec<Vec<ScoreMatrix>> = vec![Vec::new(); config.method.len()];
    for &seed in &config.seeds {
        for (method, matrices) in config.method.iter().zip(&mut cells) {
            let folder =
                stage.folder().join("cells").join(&method.name).join(format!("seed-{seed}"));
            matrices.push(Cell { plan: &plan, method, seed, folder }.run(&before)?);
        }
    }
    let names = config.method.iter().map(|method| method.name.clone());
    let problems = plan.tasks.iter().map(|task| task.test.len()).collect();
    let result = SequenceResult::new(config.seeds.clone(), problems, names.zip(cells).collect());

    let path = |name: &str| stage.folder().join(name);
    let mut text = serde_json::to_string_pretty(&result)?;
    text.push('\n');
    write_file(&path("sequence.json"), text.as_bytes())?;
    write_file(&path("sequence.md"), table::markdown(&result).as_bytes())?;
    write_file(&path("sequence.svg"), picture::svg(&result).as_bytes())?;
    for (name, value) in result.metrics() {
        stage.metric(&name, value);
    }
    let manifest = stage.finish()?;
    if !json {
        print!("{}", table::text(&result));
    }
    announce(&manifest, &options.output, json)
}

impl Plan<'_> {
    /// The scores before the sequence: measured once, and kept for a run that goes on.
    fn baseline(&self, decoder: &Decoder, path: &Path) -> Result<ScoreMatrix> {
        let kept = read_state(path)?.and_then(|mut rows| rows.pop());
        let scores = if let Some(scores) = kept {
            scores
        } else {
            let scores = self.scores("before", decoder)?;
            write_state(path, std::slice::from_ref(&scores))?;
            scores
        };
        let names = self.tasks.iter().map(|task| task.name.clone()).collect();
        ScoreMatrix::new(names, scores).context("a score for each task")
    }

    /// Accuracy of greedy replies on the test problems of every task.
    fn scores(&self, label: &str, decoder: &Decoder) -> Result<Vec<f64>> {
        let config = &self.config.evaluate;
        self.tasks
            .iter()
            .map(|task| {
                let label = format!("{label} on {}", task.name);
                let evaluation = evaluate(&label, decoder, &self.tokenizer, &task.test, config)?;
                Ok(evaluation.overall.accuracy.value)
            })
            .collect()
    }
}
