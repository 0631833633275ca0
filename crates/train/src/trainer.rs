//! The training loop: micro-batches to gradients, gradients to a step, with metrics,
//! progress and checkpoints.

use std::path::Path;
use std::time::Instant;

use limbeck_core::seed::derive;
use limbeck_model::Decoder;
use limbeck_run::MetricsWriter;
use tch::{Device, Tensor, no_grad};

use crate::average::Average;
use crate::checkpoint::{self, Progress};
use crate::estimate::{self, MemoryEstimate};
use crate::feed::{Draw, Feed};
use crate::optimizer_groups::{OptimizerGroups, ParameterGroup};
use crate::selection::{self, Validation};
use crate::validation::{self, ValidationMetric};
use crate::{
    Batch, Error, Example, Losses, MetricKind, Objective, Result, TrainConfig, UpdateSchedule,
};

/// Steps in a row with a gradient that is not finite before a run goes back to its last
/// checkpoint; one such step is skipped.
const MAX_BAD_STEPS: u64 = 10;

/// Times that a run goes back, each with half the learning rate, before it gives up.
const MAX_ROLLBACKS: u64 = 3;

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
    /// Cross-entropy on the validation records of the parameters that the run ended with,
    /// nats a token.
    pub validation_loss: Option<f64>,
    /// The step whose parameters the run ended with, if not the last one.
    pub best_step: Option<u64>,
    /// Whether validations brought nothing better for long enough.
    pub stopped_early: bool,
    /// Steps left out because the gradient was not finite.
    pub skipped_steps: u64,
    /// Times that the run went back to a checkpoint.
    pub rollbacks: u64,
}

impl Trainer<'_> {
    /// Trains the given parameters (shallow clones of the model's own, which have
    /// `requires_grad` set) for the configured steps, or the rest of them if the output
    /// folder holds a checkpoint.
    ///
    /// # Errors
    /// As [`Self::run_with`]; [`Error::NoMetric`].
    pub fn run(
        &self,
        model: &Decoder,
        parameters: Vec<(String, Tensor)>,
        examples: &[Example],
        validation: &[Example],
        objective: &mut dyn Objective,
    ) -> Result<TrainReport> {
        if self.config.validation_metric != MetricKind::Loss {
            return Err(Error::NoMetric);
        }
        let groups = vec![ParameterGroup::all(parameters)];
        self.run_with(model, groups, None, examples, validation, objective, None)
    }

    /// As [`Self::run`], with parameters in named groups; a schedule chooses the group that
    /// each step updates, and on which kind of examples. Validations are judged by a metric
    /// of the caller's, if there is one.
    ///
    /// # Errors
    /// [`Error::EmptyDataset`], [`Error::Mix`], [`Error::NoParameters`],
    /// [`Error::UpdateGroups`], [`Error::NoValidation`], [`Error::Memory`],
    /// [`Error::Diverged`], a checkpoint that does not fit, write errors, libtorch's.
    #[expect(clippy::too_many_arguments, reason = "the parts of a run, each named at the call")]
    pub fn run_with(
        &self,
        model: &Decoder,
        groups: Vec<ParameterGroup>,
        updates: Option<UpdateSchedule>,
        examples: &[Example],
        validation: &[Example],
        objective: &mut dyn Objective,
        metric: Option<&mut dyn ValidationMetric>,
    ) -> Result<TrainReport> {
        let config = self.config;
        let feed = Feed::new(examples, config, self.seed, updates.is_some())?;
        if validation.is_empty() && config.selects() {
            let key = if config.keep_best { "keep_best" } else { "early_stopping_patience" };
            return Err(Error::NoValidation { key });
        }
        let validation = &validation[..config.validation_records.min(validation.len())];
        let parameters: Vec<(String, Tensor)> =
            groups.iter().flat_map(ParameterGroup::shallow_clones).collect();
        self.weigh(model, &parameters, examples, objective)?;
        drop(parameters);
        let optimizer = OptimizerGroups::new(groups, config.optimizer(), updates)?;
        let average = (config.ema_decay > 0.0)
            .then(|| Average::new(optimizer.buffers(), config.ema_decay))
            .transpose()?;
        let mut run = Run {
            trainer: self,
            model,
            examples,
            validation,
            metric,
            feed,
            updates,
            optimizer,
            average,
            state: Progress::new(self.run),
            saved_best: None,
        };
        let resumed = run.restore()?;
        run.complete(objective, resumed)
    }

    /// Tells how much memory the run needs and the device has.
    fn weigh(
        &self,
        model: &Decoder,
        parameters: &[(String, Tensor)],
        examples: &[Example],
        objective: &dyn Objective,
    ) -> Result<()> {
        let (config, device) = (self.config, self.device);
        let estimate = MemoryEstimate::new(model, parameters, examples, objective, config, device);
        let Some(available) = estimate::available_bytes(device) else {
            tracing::info!("memory: needs about {estimate}");
            return Ok(());
        };
        tracing::info!("memory: needs about {estimate}; have {:.2} GB", available as f64 / 1e9);
        if config.check_memory { estimate.check(available) } else { Ok(()) }
    }

    /// Forward and backward of a step's micro-batches; `each` sees the number and the
    /// losses of every one.
    /// Returns what was minimised, summed.
    pub(crate) fn gradients(
        &self,
        model: &Decoder,
        batches: &[Batch],
        objective: &mut dyn Objective,
        each: &mut dyn FnMut(usize, &Losses),
    ) -> Result<f64> {
        let total_weight: f64 = batches.iter().map(|batch| batch.weight_sum).sum();
        let mut sum = 0.0;
        for (index, batch) in batches.iter().enumerate() {
            let losses = if self.config.activation_checkpointing {
                objective.accumulate_recomputed(model, batch, total_weight)?
            } else {
                objective.accumulate(model, batch, total_weight)?
            };
            sum += losses.first().map_or(0.0, |(_, value)| *value);
            each(index, &losses);
        }
        Ok(sum)
    }

    pub(crate) fn batch(&self, examples: &[Example], indices: &[usize]) -> Result<Batch> {
        let chosen: Vec<&Example> = indices.iter().map(|&index| &examples[index]).collect();
        Batch::new(&chosen, self.pad_token_id, self.device)
    }
}

