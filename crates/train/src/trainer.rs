//! The training loop: micro-batches to gradients, gradients to a step, with metrics,
//! progress and checkpoints.

use std::path::Path;
use std::time::Instant;

use limbeck_core::seed::derive;
use limbeck_model::Decoder;
use limbeck_run::{MetricsWriter, Progress};
use tch::{Device, Tensor, no_grad};

use crate::feed::{Draw, Feed, FeedState};
use crate::objective::{forward, weighted_cross_entropy};
use crate::optimizer_groups::{OptimizerGroups, ParameterGroup};
use crate::sampler::{Sampler, SamplerState};
use crate::{
    Batch, Error, Example, Objective, Result, TrainConfig, UpdateSchedule, checkpoint, head,
};

/// Steps in a row with a gradient that is not finite before a run gives up; one such
/// step is skipped.
const MAX_BAD_STEPS: u64 = 10;

/// A training run's fixed parts.
#[derive(Debug)]
pub struct Trainer<'a> {
    /// The configuration.
    pub config: &'a TrainConfig,
    /// Where metrics and checkpoints go.
    pub output: &'a Path,
    /// Seeds the order of the data and dropout.
    pub seed: u64,
    /// Fills batches; never attended to and never learned.
    pub pad_token_id: i64,
    /// Where batches go.
    pub device: Device,
    /// What the progress line calls the run.
    pub label: &'a str,
    /// Identifies configuration and data, so that a checkpoint of another run is refused.
    pub run: &'a str,
}

/// What a run did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrainReport {
    /// Steps in all.
    pub steps: u64,
    /// The step it resumed from; 0 for a run from the start.
    pub resumed_from: u64,
    /// Tokens of all steps, padding not counted.
    pub tokens: u64,
    /// Seconds of this process's part.
    pub seconds: f64,
    /// Tokens per second of this process's part.
    pub tokens_per_second: f64,
    /// Full passes over the data.
    pub epochs: u64,
    /// Scalars trained.
    pub trainable_parameters: i64,
    /// The parts of the loss, averaged over the last interval of `log_every` steps.
    pub last_losses: Vec<(String, f64)>,
    /// Cross-entropy on the validation records after the last step, nats a token.
    pub validation_loss: Option<f64>,
    /// Steps left out because the gradient was not finite.
    pub skipped_steps: u64,
}

