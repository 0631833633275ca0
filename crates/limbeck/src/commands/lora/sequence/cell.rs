//! One method with one seed: all tasks, one after another.
//!
//! A cell's folder holds `state.json`, the scores after each finished task, and `after-N`, what
//! the next task starts from. The state is written after what it refers to and the folder
//! before is removed after that, so that a killed run goes on behind its last finished task.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use limbeck_core::seed::derive;
use limbeck_lora::forgetting::{
    Ewc, EwcConfig, Fisher, LowRankUpdate, Orthogonal, Penalised, Penalty, ScoreMatrix, Subspaces,
};
use limbeck_lora::{Adapter, MergeGate, merge};
use limbeck_model::{Decoder, LoadOptions};
use limbeck_train::mix::MixConfig;
use limbeck_train::{Batch, Example, TrainConfig, Trainer, checkpoint};
use tch::Kind;

use super::Plan;
use super::config::MethodConfig;
use super::tasks::Task;

const STATE: &str = "state.json";
const SUBSPACES: &str = "subspaces.safetensors";

/// Examples that a merge is checked on.
const GATE_EXAMPLES: usize = 4;

/// One method with one seed.
pub(super) struct Cell<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) method: &'a MethodConfig,
    pub(super) seed: u64,
    pub(super) folder: PathBuf,
}

/// A model between two tasks, and what is known of the tasks before.
struct Learner {
    decoder: Decoder,
    fisher: Option<Fisher>,
    subspaces: Subspaces,
}

impl Cell<'_> {
    /// Learns the tasks that are left and returns all scores.
    pub(super) fn run(&self, before: &ScoreMatrix) -> Result<ScoreMatrix> {
        let path = self.folder.join(STATE);
        let mut rows = read_state(&path)?.unwrap_or_default();
        let tasks = &self.plan.tasks;
        let mut learner = None;
        while rows.len() + 1 < tasks.len() {
            let stage = rows.len() + 1;
            let label = format!("{}, seed {}: {}", self.method.name, self.seed, tasks[stage].name);
            let from = match learner.take() {
                Some(learner) => learner,
                None => self.restore(stage - 1)?,
            };
            let next = self.learn(from, stage, &label)?;
            rows.push(self.plan.scores(&label, &next.decoder)?);
            let is_last = stage + 1 == tasks.len();
            if !is_last {
                learner = Some(self.consolidate(next, stage)?);
            }
            if let Some(learner) = &learner {
                self.save(learner, stage)?;
            }
            write_state(&path, &rows)?;
            self.remove(stage - 1)?;
        }
        let mut matrix = before.clone();
        for row in rows {
            let fits = matrix.push(row);
            anyhow::ensure!(fits, "{}: a row of another number of tasks", path.display());
        }
        Ok(matrix)
    }

    /// Trains an adapter on the task and merges it.
    fn learn(&self, learner: Learner, stage: usize, label: &str) -> Result<Learner> {
        let Plan { config, tokenizer, device, fingerprint, tasks, .. } = self.plan;
        let Learner { mut decoder, fisher, mut subspaces } = learner;
        let MethodConfig { name, replay, ewc, orthogonal } = self.method;
        let new = &tasks[stage].train;
        let (examples, mix) = match replay {
            Some(replay) => {
                let earlier: Vec<&[Example]> =
                    tasks[..stage].iter().map(|task| task.train.as_slice()).collect();
                replay.mix(new, &earlier)
            }
            None => (new.clone(), MixConfig::default()),
        };
        let seed_of = |what| derive(self.seed, what, stage as u64);
        let adapter = Adapter::attach(&mut decoder, config.lora.adapter(None), seed_of("adapter"))?;
        let updates = || LowRankUpdate::of(&decoder, &adapter);
        let mut penalties: Vec<Box<dyn Penalty>> = Vec::new();
        if let (Some(EwcConfig { lambda, .. }), Some(fisher)) = (ewc, &fisher) {
            penalties.push(Box::new(Ewc::new(fisher, updates()?, *lambda)?));
        }
        if let Some(orthogonal) = orthogonal {
            penalties.push(Box::new(Orthogonal::new(&subspaces, updates()?, orthogonal.lambda)));
        }
        let train = TrainConfig { mix, ..config.lora.train.clone() };
        let mut objective = Penalised::new(adapter.objective(train.head_chunk_rows), penalties);
        let output = self.folder.join(format!("task-{stage}"));
        std::fs::create_dir_all(&output)
            .map_err(|source| limbeck_run::Error::write(&output, source))?;
        let run = format!("{fingerprint}/{name}/{}/{stage}", self.seed);
        let trainer = Trainer {
            config: &train,
            output: &output,
            seed: seed_of("order"),
            pad_token_id: tokenizer.pad_token_id(),
            device: *device,
            label,
            run: &run,
        };
        let groups = adapter.parameter_groups(config.lora.lora_plus_ratio);
        decoder.set_compute_dtype(train.compute_dtype.kind());
        trainer.run_with(&decoder, groups, None, &examples, &[], &mut objective, None)?;
        decoder.set_compute_dtype(Kind::Float);
        if orthogonal.is_some() {
            subspaces.add(&LowRankUpdate::of(&decoder, &adapter)?)?;
        }
        let sequences: Vec<Vec<i64>> =
            new.iter().take(GATE_EXAMPLES).map(|example| example.tokens.clone()).collect();
        let tolerance = MergeGate::default_tolerance(Kind::Float);
        let gate = MergeGate { sequences: &sequences, tolerance };
        let (decoder, _) = merge(decoder, &adapter, Kind::Float, &gate)?;
        checkpoint::remove(&output)?;
        Ok(Learner { decoder, fisher, subspaces })
    }

    /// Adds what matters to a finished task, or to the base at stage 0.
    fn consolidate(&self, learner: Learner, stage: usize) -> Result<Learner> {
        let Learner { mut decoder, fisher, subspaces } = learner;
        let Some(EwcConfig { fisher: kind, gamma, records, .. }) = self.method.ewc else {
            return Ok(Learner { decoder, fisher, subspaces });
        };
        let plans = self.plan.config.lora.adapter(None).resolve(&decoder.linear_names())?;
        let names: Vec<String> = plans.into_iter().map(|plan| plan.name).collect();
        let batches = self.plan.batches(&self.plan.tasks[stage], records)?;
        let mut next = Fisher::estimate(&mut decoder, &names, &batches, kind)?;
        next.normalise()?;
        let fisher = match fisher {
            None => next,
            Some(mut fisher) => {
                fisher.accumulate(gamma, &next)?;
                fisher
            }
        };
        Ok(Learner { decoder, fisher: Some(fisher), subspaces })
    }

    fn after(&self, stage: usize) -> PathBuf {
        self.folder.join(format!("after-{stage}"))
    }

    fn save(&self, learner: &Learner, stage: usize) -> Result<()> {
        let folder = self.after(stage);
        std::fs::create_dir_all(&folder)
            .map_err(|source| limbeck_run::Error::write(&folder, source))?;
        learner.decoder.save(&folder, Kind::Float)?;
        if let Some(fisher) = &learner.fisher {
            fisher.save(&folder)?;
        }
        if self.method.orthogonal.is_some() {
            learner.subspaces.save(&folder.join(SUBSPACES))?;
        }
        Ok(())
    }

    /// What the task after this stage starts from.
    fn restore(&self, stage: usize) -> Result<Learner> {
        let options = LoadOptions::dense(self.plan.device, Kind::Float);
        if stage == 0 {
            let decoder = limbeck_quant::load_decoder(self.plan.model, &options)?;
            let learner = Learner { decoder, fisher: None, subspaces: Subspaces::default() };
            return self.consolidate(learner, 0);
        }
        let folder = self.after(stage);
        let decoder = limbeck_quant::load_decoder(&folder, &options)?;
        let fisher = self.method.ewc.map(|_| Fisher::load(&folder, &decoder)).transpose()?;
        let subspaces = match self.method.orthogonal {
            Some(_) => Subspaces::load(&folder.join(SUBSPACES), &decoder)?,
            None => Subspaces::default(),
        };
        Ok(Learner { decoder, fisher, subspaces })
    }

    fn remove(&self, stage: usize) -> Result<()> {
        let folder = self.after(stage);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(limbeck_run::Error::write(&folder, error).into())
            }
            _ => Ok(()),
        }
    }
}

