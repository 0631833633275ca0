//! Knowledge distillation, mixed with cross-entropy.
//!
//! `loss = (1 − kd_weight) · CE + kd_weight · T² · D(p, q) + hidden_weight · H +
//! attention_weight · A + relations.weight · R`. The first two are sums over the rows that
//! carry a loss, weighted and divided by the step's total weight; the factor T² (1 with
//! `compat = "trl"`) keeps the gradient's size when T changes (Hinton et al. 2015, section
//! 2). H is [`FeatureMatching::loss`], A [`AttentionMatching::loss`] and R
//! [`RelationMatching::loss`], all three divided by the step's positions. So no part depends
//! on how a step is split.
//!
//! Replies that the student has sampled have no right tokens: of them only D, H, A and R
//! count, and D counts in full.

use std::ops::Range;

use limbeck_core::Tokenizer;
use limbeck_model::{Decoder, Taps};
use limbeck_train::objective::{forward_tapped, weighted_cross_entropy};
use limbeck_train::{
    Batch, Losses, Objective, ObjectiveMemory, SupervisedObjective, head, recompute,
};
use tch::{Device, Tensor};

use crate::attention::AttentionMatching;
use crate::divergence::{Divergence, DivergenceSettings};
use crate::features::FeatureMatching;
use crate::key_heads::{HeadChoice, KeyHeads};
use crate::on_policy::OnPolicy;
use crate::positions::Positions;
use crate::relations::RelationMatching;
use crate::teacher::Teacher;
use crate::{DistillConfig, Error, Result};

/// Distillation of output distributions, hidden states and attention from a teacher.
#[derive(Debug)]
pub struct DistillObjective<'a> {
    teacher: Teacher<'a>,
    divergence: DivergenceSettings,
    temperature_scale: f64,
    contrastive_beta: f64,
    kd_weight: f64,
    features: Option<FeatureMatching>,
    hidden_weight: f64,
    attention: Option<AttentionMatching>,
    attention_weight: f64,
    relations: Option<RelationMatching>,
    relations_weight: f64,
    on_policy: Option<OnPolicy>,
    /// Steps with the teacher; after them the labels alone.
    teacher_steps: u64,
    step: u64,
    /// Real positions of the step.
    num_tokens: usize,
    supervised: SupervisedObjective,
    pad_token_id: i64,
    /// The longest example, in tokens.
    max_length: usize,
}

