//! The learning-rate range test (Smith 2017, "Cyclical Learning Rates for Training Neural
//! Networks", section 3.3; with a rate that grows exponentially and a smoothed loss, as
//! fastai's finder has it).

use limbeck_core::seed::derive;
use limbeck_model::Decoder;
use limbeck_run::Progress;
use limbeck_run::config::{Invalid, Validate};
use serde::Serialize;
use tch::{Tensor, no_grad};

use crate::optimizer::Optimizer;
use crate::sampler::{Sampler, SamplerState};
use crate::{Batch, Error, Example, Objective, Result, Trainer};

/// How a sweep goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SweepConfig {
    /// The first learning rate.
    pub lowest: f64,
    /// The last learning rate, unless the loss has grown too large before.
    pub highest: f64,
    /// Steps from one to the other.
    pub steps: u64,
}

impl Default for SweepConfig {
    fn default() -> Self {
        Self { lowest: 1e-6, highest: 1.0, steps: 100 }
    }
}

impl Validate for SweepConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        if !(self.lowest > 0.0 && self.lowest.is_finite()) {
            return Err(Invalid::new("lowest", "a number above 0", self.lowest));
        }
        if !(self.highest > self.lowest && self.highest.is_finite()) {
            return Err(Invalid::new("highest", "a number above lowest", self.highest));
        }
        if self.steps < MIN_STEPS {
            return Err(Invalid::new("steps", format!("at least {MIN_STEPS}"), self.steps));
        }
        Ok(())
    }
}

/// Fewer leave no slope to speak of.
const MIN_STEPS: u64 = 10;
/// What a new loss leaves of the smoothed one.
const SMOOTHING: f64 = 0.9;
/// The sweep ends where the smoothed loss is this many times its least.
const LOST: f64 = 4.0;

/// A step of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SweepPoint {
    /// The learning rate of the step.
    pub learning_rate: f64,
    /// The loss before the step.
    pub loss: f64,
    /// The loss smoothed over the steps so far.
    pub smoothed: f64,
}

/// What a sweep found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sweep {
    /// Every step.
    pub points: Vec<SweepPoint>,
    /// The rate at which the smoothed loss fell fastest by the rate's logarithm; `None` if
    /// it never fell.
    pub steepest: Option<f64>,
    /// A tenth of the rate at which the smoothed loss was least; `None` as above.
    pub tenth_of_minimum: Option<f64>,
    /// The smaller of the two.
    pub suggestion: Option<f64>,
}

impl Sweep {
    /// Reads the suggestions off the points.
    fn new(points: Vec<SweepPoint>) -> Self {
        // The first steps' average is of too few losses.
        let first = (points.len() / 10).max(1);
        let least = (first..points.len())
            .min_by(|&left, &right| points[left].smoothed.total_cmp(&points[right].smoothed));
        let falls = least.is_some_and(|least| points[least].smoothed < points[first].smoothed);
        let slope = |at: usize| {
            let (before, after) = (&points[at - 1], &points[at + 1]);
            (after.smoothed - before.smoothed) / (after.learning_rate / before.learning_rate).ln()
        };
        let steepest = least.filter(|_| falls).and_then(|least| {
            (first..least)
                .filter(|&at| at + 1 < points.len() && slope(at) < 0.0)
                .min_by(|&left, &right| slope(left).total_cmp(&slope(right)))
                .map(|at| points[at].learning_rate)
        });
        let tenth_of_minimum =
            least.filter(|_| falls).map(|least| points[least].learning_rate / 10.0);
        let suggestion = match (steepest, tenth_of_minimum) {
            (Some(steepest), Some(tenth)) => Some(steepest.min(tenth)),
            (one, other) => one.or(other),
        };
        Self { points, steepest, tenth_of_minimum, suggestion }
    }
}