impl Plan<'_> {
    /// The first examples of a task in batches of about equal lengths, each of the positions
    /// of a micro-batch.
    fn batches(&self, task: &Task, count: usize) -> Result<Vec<Batch>> {
        let mut examples: Vec<&Example> = task.train.iter().take(count).collect();
        examples.sort_by_key(|example| example.tokens.len());
        let most = self.config.lora.train.micro_batch_tokens;
        let mut batches = Vec::new();
        let mut rest = &examples[..];
        while let Some(first) = rest.first() {
            let mut size = 1;
            // The longest is the last, to which all are padded.
            while size < rest.len() && (size + 1) * rest[size].tokens.len() <= most {
                size += 1;
            }
            tracing::debug!(size, shortest = first.tokens.len(), "a batch to observe");
            let (batch, others) = rest.split_at(size);
            batches.push(Batch::new(batch, self.tokenizer.pad_token_id(), self.device)?);
            rest = others;
        }
        Ok(batches)
    }
}

/// Rows of scores that an earlier run left, if it did.
pub(super) fn read_state(path: &Path) -> Result<Option<Vec<Vec<f64>>>> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let rows = serde_json::from_str(&text);
            Ok(Some(rows.with_context(|| format!("{}: rows of scores", path.display()))?))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(limbeck_run::Error::read(path, source).into()),
    }
}

pub(super) fn write_state(path: &Path, rows: &[Vec<f64>]) -> Result<()> {
    Ok(limbeck_run::write_file(path, serde_json::to_string(rows)?.as_bytes())?)
}
