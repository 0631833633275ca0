//! How a training run is set up; the same keys serve fine-tuning, distillation and LoRA.

use limbeck_core::DType;
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

use crate::curriculum::CurriculumConfig;
use crate::mix::MixConfig;
use crate::optimizer::{OptimizerConfig, OptimizerKind};
use crate::questions::QuestionsConfig;
use crate::schedule::{Decay, Schedule};
use crate::token_weights::TokenWeights;

/// The `[….train]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Optimiser steps. Default 1000.
    pub steps: u64,
    /// Positions of one forward pass, padding included. Default 4096.
    pub micro_batch_tokens: usize,
    /// Micro-batches of one optimiser step. Default 1.
    pub gradient_accumulation: usize,
    /// The longest conversation, in tokens; longer records are left out and counted.
    /// Default 512.
    pub max_length: usize,
    /// `adamw`, `adamw_8bit` (both moments of matrices in 8 bits: 2.03 instead of 8 bytes a
    /// parameter) or `adafactor` (a number a row and column of a matrix, no momentum).
    /// Default `adamw`.
    pub optimizer: OptimizerKind,
    /// The highest learning rate. Default 1e-3.
    pub learning_rate: f64,
    /// Muon's highest learning rate for the blocks' matrices; the same schedule applies. 0
    /// trains them like the rest. Around 0.02 where it is used. Default 0.
    pub muon_learning_rate: f64,
    /// The last learning rate as a share of the highest. Default 0.05.
    pub min_learning_rate_ratio: f64,
    /// Steps in which the rate rises from 0. Default 50.
    pub warmup_steps: u64,
    /// `cosine`, `linear` or `constant`. Default `cosine`.
    pub decay: Decay,
    /// Decoupled weight decay of matrices. Default 0.01.
    pub weight_decay: f64,
    /// `AdamW`'s decay of the first moment. Default 0.9.
    pub beta1: f64,
    /// `AdamW`'s decay of the second moment. Default 0.98.
    pub beta2: f64,
    /// `AdamW`'s epsilon. Default 1e-8.
    pub epsilon: f64,
    /// The highest gradient norm; 0 for no limit. Default 1.
    pub clip_norm: f64,
    /// Dtype of activations and matrix products; parameters and moments stay float32.
    /// Default `float32`.
    pub compute_dtype: DType,
    /// Keep only each block's input in the forward pass and compute its activations again
    /// in the backward pass: the same gradients, a third more time, and activations of one
    /// block instead of all. Default false.
    pub activation_checkpointing: bool,
    /// What the tokens of each part of a reply count.
    pub weights: TokenWeights,
    /// Several chains of one question.
    pub questions: QuestionsConfig,
    /// Easy examples first.
    pub curriculum: CurriculumConfig,
    /// Chain and task examples, or domains, in batches of their own.
    pub mix: MixConfig,
    /// Rows of the vocabulary projection held at a time. Default 2048.
    pub head_chunk_rows: i64,
    /// End before training if it needs more memory, by estimate, than the device has; the
    /// estimate is logged in any case. Default true.
    pub check_memory: bool,
    /// Steps between lines of metrics. Default 10.
    pub log_every: u64,
    /// Steps between checkpoints; 0 for none. Default 200.
    pub checkpoint_every: u64,
    /// Steps between passes over the validation records; 0 for none. Default 0.
    pub validate_every: u64,
    /// Validation records used. Default 256.
    pub validation_records: usize,
    /// What early stopping and the best parameters go by: `loss`, or `accuracy` of greedy
    /// replies to validation records. Default `loss`.
    pub validation_metric: MetricKind,
    /// Validation records that `validation_metric = "accuracy"` lets the model answer.
    /// Default 64.
    pub accuracy_records: usize,
    /// Validations without a better one after which the run ends; 0 for never. Default 0.
    pub early_stopping_patience: u64,
    /// End with the parameters of the best validation instead of the last. Default false.
    pub keep_best: bool,
    /// Decay of an exponential moving average of the parameters, which validation sees and
    /// the run ends with; 0 for none. 0.999 looks back about a thousand steps. Default 0.
    pub ema_decay: f64,
}

/// What a validation is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// Cross-entropy; lower is better.
    #[default]
    Loss,
    /// Share of greedy replies that are right; higher is better.
    Accuracy,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            micro_batch_tokens: 4096,
            gradient_accumulation: 1,
            max_length: 512,
            optimizer: OptimizerKind::AdamW,
            learning_rate: 1e-3,
            muon_learning_rate: 0.0,
            min_learning_rate_ratio: 0.05,
            warmup_steps: 50,
            decay: Decay::Cosine,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.98,
            epsilon: 1e-8,
            clip_norm: 1.0,
            compute_dtype: DType::Float32,
            activation_checkpointing: false,
            weights: TokenWeights::default(),
            questions: QuestionsConfig::default(),
            curriculum: CurriculumConfig::default(),
            mix: MixConfig::default(),
            head_chunk_rows: 2048,
            check_memory: true,
            log_every: 10,
            checkpoint_every: 200,
            validate_every: 0,
            validation_records: 256,
            validation_metric: MetricKind::Loss,
            accuracy_records: 64,
            early_stopping_patience: 0,
            keep_best: false,
            ema_decay: 0.0,
        }
    }
}

