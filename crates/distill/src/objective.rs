//! Knowledge distillation against a live teacher, mixed with cross-entropy.
//!
//! `loss = (1 − kd_weight) · CE + kd_weight · T² · D(p, q)`, each a sum over the rows that
//! carry a loss, weighted and divided by the step's total weight. The factor T² keeps the
//! gradient's size when T changes (Hinton et al. 2015, section 2).

use limbeck_model::Decoder;
use limbeck_train::objective::{forward, weighted_cross_entropy};
use limbeck_train::{Batch, Losses, Objective, head};
use tch::{Kind, no_grad};

use crate::divergence::Divergence;
use crate::{Error, Result};

/// Distillation of output distributions from a teacher in memory.
#[derive(Debug)]
pub struct DistillObjective<'a> {
    teacher: &'a Decoder,
    /// The divergence.
    pub divergence: Divergence,
    /// T, of both distributions.
    pub temperature: f64,
    /// Share of the divergence; the rest is cross-entropy.
    pub kd_weight: f64,
    /// Rows of the vocabulary projection at a time.
    pub chunk_rows: i64,
}

impl<'a> DistillObjective<'a> {
    /// An objective for this pair; their heads must have equally many rows.
    ///
    /// # Errors
    /// [`Error::Vocabulary`].
    pub fn new(
        teacher: &'a Decoder,
        student: &Decoder,
        divergence: Divergence,
        temperature: f64,
        kd_weight: f64,
        chunk_rows: i64,
    ) -> Result<Self> {
        let (student, rows) = (student.config().vocab_size, teacher.config().vocab_size);
        if student != rows {
            return Err(Error::Vocabulary { student, teacher: rows });
        }
        Ok(Self { teacher, divergence, temperature, kd_weight, chunk_rows })
    }
}

impl Objective for DistillObjective<'_> {
    fn accumulate(
        &mut self,
        model: &Decoder,
        batch: &Batch,
        total_weight: f64,
    ) -> limbeck_train::Result<Losses> {
        let teacher_rows = no_grad(|| head::select_rows(&forward(self.teacher, batch)?, batch))?;
        let hidden = forward(model, batch)?;
        let scale = self.temperature * self.temperature;
        let (mut cross_entropy, mut divergence) = (0.0, 0.0);
        let loss = head::backward(model, &hidden, batch, self.chunk_rows, &mut |logits, rows| {
            let length = rows.end - rows.start;
            let targets = batch.targets.f_narrow(0, rows.start, length)?;
            let weights = batch.weights.f_narrow(0, rows.start, length)?;
            let teacher_logits = no_grad(|| -> limbeck_train::Result<_> {
                let hidden = teacher_rows.f_narrow(0, rows.start, length)?;
                Ok(self.teacher.logits(&hidden)?.f_to_kind(Kind::Float)?)
            })?;
            let per_row = self.divergence.per_row(logits, &teacher_logits, self.temperature)?;
            let kd = per_row.f_mul(&weights)?.f_sum(Kind::Float)?.f_div_scalar(total_weight)?;
            let ce = weighted_cross_entropy(logits, &targets, &weights, total_weight)?;
            cross_entropy += ce.f_double_value(&[])?;
            divergence += kd.f_double_value(&[])?;
            let kd = kd.f_mul_scalar(self.kd_weight * scale)?;
            Ok(ce.f_mul_scalar(1.0 - self.kd_weight)?.f_add(&kd)?)
        })?;
        Ok(vec![("loss", loss), ("cross_entropy", cross_entropy), ("divergence", divergence)])
    }
}
