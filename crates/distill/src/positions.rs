//! Averages over the positions of a step, whatever its micro-batches.

use limbeck_train::Batch;
use tch::{Kind, TchError, Tensor};

/// The real positions of a micro-batch, and how many the step has.
#[derive(Debug)]
pub struct Positions {
    /// f32 `[batch, seq]` of ones, and zeros for padding.
    mask: Tensor,
    total: f64,
}

impl Positions {
    /// The positions of a micro-batch of a step that has `total` of them.
    ///
    /// # Errors
    /// libtorch's.
    pub fn of(batch: &Batch, total: usize) -> limbeck_train::Result<Self> {
        Ok(Self { mask: batch.real_positions()?, total: total.max(1) as f64 })
    }

    /// The micro-batch's part of the mean of `values`, f32 `[batch, seq]`, over the step.
    ///
    /// # Errors
    /// libtorch's.
    pub(crate) fn mean(&self, values: &Tensor) -> Result<Tensor, TchError> {
        values.f_mul(&self.mask)?.f_sum(Kind::Float)?.f_div_scalar(self.total)
    }

    /// All positions of a batch without padding, which is the whole step.
    #[cfg(test)]
    pub(crate) fn all(batch: i64, seq: i64) -> Self {
        let mask = Tensor::ones([batch, seq], (Kind::Float, tch::Device::Cpu));
        Self { mask, total: (batch * seq) as f64 }
    }
}