/// A run's moving parts.
struct Run<'a, 'm> {
    trainer: &'a Trainer<'a>,
    model: &'a Decoder,
    examples: &'a [Example],
    validation: &'a [Example],
    metric: Option<&'m mut dyn ValidationMetric>,
    feed: Feed,
    updates: Option<UpdateSchedule>,
    optimizer: OptimizerGroups,
    average: Option<Average>,
    state: Progress,
    /// The step of the best parameters that the checkpoint on the disk refers to.
    saved_best: Option<u64>,
}

impl Run<'_, '_> {
    /// Goes on from the output folder's checkpoint; whether there is one.
    fn restore(&mut self) -> Result<bool> {
        let Trainer { output, run, .. } = *self.trainer;
        let average = self.average.as_mut();
        match checkpoint::load(output, &mut self.optimizer, average, run)? {
            Some(state) => {
                self.saved_best = state.selection.best.map(|best| best.step);
                self.feed.restore(&state.feed)?;
                self.state = state;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn save(&mut self) -> Result<()> {
        let output = self.trainer.output;
        checkpoint::save(output, &self.optimizer, self.average.as_ref(), &self.state)?;
        self.saved_best = self.state.selection.best.map(|best| best.step);
        Ok(())
    }

    fn complete(mut self, objective: &mut dyn Objective, resumed: bool) -> Result<TrainReport> {
        let &Trainer { config, output, seed, label, .. } = self.trainer;
        let mut report = TrainReport {
            resumed_from: self.state.step,
            trainable_parameters: self.optimizer.num_parameters(),
            ..TrainReport::default()
        };
        let mut has_checkpoint = resumed;
        if resumed {
            tracing::info!(step = self.state.step, "resumed from a checkpoint");
        } else {
            selection::keep_only(output, &[])?;
        }
        let mut metrics = MetricsWriter::open(output, resumed.then_some(self.state.step))?;
        let schedule = config.schedule();
        let progress = limbeck_run::Progress::new(label, config.steps, "steps");
        progress.skip(self.state.step);
        let started = Instant::now();
        let (mut tokens_done, mut bad_steps) = (0, 0);
        let mut interval = Interval::default();

        while self.state.step < config.steps && !report.stopped_early {
            let step = self.state.step;
            // Dropout is the only user of libtorch's own generator.
            tch::manual_seed(derive(seed, "step", step) as i64);
            let kind = self.updates.map(|updates| updates.phase(step).kind());
            let draws = self.feed.draw(step, config.gradient_accumulation, kind);
            let batches = draws
                .iter()
                .map(|draw| self.trainer.batch(self.examples, &draw.indices))
                .collect::<Result<Vec<Batch>>>()?;
            let batches = objective.begin_step(step, self.model, batches)?;
            self.optimizer.zero_gradients()?;
            self.optimizer.begin_step(step)?;
            let total_weight: f64 = batches.iter().map(|batch| batch.weight_sum).sum();
            let feed = &mut self.feed;
            let count = &mut |index: usize, losses: &Losses| {
                // An objective may have added batches of its own behind those that were drawn.
                if let Some(Draw { group, .. }) = draws.get(index) {
                    feed.observe(*group, losses, batches[index].weight_sum, total_weight);
                }
                interval.add(losses);
            };
            self.trainer.gradients(self.model, &batches, objective, count)?;
            let norm = self.optimizer.clip_gradients(config.clip_norm)?;
            let halvings = self.state.rollbacks as i32;
            let learning_rate = schedule.rate(step) * 0.5_f64.powi(halvings);
            if norm.is_finite() {
                self.optimizer.step(learning_rate)?;
                if let Some(average) = &mut self.average {
                    average.update(self.optimizer.buffers(), self.optimizer.updates())?;
                }
                bad_steps = 0;
            } else {
                tracing::warn!(step, "gradient is not finite, step skipped");
                if !has_checkpoint && self.optimizer.is_finite()? {
                    // Bad steps change nothing: this is still the state before them.
                    self.save()?;
                    has_checkpoint = true;
                }
                bad_steps += 1;
                report.skipped_steps += 1;
            }
            if bad_steps == MAX_BAD_STEPS {
                let rollbacks = self.state.rollbacks;
                if rollbacks == MAX_ROLLBACKS || !has_checkpoint {
                    metrics.flush()?;
                    let checkpoint = has_checkpoint.then(|| checkpoint::path(output));
                    return Err(Error::Diverged { steps: bad_steps, step, rollbacks, checkpoint });
                }
                self.restore()?;
                self.state.rollbacks = rollbacks + 1;
                tracing::warn!(
                    step = self.state.step,
                    "back to the last good checkpoint, with half the learning rate"
                );
                metrics = MetricsWriter::open(output, Some(self.state.step))?;
                (bad_steps, interval) = (0, Interval::default());
                report.rollbacks += 1;
                continue;
            }
            interval.steps += 1;
            let tokens: usize = batches.iter().map(|batch| batch.num_tokens).sum();
            tokens_done += tokens as u64;
            self.state.step += 1;
            self.state.updates = self.optimizer.updates();
            self.state.tokens += tokens as u64;
            let step = self.state.step;
            self.feed.end_step(step);
            self.state.feed = self.feed.state();
            progress.inc(1);

            let is_due = |every: u64| every > 0 && step.is_multiple_of(every);
            let mut last = step == config.steps;
            let mut figures = None;
            if !self.validation.is_empty() && (last || is_due(config.validate_every)) {
                figures = Some(self.validate()?);
                report.stopped_early =
                    !last && self.state.selection.is_exhausted(config.early_stopping_patience);
                last |= report.stopped_early;
            }
            if last || is_due(config.log_every) {
                let rate = tokens_done as f64 / started.elapsed().as_secs_f64();
                report.last_losses = interval.take();
                report.last_losses.extend(self.feed.metrics());
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
                    ("tokens", self.state.tokens as f64),
                    ("tokens_per_second", rate),
                    ("epoch", self.feed.epoch() as f64),
                ]);
                metrics.log(step, &scalars)?;
            }
            if let Some(figures) = figures {
                report.validation_loss = Some(figures[0].1);
                metrics.log(step, &figures)?;
            }
            // A checkpoint amid bad steps would not be a good one to go back to.
            if is_due(config.checkpoint_every) && !last && bad_steps == 0 {
                metrics.flush()?;
                self.save()?;
                has_checkpoint = true;
            }
        }
        self.optimizer.finish()?;
        metrics.flush()?;
        progress.finish();
        if report.stopped_early {
            tracing::info!(step = self.state.step, "stopped early: no validation was better");
        }
        self.settle(&mut report)?;
        report.steps = self.state.step;
        report.tokens = self.state.tokens;
        report.epochs = self.feed.epoch();
        report.seconds = started.elapsed().as_secs_f64();
        report.tokens_per_second = tokens_done as f64 / report.seconds.max(1e-9);
        Ok(report)
    }

    /// Validates the parameters, or their average where there is one, keeps them if they
    /// are the best so far and are to be kept, and gives the figures for the metrics.
    fn validate(&mut self) -> Result<Vec<(&'static str, f64)>> {
        let &Trainer { config, output, pad_token_id, device, .. } = self.trainer;
        self.exchange_average()?;
        let loss =
            validation::cross_entropy(self.model, self.validation, config, pad_token_id, device)?;
        let mut figures = vec![("validation_loss", loss)];
        let mut score = -loss;
        if let Some(metric) = self.metric.as_deref_mut() {
            score = no_grad(|| metric.measure(self.model))?;
            figures.push((metric.name(), score));
        }
        let step = self.state.step;
        let better = self.state.selection.add(Validation { step, score, loss });
        if better && config.keep_best {
            selection::save(output, step, &self.optimizer.buffers())?;
            // The checkpoint may refer to those before.
            let kept: Vec<u64> = self.saved_best.into_iter().chain([step]).collect();
            selection::keep_only(output, &kept)?;
        }
        self.exchange_average()?;
        Ok(figures)
    }

    fn exchange_average(&mut self) -> Result<()> {
        match &mut self.average {
            Some(average) => average.exchange(self.optimizer.buffers()),
            None => Ok(()),
        }
    }

    /// Leaves the model with the parameters that the run ends with.
    fn settle(&mut self, report: &mut TrainReport) -> Result<()> {
        let &Trainer { config, output, .. } = self.trainer;
        match self.state.selection.best.filter(|_| config.keep_best) {
            Some(best) if best.step != self.state.step || self.average.is_some() => {
                selection::load(output, best.step, self.optimizer.buffers())?;
                report.validation_loss = Some(best.loss);
                report.best_step = (best.step != self.state.step).then_some(best.step);
                Ok(())
            }
            Some(_) => Ok(()),
            None => self.exchange_average(),
        }
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
