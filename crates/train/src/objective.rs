//! What is minimised. An objective turns a micro-batch into gradients; everything else
//! of training is the same for all of them.

use limbeck_model::{Attention, Decoder, Input, Taps};
use tch::{Kind, Reduction, Tensor};

use crate::{Batch, Error, Result, head, recompute};

/// Named parts of a micro-batch's loss, each already divided by the step's total weight,
/// so that the parts of a step add up. The first is what was minimised.
pub type Losses = Vec<(&'static str, f64)>;

/// A training objective.
pub trait Objective {
    /// Told before each step which one it is, counted from 0, also after a resumption and
    /// after going back to an earlier step, and what its micro-batches are. Those that it
    /// returns are trained on.
    ///
    /// # Errors
    /// Those of the model and of libtorch.
    fn begin_step(
        &mut self,
        _step: u64,
        _model: &Decoder,
        batches: Vec<Batch>,
    ) -> Result<Vec<Batch>> {
        Ok(batches)
    }

    /// Forward and backward of one micro-batch. `total_weight` is the sum of the loss
    /// weights over all micro-batches of the step: dividing by it, instead of averaging
    /// in each, makes the result independent of how the step is split.
    ///
    /// # Errors
    /// Those of the model and of libtorch.
    fn accumulate(&mut self, model: &Decoder, batch: &Batch, total_weight: f64) -> Result<Losses>;

    /// As [`Self::accumulate`], with the same gradients, but keeping of each block's
    /// activations only its input; see [`crate::recompute`].
    ///
    /// # Errors
    /// [`Error::ActivationCheckpointing`] from an objective that cannot; as
    /// [`Self::accumulate`].
    fn accumulate_recomputed(
        &mut self,
        _model: &Decoder,
        _batch: &Batch,
        _total_weight: f64,
    ) -> Result<Losses> {
        Err(Error::ActivationCheckpointing)
    }

    /// Bytes beside the trained model and its activations, such as a teacher's, for the
    /// estimate before the run: those that stay, and those of a micro-batch of this many
    /// positions.
    fn memory(&self, _positions: usize) -> ObjectiveMemory {
        ObjectiveMemory::default()
    }
}

/// What an objective adds to the memory that a run needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ObjectiveMemory {
    /// Bytes on the device before the run begins, a teacher's parameters.
    pub resident: u64,
    /// Bytes of a micro-batch.
    pub activations: u64,
}

/// Cross-entropy on the tokens of the completion.
#[derive(Debug, Clone, Copy)]
pub struct SupervisedObjective {
    /// Rows of the vocabulary projection at a time.
    pub chunk_rows: i64,
}

impl SupervisedObjective {
    /// Backward from the loss to wherever the graph of `hidden` begins.
    fn backward(
        self,
        model: &Decoder,
        hidden: &Tensor,
        batch: &Batch,
        total_weight: f64,
    ) -> Result<Losses> {
        let loss = head::backward(model, hidden, batch, self.chunk_rows, &mut |logits, rows| {
            let length = rows.end - rows.start;
            let targets = batch.targets.f_narrow(0, rows.start, length)?;
            let weights = batch.weights.f_narrow(0, rows.start, length)?;
            weighted_cross_entropy(logits, &targets, &weights, total_weight)
        })?;
        Ok(vec![("loss", loss)])
    }
}

impl Objective for SupervisedObjective {
    fn accumulate(&mut self, model: &Decoder, batch: &Batch, total_weight: f64) -> Result<Losses> {
        let hidden = forward(model, batch)?;
        self.backward(model, &hidden, batch, total_weight)
    }

    fn accumulate_recomputed(
        &mut self,
        model: &Decoder,
        batch: &Batch,
        total_weight: f64,
    ) -> Result<Losses> {
        let (hidden, cut) = recompute::forward(model, batch, None)?;
        let losses = self.backward(model, &hidden, batch, total_weight)?;
        cut.backward()?;
        Ok(losses)
    }
}

/// The model's hidden states for a batch, `[batch, seq, hidden_size]`.
///
/// # Errors
/// Those of the model.
pub fn forward(model: &Decoder, batch: &Batch) -> Result<Tensor> {
    forward_tapped(model, batch, None)
}

/// As [`forward`], and the hidden states and attention that `taps` asks for.
///
/// # Errors
/// Those of the model.
pub fn forward_tapped(model: &Decoder, batch: &Batch, taps: Option<&mut Taps>) -> Result<Tensor> {
    let input = Input { tokens: &batch.tokens, positions: None, attention: Attention::Causal };
    Ok(model.forward(&input, None, taps)?)
}

/// `sum(weights * -log softmax(logits)[targets]) / total_weight`, a scalar.
///
/// # Shapes
/// `logits` f32 `[rows, vocab]`, `targets` i64 `[rows]`, `weights` f32 `[rows]`.
///
/// # Errors
/// libtorch's, such as a target outside of the vocabulary.
pub fn weighted_cross_entropy(
    logits: &Tensor,
    targets: &Tensor,
    weights: &Tensor,
    total_weight: f64,
) -> Result<Tensor> {
    let per_row =
        logits.f_cross_entropy_loss::<Tensor>(targets, None, Reduction::None, -100, 0.0)?;
    Ok((per_row.f_mul(weights)?.f_sum(Kind::Float)?).f_div_scalar(total_weight)?)
}