impl TrainConfig {
    /// The learning-rate schedule.
    pub fn schedule(&self) -> Schedule {
        Schedule {
            peak: self.learning_rate,
            floor_ratio: self.min_learning_rate_ratio,
            warmup_steps: self.warmup_steps,
            steps: self.steps,
            decay: self.decay,
        }
    }

    /// Whether validations decide over the run.
    pub fn selects(&self) -> bool {
        self.keep_best || self.early_stopping_patience > 0
    }

    /// The optimiser's constants.
    pub fn optimizer(&self) -> OptimizerConfig {
        let muon = self.muon_learning_rate > 0.0;
        OptimizerConfig {
            kind: self.optimizer,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            muon_ratio: muon.then_some(self.muon_learning_rate / self.learning_rate),
        }
    }
}

impl Validate for TrainConfig {
    fn validate(&self) -> Result<(), Invalid> {
        let positive = [
            ("steps", self.steps as f64),
            ("micro_batch_tokens", self.micro_batch_tokens as f64),
            ("gradient_accumulation", self.gradient_accumulation as f64),
            ("learning_rate", self.learning_rate),
            ("epsilon", self.epsilon),
            ("head_chunk_rows", self.head_chunk_rows as f64),
            ("accuracy_records", self.accuracy_records as f64),
            ("log_every", self.log_every as f64),
        ];
        for (field, value) in positive {
            // Also refuses NaN.
            if !(value > 0.0 && value.is_finite()) {
                return Err(Invalid::new(field, "a number above 0", value));
            }
        }
        if self.max_length < 2 {
            return Err(Invalid::new("max_length", "at least 2 tokens", self.max_length));
        }
        for (field, value) in
            [("beta1", self.beta1), ("beta2", self.beta2), ("ema_decay", self.ema_decay)]
        {
            if !(0.0..1.0).contains(&value) {
                return Err(Invalid::new(field, "a number from 0 to below 1", value));
            }
        }
        if !(0.0..=1.0).contains(&self.min_learning_rate_ratio) {
            let found = self.min_learning_rate_ratio;
            return Err(Invalid::new("min_learning_rate_ratio", "a number from 0 to 1", found));
        }
        for (field, value) in [
            ("muon_learning_rate", self.muon_learning_rate),
            ("weight_decay", self.weight_decay),
            ("clip_norm", self.clip_norm),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(Invalid::new(field, "a number from 0 up", value));
            }
        }
        if self.selects() && self.validate_every == 0 {
            let expected = "above 0 with early_stopping_patience or keep_best";
            return Err(Invalid::new("validate_every", expected, self.validate_every));
        }
        self.weights.validate().map_err(|invalid| invalid.within("weights"))?;
        self.curriculum.validate().map_err(|invalid| invalid.within("curriculum"))?;
        self.mix.validate().map_err(|invalid| invalid.within("mix"))?;
        if self.warmup_steps > self.steps {
            return Err(Invalid::new("warmup_steps", "at most steps", self.warmup_steps));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_name_their_key() {
        TrainConfig::default().validate().unwrap();
        let cases = [
            ("learning_rate", TrainConfig { learning_rate: f64::NAN, ..TrainConfig::default() }),
            ("steps", TrainConfig { steps: 0, warmup_steps: 0, ..TrainConfig::default() }),
            ("beta2", TrainConfig { beta2: 1.0, ..TrainConfig::default() }),
            ("warmup_steps", TrainConfig { warmup_steps: 5000, ..TrainConfig::default() }),
            ("clip_norm", TrainConfig { clip_norm: -1.0, ..TrainConfig::default() }),
            ("ema_decay", TrainConfig { ema_decay: 1.0, ..TrainConfig::default() }),
            ("validate_every", TrainConfig { keep_best: true, ..TrainConfig::default() }),
            (
                "validate_every",
                TrainConfig { early_stopping_patience: 3, ..TrainConfig::default() },
            ),
            (
                "curriculum.share",
                TrainConfig {
                    curriculum: CurriculumConfig { share: 0.0, ..CurriculumConfig::default() },
                    ..TrainConfig::default()
                },
            ),
            (
                "mix.task_share",
                TrainConfig {
                    mix: MixConfig { task_share: Some(2.0), ..MixConfig::default() },
                    ..TrainConfig::default()
                },
            ),
        ];
        for (field, config) in cases {
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }
}
