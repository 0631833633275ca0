//! Which optimiser, and its constants.

use serde::{Deserialize, Serialize};

/// The optimiser of all parameters that Muon does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OptimizerKind {
    /// `AdamW` with both moments in float32: 8 bytes a parameter.
    #[default]
    #[serde(rename = "adamw")]
    AdamW,
    /// `AdamW` with both moments of matrices in 8 bits: 2.03 bytes a parameter.
    #[serde(rename = "adamw_8bit")]
    AdamW8bit,
    /// Adafactor with a factored second moment and no first: a float32 for each row and
    /// column of a matrix.
    #[serde(rename = "adafactor")]
    Adafactor,
}

/// The constants of the optimiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizerConfig {
    /// The optimiser.
    pub kind: OptimizerKind,
    /// `AdamW`'s decay of the first moment.
    pub beta1: f64,
    /// `AdamW`'s decay of the second moment.
    pub beta2: f64,
    /// `AdamW`'s epsilon, added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay of matrices; vectors (norms, biases) have none.
    pub weight_decay: f64,
    /// Muon for the blocks' matrices: its learning rate as a multiple of the other
    /// optimiser's. No Muon if `None`.
    pub muon_ratio: Option<f64>,
}

/// What an update needs beside parameters and gradients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Update<'a> {
    pub(super) config: &'a OptimizerConfig,
    pub(super) rate: f64,
    pub(super) weight_decay: f64,
    /// Counted from 1.
    pub(super) number: u64,
}

impl Update<'_> {
    /// What decoupled weight decay leaves of a parameter.
    pub(super) fn kept(&self) -> f64 {
        1.0 - self.rate * self.weight_decay
    }

    /// The corrections of `AdamW`'s first and second moment for having begun at 0.
    pub(super) fn bias_corrections(&self) -> (f64, f64) {
        let number = self.number as f64;
        (1.0 - self.config.beta1.powf(number), 1.0 - self.config.beta2.powf(number))
    }
}
