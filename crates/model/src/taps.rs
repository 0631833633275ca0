//! Hidden states and attention probabilities of chosen layers.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::error::{Error, Result};

/// Says which activations a forward pass should hand out, and holds them afterwards.
///
/// Gradients flow through tapped tensors. Layers whose attention is tapped compute an
/// explicit softmax instead of the fused kernel.
#[derive(Debug, Default)]
pub struct Taps {
    /// Hidden states wanted: 0 = embeddings, `i + 1` = output of block `i` (before the
    /// final norm).
    pub want_hidden: Vec<usize>,
    /// Blocks whose attention probabilities are wanted.
    pub want_attention: Vec<usize>,
    /// `[batch, seq, hidden]` by index.
    pub hidden: BTreeMap<usize, Tensor>,
    /// `[batch, heads, queries, keys]` by block.
    pub attention: BTreeMap<usize, Tensor>,
}

impl Taps {
    /// Taps of the given indices.
    pub fn new(want_hidden: Vec<usize>, want_attention: Vec<usize>) -> Self {
        Self { want_hidden, want_attention, ..Self::default() }
    }

    /// Taps of every hidden state of a model of `num_layers` blocks.
    pub fn all_hidden(num_layers: usize) -> Self {
        Self::new((0..=num_layers).collect(), Vec::new())
    }

    /// A hidden state that a forward pass has given.
    ///
    /// # Errors
    /// [`Error::Shape`] for an index that was not wanted, or where no pass came yet.
    pub fn hidden_state(&self, index: usize) -> Result<&Tensor> {
        found(&self.hidden, "hidden state", index)
    }

    /// The attention probabilities that a forward pass has given of a block.
    ///
    /// # Errors
    /// [`Error::Shape`] for a block that was not wanted, or where no pass came yet.
    pub fn attention_of(&self, block: usize) -> Result<&Tensor> {
        found(&self.attention, "attention of block", block)
    }

    pub(crate) fn start(&mut self, num_layers: usize) -> Result<()> {
        self.hidden.clear();
        self.attention.clear();
        if let Some(index) = self.want_hidden.iter().find(|index| **index > num_layers) {
            return Err(Error::shape(
                "taps",
                format!("hidden states 0..={num_layers}"),
                index.to_string(),
            ));
        }
        if let Some(index) = self.want_attention.iter().find(|index| **index >= num_layers) {
            return Err(Error::shape(
                "taps",
                format!("attention of blocks below {num_layers}"),
                index.to_string(),
            ));
        }
        Ok(())
    }

    pub(crate) fn offer_hidden(&mut self, index: usize, hidden: &Tensor) {
        if self.want_hidden.contains(&index) {
            self.hidden.insert(index, hidden.shallow_clone());
        }
    }
}

fn found<'taps>(
    taps: &'taps BTreeMap<usize, Tensor>,
    what: &str,
    index: usize,
) -> Result<&'taps Tensor> {
    taps.get(&index).ok_or_else(|| {
        let held: Vec<String> = taps.keys().map(usize::to_string).collect();
        Error::shape("taps", format!("{what} {index}"), format!("[{}]", held.join(", ")))
    })
}
