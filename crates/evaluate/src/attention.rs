//! Where a model looks while it reasons, by the steps of its chain.

use serde::{Deserialize, Serialize};

/// A run of tokens: the question, a step of the chain, the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// What a reader calls it: `question`, `step 1`, `answer`.
    pub label: String,
    /// Its text.
    pub text: String,
    /// Its first token.
    pub start: usize,
    /// The token after its last.
    pub end: usize,
}

/// Attention of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heat {
    /// The layer, from 0.
    pub layer: usize,
    /// The head, from 0; `None` for the mean of all.
    pub head: Option<usize>,
    /// `[spans, spans]`: the share of a span's attention, averaged over its tokens, that goes to
    /// each span; rows add up to 1.
    pub pooled: Vec<Vec<f32>>,
    /// `[tokens, tokens]` as the model computes it, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<Vec<Vec<f32>>>,
}

/// A model's attention over one problem with its reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionMap {
    /// The problem's id.
    pub id: String,
    /// The tokens as text.
    pub tokens: Vec<String>,
    /// The tokens by span, in order, without gaps.
    pub spans: Vec<Span>,
    /// By layer and head.
    pub heats: Vec<Heat>,
}