impl Trainer<'_> {
    /// Trains with a learning rate that grows from step to step, and puts the parameters
    /// back. Writes nothing.
    ///
    /// # Errors
    /// [`Error::EmptyDataset`], [`Error::NoParameters`], those of the objective.
    pub fn sweep(
        &self,
        model: &Decoder,
        parameters: Vec<(String, Tensor)>,
        examples: &[Example],
        objective: &mut dyn Objective,
        sweep: &SweepConfig,
    ) -> Result<Sweep> {
        if examples.is_empty() {
            return Err(Error::EmptyDataset {
                reason: "no record was left after rendering".to_owned(),
            });
        }
        let config = self.config;
        let mut optimizer = Optimizer::new(parameters, config.optimizer())?;
        let before = optimizer
            .buffers()
            .iter()
            .map(|(_, buffer)| Ok(no_grad(|| buffer.f_zeros_like()?.f_add(buffer))?))
            .collect::<Result<Vec<Tensor>>>()?;
        let state = SamplerState::default();
        let mut sampler = Sampler::new(examples, config.micro_batch_tokens, self.seed, state);
        let progress = Progress::new(self.label, sweep.steps, "steps");
        let growth = (sweep.highest / sweep.lowest).ln() / (sweep.steps - 1) as f64;
        let mut points: Vec<SweepPoint> = Vec::new();
        let (mut average, mut least) = (0.0, f64::INFINITY);
        for step in 0..sweep.steps {
            tch::manual_seed(derive(self.seed, "step", step) as i64);
            let batches = (0..config.gradient_accumulation)
                .map(|_| self.batch(examples, &sampler.next_micro_batch()))
                .collect::<Result<Vec<Batch>>>()?;
            optimizer.zero_gradients()?;
            let batches = objective.begin_step(step, model, batches)?;
            let loss = self.gradients(model, &batches, objective, &mut |_, _| {})?;
            let norm = optimizer.clip_gradients(config.clip_norm)?;
            average = SMOOTHING * average + (1.0 - SMOOTHING) * loss;
            let smoothed = average / (1.0 - SMOOTHING.powi(step as i32 + 1));
            if !(norm.is_finite() && smoothed.is_finite()) {
                break;
            }
            let learning_rate = sweep.lowest * (growth * step as f64).exp();
            points.push(SweepPoint { learning_rate, loss, smoothed });
            least = least.min(smoothed);
            if smoothed > LOST * least {
                break;
            }
            optimizer.step(learning_rate)?;
            progress.inc(1);
        }
        progress.finish();
        for ((_, mut buffer), before) in optimizer.buffers().into_iter().zip(&before) {
            no_grad(|| buffer.f_copy_(before))?;
        }
        Ok(Sweep::new(points))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(losses: &[f64]) -> Vec<SweepPoint> {
        losses
            .iter()
            .enumerate()
            .map(|(index, &loss)| SweepPoint {
                learning_rate: 10_f64.powf(index as f64 / 4.0 - 5.0),
                loss,
                smoothed: loss,
            })
            .collect()
    }

    #[test]
    fn the_steepest_rate_and_a_tenth_of_the_least_are_read_off() {
        let losses = [5.0, 5.0, 5.0, 4.9, 4.6, 3.6, 2.8, 2.5, 2.4, 2.4, 2.39, 2.6, 4.0, 9.0];
        let sweep = Sweep::new(points(&losses));
        // Between the fourth and sixth the loss falls by 1.8.
        assert_eq!(sweep.steepest, Some(sweep.points[5].learning_rate));
        let tenth = sweep.points[10].learning_rate / 10.0;
        assert_eq!(
            (sweep.tenth_of_minimum, sweep.suggestion),
            (Some(tenth), Some(tenth.min(sweep.points[5].learning_rate)))
        );
    }

    #[test]
    fn a_loss_that_only_rises_suggests_nothing() {
        let sweep = Sweep::new(points(&[2.0, 2.1, 2.2, 3.0, 5.0, 9.0]));
        assert_eq!((sweep.steepest, sweep.tenth_of_minimum, sweep.suggestion), (None, None, None));
        assert_eq!(Sweep::new(Vec::new()).suggestion, None);
    }

    #[test]
    fn impossible_sweeps_name_their_key() {
        SweepConfig::default().validate().unwrap();
        for (field, config) in [
            ("lowest", SweepConfig { lowest: 0.0, ..SweepConfig::default() }),
            ("highest", SweepConfig { highest: 1e-9, ..SweepConfig::default() }),
            ("steps", SweepConfig { steps: 3, ..SweepConfig::default() }),
        ] {
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }
}