impl<'a> DistillObjective<'a> {
    /// An objective for this pair. Unless aligned, they must mean the same tokens by the
    /// same ids; rows that only one of the heads has are left out. `calibration` are batches on which heads are scored, where heads are to be
    /// chosen; `seed` draws the maps between hidden states, on `device`.
    ///
    /// # Errors
    /// [`Error::LayerMap`], [`Error::RelationHeads`], [`Error::NeedsLive`],
    /// [`Error::Temperature`], libtorch's.
    pub fn new(
        teacher: Teacher<'a>,
        student: &Decoder,
        config: &DistillConfig,
        tokens: &TokenIds,
        calibration: &[Batch],
        seed: u64,
        device: Device,
    ) -> Result<Self> {
        let wants = [
            ("hidden_weight", config.hidden_weight > 0.0),
            ("attention_weight", config.attention_weight > 0.0),
            ("relations.weight", config.relations.weight > 0.0),
        ];
        let (mut features, mut attention, mut relations) = (None, None, None);
        if let Some(teacher) = teacher.tapped() {
            if wants[0].1 {
                let settings = config.feature_settings();
                features = Some(FeatureMatching::new(student, teacher, &settings, seed, device)?);
            }
            if wants[1].1 {
                let mut matching = AttentionMatching::new(student, teacher, &config.attention_map)?;
                if config.attention_heads != HeadChoice::Mean {
                    let blocks = matching.teacher_blocks();
                    let count = student.config().num_attention_heads;
                    matching = matching.with_key_heads(KeyHeads::choose(
                        teacher,
                        &blocks,
                        config.attention_heads,
                        count,
                        calibration,
                    )?);
                }
                attention = Some(matching);
            }
            if wants[2].1 {
                relations = Some(RelationMatching::new(student, teacher, &config.relations)?);
            }
        } else if let Some((key, _)) = wants.into_iter().find(|(_, wanted)| *wanted) {
            return Err(Error::NeedsLive { key });
        }
        let divergence = config.divergence_settings();
        match &teacher {
            Teacher::Captured(source) => {
                let (captured, wanted) = (source.temperature(), divergence.temperature);
                if (captured - wanted).abs() > 1e-9 {
                    return Err(Error::Temperature { captured, wanted });
                }
            }
            Teacher::Aligned(..) if divergence.divergence != Divergence::SortedL1 => {
                return Err(Error::NotAligned);
            }
            Teacher::Live(_) | Teacher::Aligned(..) => {}
        }
        let on_policy = (config.on_policy.share > 0.0).then(|| OnPolicy {
            settings: config.on_policy.clone(),
            seed,
            stop_token_ids: tokens.stop.clone(),
            pad_token_id: tokens.pad,
        });
        if on_policy.is_some() && !matches!(teacher, Teacher::Live(_)) {
            return Err(Error::NeedsLive { key: "on_policy.share" });
        }
        Ok(Self {
            teacher,
            divergence,
            temperature_scale: config.temperature_scale(),
            contrastive_beta: config.contrastive_beta,
            kd_weight: config.kd_weight,
            features,
            hidden_weight: config.hidden_weight,
            attention,
            attention_weight: config.attention_weight,
            relations,
            relations_weight: config.relations.weight,
            on_policy,
            teacher_steps: (config.teacher_share * config.train.steps as f64).ceil() as u64,
            step: 0,
            num_tokens: 0,
            supervised: SupervisedObjective { chunk_rows: config.train.head_chunk_rows },
            pad_token_id: tokens.pad,
            max_length: config.train.max_length,
        })
    }

    /// The heads of the teacher that are followed, if heads were chosen.
    pub fn key_heads(&self) -> Option<&KeyHeads> {
        self.attention.as_ref().and_then(AttentionMatching::key_heads)
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
        if let Some(relations) = &self.relations {
            student.want_projections = relations.student_blocks();
            teacher.want_projections = relations.teacher_blocks();
        }
        (student, teacher)
    }

    /// What is trained beside the student, and left behind with the objective.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        self.features.as_ref().map(FeatureMatching::parameters).unwrap_or_default()
    }

    /// The divergence of a batch and its factors: of the cross-entropy, and of itself.
    fn weighting(&self, sampled: bool) -> (DivergenceSettings, f64, f64) {
        let (mut divergence, mut factor) = (self.divergence, self.temperature_scale);
        if divergence.divergence == Divergence::Contrastive {
            let beta = self.contrastive_beta;
            factor *= if sampled { beta } else { 2.0 - beta };
            if sampled {
                divergence.divergence = Divergence::SkewReverseKl;
                divergence.constant_mixture = true;
            }
        }
        if sampled {
            (divergence, 0.0, factor)
        } else {
            (divergence, 1.0 - self.kd_weight, self.kd_weight * factor)
        }
    }
}

/// Ids that sampling and batches need.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenIds {
    /// End a reply.
    pub stop: Vec<i64>,
    /// Fills batches.
    pub pad: i64,
}

impl From<&Tokenizer> for TokenIds {
    fn from(tokenizer: &Tokenizer) -> Self {
        Self { stop: tokenizer.eos_token_ids().to_vec(), pad: tokenizer.pad_token_id() }
    }
}

