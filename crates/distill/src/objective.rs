//! Knowledge distillation against a live teacher, mixed with cross-entropy.
//!
//! `loss = (1 − kd_weight) · CE + kd_weight · T² · D(p, q) + hidden_weight · H +
//! attention_weight · A`. The first two are sums over the rows that carry a loss, weighted
//! and divided by the step's total weight; the factor T² (1 with `compat = "trl"`) keeps
//! the gradient's size when T changes (Hinton et al. 2015, section 2). H is
//! [`FeatureMatching::loss`] and A [`AttentionMatching::loss`]; a micro-batch's share of them
//! is that of its weight.

use std::ops::Range;

use limbeck_model::{Decoder, Taps};
use limbeck_train::objective::{forward_tapped, weighted_cross_entropy};
use limbeck_train::{Batch, Losses, Objective, SupervisedObjective, head};
use tch::{Device, Kind, Tensor, no_grad};

use crate::attention::AttentionMatching;
use crate::divergence::DivergenceSettings;
use crate::features::FeatureMatching;
use crate::{DistillConfig, Error, Result};

/// Distillation of output distributions, hidden states and attention from a teacher in
/// memory.
#[derive(Debug)]
pub struct DistillObjective<'a> {
    teacher: &'a Decoder,
    divergence: DivergenceSettings,
    temperature_scale: f64,
    kd_weight: f64,
    features: Option<FeatureMatching>,
    hidden_weight: f64,
    attention: Option<AttentionMatching>,
    attention_weight: f64,
    /// Steps with the teacher; after them the labels alone.
    teacher_steps: u64,
    step: u64,
    supervised: SupervisedObjective,
}

impl<'a> DistillObjective<'a> {
    /// An objective for this pair; their heads must have equally many rows. `seed` draws
    /// the maps between hidden states, on `device`.
    ///
    /// # Errors
    /// [`Error::Vocabulary`], [`Error::LayerMap`], libtorch's.
    pub fn new(
        teacher: &'a Decoder,
        student: &Decoder,
        config: &DistillConfig,
        seed: u64,
        device: Device,
    ) -> Result<Self> {
        let (rows, teacher_rows) = (student.config().vocab_size, teacher.config().vocab_size);
        if rows != teacher_rows {
            return Err(Error::Vocabulary { student: rows, teacher: teacher_rows });
        }
        let features = (config.hidden_weight > 0.0)
            .then(|| {
                FeatureMatching::new(student, teacher, &config.feature_settings(), seed, device)
            })
            .transpose()?;
        Ok(Self {
            teacher,
            divergence: config.divergence_settings(),
            temperature_scale: config.temperature_scale(),
            kd_weight: config.kd_weight,
            features,
            hidden_weight: config.hidden_weight,
            attention: (config.attention_weight > 0.0)
                .then(|| AttentionMatching::new(student, teacher)),
            attention_weight: config.attention_weight,
            teacher_steps: (config.teacher_share * config.train.steps as f64).ceil() as u64,
            step: 0,
            supervised: SupervisedObjective { chunk_rows: config.train.head_chunk_rows },
        })
    }

    /// What the two forward passes hand out, student's first.
    fn taps(&self) -> (Taps, Taps) {
        let (mut student, mut teacher) = (Taps::default(), Taps::default());
        if let Some(features) = &self.features {
            student.want_hidden = features.student_states();
            teacher.want_hidden = features.teacher_states();
        }
        if let Some(attention) = &self.attention {
            student.want_attention = attention.student_blocks();
            teacher.want_attention = attention.teacher_blocks();
        }
        (student, teacher)
    }

    /// What is trained beside the student, and left behind with the objective.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        self.features.as_ref().map(FeatureMatching::parameters).unwrap_or_default()
    }
}

impl Objective for DistillObjective<'_> {
    fn begin_step(&mut self, step: u64) {
        self.step = step;
    }

    fn accumulate(
        &mut self,
        model: &Decoder,
        batch: &Batch,
        total_weight: f64,
    ) -> limbeck_train::Result<Losses> {
        if self.step >= self.teacher_steps {
            return self.supervised.accumulate(model, batch, total_weight);
        }
        let (mut student_taps, mut teacher_taps) = self.taps();
        let teacher_rows = no_grad(|| {
            let hidden = forward_tapped(self.teacher, batch, Some(&mut teacher_taps))?;
            head::select_rows(&hidden, batch)
        })?;
        let hidden = forward_tapped(model, batch, Some(&mut student_taps))?;
        let scale = self.temperature_scale;
        let (mut cross_entropy, mut divergence) = (0.0, 0.0);
        let chunk_loss = &mut |logits: &Tensor, rows: Range<i64>| -> limbeck_train::Result<_> {
            let length = rows.end - rows.start;
            let targets = batch.targets.f_narrow(0, rows.start, length)?;
            let weights = batch.weights.f_narrow(0, rows.start, length)?;
            let teacher_logits = no_grad(|| -> limbeck_train::Result<_> {
                let hidden = teacher_rows.f_narrow(0, rows.start, length)?;
                Ok(self.teacher.logits(&hidden)?.f_to_kind(Kind::Float)?)
            })?;
            let per_row = self.divergence.per_row(logits, &teacher_logits)?;
            let kd = per_row.f_mul(&weights)?.f_sum(Kind::Float)?.f_div_scalar(total_weight)?;
            let ce = weighted_cross_entropy(logits, &targets, &weights, total_weight)?;
            cross_entropy += ce.f_double_value(&[])?;
            divergence += kd.f_double_value(&[])?;
            let kd = kd.f_mul_scalar(self.kd_weight * scale)?;
            Ok(ce.f_mul_scalar(1.0 - self.kd_weight)?.f_add(&kd)?)
        };
        let chunk_rows = self.supervised.chunk_rows;
        let head = head::backward_to_hidden(model, &hidden, batch, chunk_rows, chunk_loss)?;
        let mut parts = vec![
            ("loss", head.value),
            ("cross_entropy", cross_entropy),
            ("divergence", divergence),
        ];
        let mut rest = head.continuation;
        let mut add = |name, weight: f64, value: Tensor| -> limbeck_train::Result<()> {
            let value = value.f_mul_scalar(batch.weight_sum / total_weight)?;
            let number = value.f_double_value(&[])?;
            parts[0].1 += weight * number;
            parts.push((name, number));
            let weighted = value.f_mul_scalar(weight)?;
            rest = Some(match rest.take() {
                Some(rest) => rest.f_add(&weighted)?,
                None => weighted,
            });
            Ok(())
        };
        if let Some(features) = &self.features {
            add("hidden", self.hidden_weight, features.loss(&student_taps, &teacher_taps)?)?;
        }
        if let Some(attention) = &self.attention {
            let loss = attention.loss(&student_taps, &teacher_taps)?;
            add("attention", self.attention_weight, loss)?;
        }
        if let Some(rest) = rest {
            rest.f_backward()?;
        }
        Ok(parts)
    }
}
