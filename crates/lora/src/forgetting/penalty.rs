//! Terms that are added to a loss once a step.

use std::fmt::Debug;

use limbeck_model::Decoder;
use limbeck_train::{Batch, Losses, Objective, ObjectiveMemory, Result};

/// A term of the loss that depends on the parameters alone.
pub trait Penalty: Debug {
    /// What its value is called among a step's losses.
    fn name(&self) -> &'static str;

    /// Adds its gradient to that of the parameters and returns its value.
    ///
    /// # Errors
    /// libtorch's.
    fn backward(&self) -> Result<f64>;
}

/// An objective with penalties.
///
/// The task's loss is a mean over the step's tokens, whose micro-batches add up to it; a
/// penalty comes whole with the first of them. Neither then depends on how the step is split.
pub struct Penalised {
    objective: Box<dyn Objective>,
    penalties: Vec<Box<dyn Penalty>>,
    /// Whether the step has not had its penalties yet.
    is_due: bool,
}

impl Penalised {
    /// The objective with these penalties, which may be none.
    pub fn new(objective: Box<dyn Objective>, penalties: Vec<Box<dyn Penalty>>) -> Self {
        Self { objective, penalties, is_due: true }
    }

    fn add(&mut self, mut losses: Losses) -> Result<Losses> {
        let task = losses.first().map_or(0.0, |(_, value)| *value);
        if !losses.iter().any(|(name, _)| *name == "cross_entropy") {
            // What a mix compares groups by; the penalty is no group's.
            losses.push(("cross_entropy", task));
        }
        if std::mem::take(&mut self.is_due) {
            for penalty in &self.penalties {
                let value = penalty.backward()?;
                if let Some((_, minimised)) = losses.first_mut() {
                    *minimised += value;
                }
                losses.push((penalty.name(), value));
            }
        }
        Ok(losses)
    }
}

impl Objective for Penalised {
    fn begin_step(
        &mut self,
        step: u64,
        model: &Decoder,
        batches: Vec<Batch>,
    ) -> Result<Vec<Batch>> {
        // The trainer zeroes gradients after this, so the penalties must wait.
        self.is_due = true;
        self.objective.begin_step(step, model, batches)
    }

    fn accumulate(&mut self, model: &Decoder, batch: &Batch, total_weight: f64) -> Result<Losses> {
        let losses = self.objective.accumulate(model, batch, total_weight)?;
        self.add(losses)
    }

    fn accumulate_recomputed(
        &mut self,
        model: &Decoder,
        batch: &Batch,
        total_weight: f64,
    ) -> Result<Losses> {
        let losses = self.objective.accumulate_recomputed(model, batch, total_weight)?;
        self.add(losses)
    }

    fn memory(&self, positions: usize) -> ObjectiveMemory {
        self.objective.memory(positions)
    }
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::super::ewc::Ewc;
    use super::super::fisher::{Fisher, FisherKind};
    use super::super::fixture::{adapter, batch, examples, model};
    use super::super::update::LowRankUpdate;
    use super::*;

    /// Gradients of all parameters and the sum of what was minimised, of one step in
    /// micro-batches of these sizes.
    fn step(sizes: &[usize], penalised: bool) -> (Vec<Tensor>, f64, Vec<&'static str>) {
        let mut model = model();
        let names = model.linear_names();
        let all = examples(6);
        let fisher =
            Fisher::estimate(&mut model, &names, &[batch(&all)], FisherKind::Separable).unwrap();
        let adapter = adapter(&mut model, 4);
        let updates = LowRankUpdate::of(&model, &adapter).unwrap();
        let ewc: Box<dyn Penalty> = Box::new(Ewc::new(&fisher, updates, 1e-2).unwrap());
        let penalties = if penalised { vec![ewc] } else { Vec::new() };
        let mut objective = Penalised::new(adapter.objective(100), penalties);
        let mut rest = &all[..];
        let mut batches = Vec::new();
        for &size in sizes {
            batches.push(batch(&rest[..size]));
            rest = &rest[size..];
        }
        let total: f64 = batches.iter().map(|batch| batch.weight_sum).sum();
        let batches = objective.begin_step(0, &model, batches).unwrap();
        let (mut sum, mut told) = (0.0, Vec::new());
        for batch in &batches {
            let losses = objective.accumulate(&model, batch, total).unwrap();
            sum += losses[0].1;
            told.extend(losses.into_iter().map(|(name, _)| name));
        }
        let parameters = adapter.trainable_parameters();
        (parameters.iter().map(|(_, tensor)| tensor.grad()).collect(), sum, told)
    }

    #[test]
    fn the_split_of_a_step_does_not_matter() {
        let (whole, loss, told) = step(&[6], true);
        assert_eq!(told, ["loss", "cross_entropy", "ewc"]);
        let (split, split_loss, told) = step(&[1, 3, 2], true);
        assert_eq!(told.iter().filter(|name| **name == "ewc").count(), 1);
        assert!((loss - split_loss).abs() < 1e-4 * loss, "{loss} {split_loss}");
        for (whole, split) in whole.iter().zip(&split) {
            let size = whole.abs().max().double_value(&[]);
            assert!(split.allclose(whole, 1e-3, 1e-4 * size, false));
        }
        let (bare, bare_loss, told) = step(&[6], false);
        assert_eq!(told, ["loss", "cross_entropy"]);
        assert!(loss > bare_loss * 1.001, "the penalty counts: {loss} {bare_loss}");
        assert!(whole.iter().zip(&bare).any(|(one, other)| !one.allclose(other, 1e-3, 0.0, false)));
    }
}
