//! Hidden states, attention probabilities and projections of chosen layers.

use std::collections::BTreeMap;

use tch::Tensor;

use crate::error::{Error, Result};

/// Queries, keys and values of a block, after their norms and before rotation.
#[derive(Debug)]
pub struct Projections {
    /// `[batch, heads, seq, head_dim]`.
    pub query: Tensor,
    /// `[batch, key_value_heads, seq, head_dim]`.
    pub key: Tensor,
    /// `[batch, key_value_heads, seq, head_dim]`.
    pub value: Tensor,
}

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
    /// Blocks whose queries, keys and values are wanted.
    pub want_projections: Vec<usize>,
    /// `[batch, seq, hidden]` by index.
    pub hidden: BTreeMap<usize, Tensor>,
    /// `[batch, heads, queries, keys]` by block.
    pub attention: BTreeMap<usize, Tensor>,
    /// By block.
    pub projections: BTreeMap<usize, Projections>,
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

    /// The queries, keys and values that a forward pass has given of a block.
    ///
    /// # Errors
    /// [`Error::Shape`] for a block that was not wanted, or where no pass came yet.
    pub fn projections_of(&self, block: usize) -> Result<&Projections> {
        found(&self.projections, "projections of block", block)
    }

    pub(crate) fn start(&mut self, num_layers: usize) -> Result<()> {
        self.hidden.clear();
        self.attention.clear();
        self.projections.clear();
        if let Some(index) = self.want_hidden.iter().find(|index| **index > num_layers) {
            return Err(Error::shape(
                "taps",
                format!("hidden states 0..={num_layers}"),
                index.to_string(),
            ));
        }
        let mut blocks = self.want_attention.iter().chain(&self.want_projections);
        if let Some(index) = blocks.find(|index| **index >= num_layers) {
            return Err(Error::shape(
                "taps",
                format!("blocks below {num_layers}"),
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

fn found<'taps, T>(taps: &'taps BTreeMap<usize, T>, what: &str, index: usize) -> Result<&'taps T> {
    taps.get(&index).ok_or_else(|| {
        let held: Vec<String> = taps.keys().map(usize::to_string).collect();
        Error::shape("taps", format!("{what} {index}"), format!("[{}]", held.join(", ")))
    })
}
