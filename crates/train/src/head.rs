//! Backward through the vocabulary projection, a chunk of rows at a time, so that
//! `[tokens, vocab]` logits are never held.
//!
//! libtorch's bindings have no custom autograd function. The same gradients come from
//! cutting the graph at the head's input: each chunk is a leaf of its own, its loss runs
//! backward into the head and the leaf, and the leaves' gradients then continue into the
//! decoder as `(hidden * gradient).sum()`, whose derivative by `hidden` is `gradient`.

use std::ops::Range;

use limbeck_model::Decoder;
use tch::{Kind, Tensor};

use crate::{Batch, Result};

/// What the head leaves to do.
#[derive(Debug)]
pub struct HeadLoss {
    /// The sum of the chunks' losses.
    pub value: f64,
    /// A scalar without meaning of its own whose backward carries the gradients on into
    /// the decoder; other losses of the same forward pass may be added to it. Nothing
    /// where no row carries a loss.
    pub continuation: Option<Tensor>,
}

/// The most bytes of f32 logits held at a time, whatever the vocabulary.
const CHUNK_BYTES: i64 = 128 << 20;

/// Runs backward from the rows of a batch that carry a loss, through the head only, at most
/// `chunk_rows` at a time, and fewer where their logits would take more than 128 MiB.
///
/// `loss` maps a chunk's logits (f32 `[rows, vocab]`) and its range within the batch's
/// rows to a scalar, already divided by the step's total weight.
///
/// # Shapes
/// `hidden`: `[batch, seq, hidden_size]`, after the final norm, part of a graph.
///
/// # Errors
/// Those of `loss`, of the head and of libtorch.
pub fn backward_to_hidden(
    model: &Decoder,
    hidden: &Tensor,
    batch: &Batch,
    chunk_rows: i64,
    loss: &mut dyn FnMut(&Tensor, Range<i64>) -> Result<Tensor>,
) -> Result<HeadLoss> {
    let rows = select_rows(hidden, batch)?; // [rows, hidden_size]
    let detached = rows.f_detach()?;
    let num_rows = detached.size()[0];
    let chunk_rows = chunk_rows.min(CHUNK_BYTES / (4 * model.config().vocab_size.max(1))).max(1);
    let mut gradients = Vec::new();
    let mut value = 0.0;
    for start in (0..num_rows).step_by(chunk_rows.max(1) as usize) {
        let length = chunk_rows.min(num_rows - start);
        let leaf = detached.f_narrow(0, start, length)?.f_detach()?.f_set_requires_grad(true)?;
        let logits = model.logits(&leaf)?.f_to_kind(Kind::Float)?; // [length, vocab]
        let chunk_loss = loss(&logits, start..start + length)?;
        chunk_loss.f_backward()?;
        value += chunk_loss.f_double_value(&[])?;
        gradients.push(leaf.f_grad()?);
    }
    if gradients.is_empty() {
        return Ok(HeadLoss { value, continuation: None });
    }
    let gradient = Tensor::f_cat(&gradients, 0)?;
    Ok(HeadLoss { value, continuation: Some((&rows * &gradient).f_sum(Kind::Float)?) })
}

/// Runs backward from the rows of a batch that carry a loss, through head and decoder;
/// see [`backward_to_hidden`]. Returns the sum of the chunks' losses.
///
/// # Errors
/// Those of `loss`, of the head and of libtorch.
pub fn backward(
    model: &Decoder,
    hidden: &Tensor,
    batch: &Batch,
    chunk_rows: i64,
    loss: &mut dyn FnMut(&Tensor, Range<i64>) -> Result<Tensor>,
) -> Result<f64> {
    let head = backward_to_hidden(model, hidden, batch, chunk_rows, loss)?;
    if let Some(continuation) = head.continuation {
        continuation.f_backward()?;
    }
    Ok(head.value)
}

/// The rows of the flattened hidden states that carry a loss, `[rows, hidden_size]`.
///
/// # Errors
/// libtorch's, if the batch does not fit the hidden states.
pub fn select_rows(hidden: &Tensor, batch: &Batch) -> Result<Tensor> {
    let (_, _, hidden_size) = hidden.size3()?;
    Ok(hidden.f_reshape([-1, hidden_size])?.f_index_select(0, &batch.rows)?)
}
