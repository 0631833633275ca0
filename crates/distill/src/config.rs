//! How a distillation is set up: the pipeline's `[distill]` table.

use limbeck_run::config::{Invalid, Validate};
use limbeck_train::TrainConfig;
use serde::{Deserialize, Serialize};

use crate::divergence::Divergence;
pub use crate::student::StudentConfig;

/// The `[distill]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DistillConfig {
    /// `forward_kl` or `reverse_kl`. Default `forward_kl`.
    pub divergence: Divergence,
    /// T of both distributions; 2.0 to 5.0 is usual where the teacher is unsure, 1.0
    /// where its answers are exact. Default 2.0.
    pub temperature: f64,
    /// Share of the divergence in the loss, 0 to 1; the rest is cross-entropy with the
    /// data. Default 0.9.
    pub kd_weight: f64,
    /// Factor of the difference between hidden states; 0 leaves them alone. Default 1.0.
    pub hidden_weight: f64,
    /// Factor of the divergence between attention maps; 0 leaves them alone. Default 1.0.
    pub attention_weight: f64,
    /// Share of the steps, from the start, in which the teacher takes part; the rest is
    /// cross-entropy alone, at several times the speed. Default 1.0.
    pub teacher_share: f64,
    /// The student.
    pub student: StudentConfig,
    /// The training.
    pub train: TrainConfig,
}

impl Default for DistillConfig {
    fn default() -> Self {
        Self {
            divergence: Divergence::ForwardKl,
            temperature: 2.0,
            kd_weight: 0.9,
            hidden_weight: 1.0,
            attention_weight: 1.0,
            teacher_share: 1.0,
            student: StudentConfig::default(),
            train: TrainConfig::default(),
        }
    }
}

impl Validate for DistillConfig {
    fn validate(&self) -> Result<(), Invalid> {
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            return Err(Invalid::new("temperature", "a number above 0", self.temperature));
        }
        for (field, share) in [("kd_weight", self.kd_weight), ("teacher_share", self.teacher_share)]
        {
            if !(0.0..=1.0).contains(&share) {
                return Err(Invalid::new(field, "a number from 0 to 1", share));
            }
        }
        for (field, weight) in
            [("hidden_weight", self.hidden_weight), ("attention_weight", self.attention_weight)]
        {
            if !(weight >= 0.0 && weight.is_finite()) {
                return Err(Invalid::new(field, "a number from 0 up", weight));
            }
        }
        self.student.validate().map_err(|invalid| invalid.within("student"))?;
        self.train.validate().map_err(|invalid| invalid.within("train"))
    }
}