impl Objective for DistillObjective<'_> {
    fn begin_step(
        &mut self,
        step: u64,
        model: &Decoder,
        mut batches: Vec<Batch>,
    ) -> limbeck_train::Result<Vec<Batch>> {
        self.step = step;
        if step < self.teacher_steps
            && let Some(on_policy) = &self.on_policy
            && on_policy.takes(step)
        {
            let sampled = on_policy.sample(model, step, &batches)?;
            if self.divergence.divergence == Divergence::Contrastive {
                batches.extend(sampled);
            } else {
                batches = sampled;
            }
        }
        self.num_tokens = batches.iter().map(|batch| batch.num_tokens).sum();
        Ok(batches)
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
        self.distilled(model, batch, total_weight, false)
    }

    fn accumulate_recomputed(
        &mut self,
        model: &Decoder,
        batch: &Batch,
        total_weight: f64,
    ) -> limbeck_train::Result<Losses> {
        if self.step >= self.teacher_steps {
            return self.supervised.accumulate_recomputed(model, batch, total_weight);
        }
        if self.relations.is_some() {
            return Err(limbeck_train::Error::ActivationCheckpointing);
        }
        self.distilled(model, batch, total_weight, true)
    }

    fn memory(&self, positions: usize) -> ObjectiveMemory {
        let Some(teacher) = self.teacher.decoder() else { return ObjectiveMemory::default() };
        let bytes = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
        let resident: usize =
            teacher.named_parameters().iter().map(|(_, tensor)| bytes(tensor)).sum();
        let float = 4;
        let config = teacher.config();
        let width = (config.hidden_size as usize).max(config.num_attention_heads as usize);
        let states = self.features.as_ref().map_or(0, |features| features.teacher_states().len());
        // What a forward pass without a graph holds at its widest, and what is tapped.
        let mut activations = positions * width * float * (8 + 2 * states);
        if let Some(attention) = &self.attention {
            let seq = positions.min(self.max_length);
            let heads = config.num_attention_heads as usize;
            // Of the teacher: scores, probabilities, their logarithms; of the student likewise.
            activations += attention.teacher_blocks().len() * heads * positions * seq * float * 2;
        }
        ObjectiveMemory { resident: resident as u64, activations: activations as u64 }
    }
}

impl DistillObjective<'_> {
    /// A micro-batch with the teacher; the student's blocks run again in the backward pass
    /// if they are to be recomputed.
    fn distilled(
        &self,
        model: &Decoder,
        batch: &Batch,
        total_weight: f64,
        is_recomputed: bool,
    ) -> limbeck_train::Result<Losses> {
        let (mut student_taps, mut teacher_taps) = self.taps();
        let teacher = self.teacher.rows(batch, &mut teacher_taps, self.pad_token_id)?;
        let (hidden, cut) = if is_recomputed {
            let (hidden, cut) = recompute::forward(model, batch, Some(&mut student_taps))?;
            (hidden, Some(cut))
        } else {
            (forward_tapped(model, batch, Some(&mut student_taps))?, None)
        };
        let (settings, labels, divergences) = self.weighting(batch.sampled);
        let (mut cross_entropy, mut divergence) = (0.0, 0.0);
        let chunk_loss = &mut |logits: &Tensor, rows: Range<i64>| -> limbeck_train::Result<_> {
            let length = rows.end - rows.start;
            let targets = batch.targets.f_narrow(0, rows.start, length)?;
            let weights = batch.weights.f_narrow(0, rows.start, length)?;
            let per_row = teacher.divergence(&settings, logits, &rows)?;
            let kd = per_row.f_mul(&weights)?.f_sum(tch::Kind::Float)?;
            let kd = kd.f_div_scalar(total_weight)?;
            let ce = weighted_cross_entropy(logits, &targets, &weights, total_weight)?;
            cross_entropy += ce.f_double_value(&[])?;
            divergence += kd.f_double_value(&[])?;
            Ok(ce.f_mul_scalar(labels)?.f_add(&kd.f_mul_scalar(divergences)?)?)
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
        let positions = Positions::of(batch, self.num_tokens.max(batch.num_tokens))?;
        if let Some(features) = &self.features {
            let loss = features.loss(&student_taps, &teacher_taps, &positions)?;
            add("hidden", self.hidden_weight, loss)?;
        }
        if let Some(attention) = &self.attention {
            let loss = attention.loss(&student_taps, &teacher_taps, &positions)?;
            add("attention", self.attention_weight, loss)?;
        }
        if let Some(relations) = &self.relations {
            let loss = relations.loss(&student_taps, &teacher_taps, &positions)?;
            add("relations", self.relations_weight, loss)?;
        }
        if let Some(rest) = rest {
            rest.f_backward()?;
        }
        if let Some(cut) = cut {
            cut.backward()?;
        }
        Ok(parts)
    }
}
