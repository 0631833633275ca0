//! What a forward pass takes.

use tch::Tensor;

/// Tokens, their positions and who may attend to whom.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Token ids, i64 `[batch, seq]`.
    pub tokens: &'a Tensor,
    /// Positions for the rotary embedding, i64 `[batch, seq]`. `None` counts on from the
    /// cache's length (from 0 without a cache), the same for every row.
    pub positions: Option<&'a Tensor>,
    /// The attention pattern.
    pub attention: Attention<'a>,
}

impl<'a> Input<'a> {
    /// Causal attention over unpadded or right-padded rows.
    pub fn causal(tokens: &'a Tensor) -> Self {
        Self { tokens, positions: None, attention: Attention::Causal }
    }
}

/// Which keys a query sees. All are causal, and sliding layers narrow them further;
/// distances are counted in slots of the row, not in `positions`.
#[derive(Debug, Clone, Copy)]
pub enum Attention<'a> {
    /// Every earlier slot. Right padding needs nothing more: what stands after a token
    /// is invisible to it.
    Causal,
    /// Bool `[batch, kv_len]` over the cached and the new slots: false = padding, seen by
    /// itself only. For left-padded batches, with or without a cache.
    KeyMask(&'a Tensor),
    /// I64 `[batch, seq]`: sequences packed in one row see only slots of their own id.
    /// Positions need not restart, as rotary attention depends on distances alone.
    Segments(&'a Tensor),
}