impl Trainer<'_> {
    /// Trains the given parameters (shallow clones of the model's own, which have
    /// `requires_grad` set) for the configured steps, or the rest of them if the output
    /// folder holds a checkpoint.
    ///
    /// # Errors
    /// [`Error::EmptyDataset`], [`Error::Mix`], [`Error::NoParameters`],
    /// [`Error::Diverged`], a checkpoint that does not fit, write errors, libtorch's.
    pub fn run(
        &self,
        model: &Decoder,
        parameters: Vec<(String, Tensor)>,
        examples: &[Example],
        validation: &[Example],
        objective: &mut dyn Objective,
    ) -> Result<TrainReport> {
        let name = "all".to_owned();
        let all = ParameterGroup { name, parameters, learning_rate_ratio: 1.0 };
        self.run_groups(model, vec![all], None, examples, validation, objective)
    }

    /// As [`Trainer::run`], with parameters in named groups; a schedule chooses the group
    /// that each step updates, and on which kind of examples.
    ///
    /// # Errors
    /// As [`Trainer::run`]; [`Error::UpdateGroups`].
    pub fn run_groups(
        &self,
        model: &Decoder,
        groups: Vec<ParameterGroup>,
        updates: Option<UpdateSchedule>,
        examples: &[Example],
        validation: &[Example],
        objective: &mut dyn Objective,
    ) -> Result<TrainReport> {
        let config = self.config;
        let mut feed = Feed::new(examples, config, self.seed, updates.is_some())?;
        let mut optimizer = OptimizerGroups::new(groups, config.optimizer(), updates)?;
        let resumed = checkpoint::load(self.output, &mut optimizer, self.run)?;
        let mut state = resumed.clone().unwrap_or_else(|| checkpoint::Progress {
            step: 0,
            updates: 0,
            tokens: 0,
            feed: FeedState::default(),
            run: self.run.to_owned(),
        });
        let mut report = TrainReport {
            resumed_from: state.step,
            trainable_parameters: optimizer.num_parameters(),
            ..TrainReport::default()
        };
        if state.step > 0 {
            tracing::info!(step = state.step, "resumed from a checkpoint");
            feed.restore(&state.feed)?;
        }
        let mut metrics = MetricsWriter::open(self.output, resumed.map(|progress| progress.step))?;
        let schedule = config.schedule();
        let progress = Progress::new(self.label, config.steps, "steps");
        progress.skip(state.step);
        let started = Instant::now();
        let (tokens_before, mut bad_steps) = (state.tokens, 0);
        let mut interval = Interval::default();

        while state.step < config.steps {
            // Dropout is the only user of libtorch's own generator.
            tch::manual_seed(derive(self.seed, "step", state.step) as i64);
            let kind = updates.map(|updates| updates.phase(state.step).kind());
            let draws = feed.draw(state.step, config.gradient_accumulation, kind);
            let batches = draws
                .iter()
                .map(|draw| self.batch(examples, &draw.indices))
                .collect::<Result<Vec<Batch>>>()?;
            let total_weight: f64 = batches.iter().map(|batch| batch.weight_sum).sum();
            optimizer.zero_gradients()?;
            optimizer.begin_step(state.step)?;
            objective.begin_step(state.step);
            for (batch, Draw { group, .. }) in batches.iter().zip(&draws) {
                let losses = objective.accumulate(model, batch, total_weight)?;
                feed.observe(*group, &losses, batch.weight_sum, total_weight);
                interval.add(&losses);
            }
            let norm = optimizer.clip_gradients(config.clip_norm)?;
            let learning_rate = schedule.rate(state.step);
            if norm.is_finite() {
                optimizer.step(learning_rate)?;
                bad_steps = 0;
            } else {
                bad_steps += 1;
                report.skipped_steps += 1;
                tracing::warn!(step = state.step, "gradient is not finite, step skipped");
                if bad_steps == MAX_BAD_STEPS {
                    return Err(Error::Diverged { steps: bad_steps, step: state.step });
                }
            }
            interval.steps += 1;
            let tokens: usize = batches.iter().map(|batch| batch.num_tokens).sum();
            state.step += 1;
            state.updates = optimizer.updates();
            state.tokens += tokens as u64;
            feed.end_step(state.step);
            state.feed = feed.state();

            progress.inc(1);
            let last = state.step == config.steps;
            if last || state.step.is_multiple_of(config.log_every) {
                let rate = (state.tokens - tokens_before) as f64 / started.elapsed().as_secs_f64();
                report.last_losses = interval.take();
                report.last_losses.extend(feed.metrics());
                let mut scalars: Vec<(&str, f64)> = report
                    .last_losses
                    .iter()
                    .map(|(name, value)| (name.as_str(), *value))
                    .collect();
                let message =
                    format!("loss {:.4}, {rate:.0} tokens/s", scalars.first().map_or(0.0, |x| x.1));
                progress.set_message(message);
                scalars.extend([
                    ("learning_rate", learning_rate),
                    ("gradient_norm", norm),
                    ("tokens", state.tokens as f64),
                    ("tokens_per_second", rate),
                    ("epoch", feed.epoch() as f64),
                ]);
                metrics.log(state.step, &scalars)?;
            }
            let due = config.validate_every > 0 && state.step.is_multiple_of(config.validate_every);
            if !validation.is_empty() && (due || last) {
                let limit = config.validation_records.min(validation.len());
                let loss = self.validate(model, &validation[..limit])?;
                report.validation_loss = Some(loss);
                metrics.log(state.step, &[("validation_loss", loss)])?;
            }
            let due =
                config.checkpoint_every > 0 && state.step.is_multiple_of(config.checkpoint_every);
            if due && !last {
                metrics.flush()?;
                checkpoint::save(self.output, &optimizer, &state)?;
            }
        }
        optimizer.finish()?;
        metrics.flush()?;
        progress.finish();
        report.steps = state.step;
        report.tokens = state.tokens;
        report.epochs = feed.epoch();
        report.seconds = started.elapsed().as_secs_f64();
        report.tokens_per_second = (state.tokens - tokens_before) as f64 / report.seconds.max(1e-9);
        Ok(report)
    }

    /// Mean cross-entropy of the completions, nats a token.
    ///
    /// # Errors
    /// Those of the model.
    pub fn validate(&self, model: &Decoder, examples: &[Example]) -> Result<f64> {
        let state = SamplerState::default();
        let mut sampler = Sampler::new(examples, self.config.micro_batch_tokens, 0, state);
        let (mut sum, mut weight) = (0.0, 0.0);
        for _ in 0..sampler.epoch_length() {
            let batch = self.batch(examples, &sampler.next_micro_batch())?;
            sum += no_grad(|| -> Result<f64> {
                let rows = head::select_rows(&forward(model, &batch)?, &batch)?;
                let logits = model.logits(&rows)?.f_to_kind(tch::Kind::Float)?;
                let loss = weighted_cross_entropy(&logits, &batch.targets, &batch.weights, 1.0)?;
                Ok(loss.f_double_value(&[])?)
            })?;
            weight += batch.weight_sum;
        }
        Ok(sum / weight)
    }

    fn batch(&self, examples: &[Example], indices: &[usize]) -> Result<Batch> {
        let chosen: Vec<&Example> = indices.iter().map(|&index| &examples[index]).collect();
        Batch::new(&chosen, self.pad_token_id, self.device)
    }
}

/// Sums of the loss's parts since the last line of metrics.
#[derive(Debug, Default)]
struct Interval {
    sums: Vec<(String, f64)>,
    steps: u64,
}

impl Interval {
    fn add(&mut self, losses: &[(&'static str, f64)]) {
        for (name, value) in losses {
            match self.sums.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += value,
                None => self.sums.push(((*name).to_owned(), *value)),
            }
        }
    }

    fn take(&mut self) -> Vec<(String, f64)> {
        let steps = self.steps.max(1) as f64;
        self.steps = 0;
        std::mem::take(&mut self.sums).into_iter().map(|(name, sum)| (name, sum / steps)).collect()
    }
}
