//! Grouped-query self-attention (arXiv 2305.13245).

use tch::{Device, Kind, Tensor};

use crate::cache::KvCache;
use crate::error::Result;
use crate::linear::Linear;
use crate::mask::{Mask, Pattern};
use crate::norm::RmsNorm;
use crate::paged::PagedStep;
use crate::rope::Rotation;
use crate::taps::Projections;

#[derive(Debug)]
pub(crate) struct SelfAttention {
    pub(crate) q_proj: Box<dyn Linear>,
    pub(crate) k_proj: Box<dyn Linear>,
    pub(crate) v_proj: Box<dyn Linear>,
    pub(crate) o_proj: Box<dyn Linear>,
    pub(crate) q_norm: Option<RmsNorm>,
    pub(crate) k_norm: Option<RmsNorm>,
    pub(crate) num_heads: i64,
    pub(crate) num_key_value_heads: i64,
    pub(crate) head_dim: i64,
    pub(crate) scale: f64,
}

/// The parts of a forward pass that attention needs from outside.
pub(crate) struct AttentionContext<'a> {
    pub(crate) rotation: &'a Rotation,
    pub(crate) keys: KeyValues<'a>,
    /// Filled with the probabilities `[batch, heads, queries, keys]` when given.
    pub(crate) probabilities: Option<&'a mut Option<Tensor>>,
    /// Filled with queries, keys and values when given.
    pub(crate) projections: Option<&'a mut Option<Projections>>,
}

/// Where the keys and values are that the queries of a pass see.
pub(crate) enum KeyValues<'a> {
    /// In the pass itself.
    Pass { mask: &'a Mask },
    /// In the pass and before it, in a contiguous cache.
    Cached { mask: &'a Mask, layer: usize, cache: &'a mut KvCache },
    /// In blocks of a pool; each row of the batch is a token.
    Paged(PagedStep<'a>),
}

impl SelfAttention {
    /// What the heads read, side by side: the input of `o_proj`.
    ///
    /// `[batch, seq, hidden]` → `[batch, seq, heads · head_dim]`.
    pub(crate) fn mixed(&self, hidden: &Tensor, context: AttentionContext<'_>) -> Result<Tensor> {
        let (batch, seq, _) = hidden.size3()?;
        let heads = |projected: Tensor, count: i64| -> Result<Tensor> {
            // [batch, seq, heads, head_dim]
            Ok(projected.f_view([batch, seq, count, self.head_dim])?)
        };
        let mut query = heads(self.q_proj.forward(hidden)?, self.num_heads)?;
        let mut key = heads(self.k_proj.forward(hidden)?, self.num_key_value_heads)?;
        let value = heads(self.v_proj.forward(hidden)?, self.num_key_value_heads)?;
        if let Some(norm) = &self.q_norm {
            query = norm.forward(&query)?;
        }
        if let Some(norm) = &self.k_norm {
            key = norm.forward(&key)?;
        }
        if let Some(projections) = context.projections {
            *projections = Some(Projections {
                query: query.f_transpose(1, 2)?,
                key: key.f_transpose(1, 2)?,
                value: value.f_transpose(1, 2)?,
            });
        }
        let (query, key) = (context.rotation.apply(&query)?, context.rotation.apply(&key)?);
        let (mask, cached) = match context.keys {
            KeyValues::Paged(step) => return step.mixed(&query, &key, &value, self.scale),
            KeyValues::Pass { mask } => (mask, None),
            KeyValues::Cached { mask, layer, cache } => (mask, Some((layer, cache))),
        };
        // [batch, heads, seq, head_dim]
        let query = query.f_transpose(1, 2)?;
        let (key, value) = (key.f_transpose(1, 2)?, value.f_transpose(1, 2)?);
        let (key, value) = match cached {
            Some((layer, cache)) => cache.extend(layer, &key, &value, mask.key_start)?,
            None => (key, value),
        };
        let pattern = &mask.pattern;
        let mixed = match context.probabilities {
            Some(probabilities) => {
                let (mixed, weights) = self.explicit(&query, &key, &value, pattern)?;
                *probabilities = Some(weights);
                mixed
            }
            None => self.fused(&query, &key, &value, pattern)?,
        };
        Ok(mixed.f_transpose(1, 2)?.f_reshape([batch, seq, self.num_heads * self.head_dim])?)
    }

    fn fused(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        pattern: &Pattern,
    ) -> Result<Tensor> {
        let (mask, is_causal) = match pattern {
            Pattern::Full => (None, false),
            Pattern::Causal => (None, true),
            Pattern::Additive(mask) => (Some(mask), false),
        };
        let grouped = self.num_heads != self.num_key_value_heads;
        // CUDA's masked kernels take no groups and would fall back to the slow path.
        let repeat = grouped && mask.is_some() && query.device() != Device::Cpu;
        let (key, value) = if repeat {
            (self.repeat(key)?, self.repeat(value)?)
        } else {
            (key.shallow_clone(), value.shallow_clone())
        };
        Ok(Tensor::f_scaled_dot_product_attention(
            query,
            &key,
            &value,
            mask,
            0.0,
            is_causal,
            self.scale,
            grouped && !repeat,
        )?)
    }

    /// Softmax attention that also returns the probabilities.
    fn explicit(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        pattern: &Pattern,
    ) -> Result<(Tensor, Tensor)> {
        let (key, value) = (self.repeat(key)?, self.repeat(value)?);
        let (_, _, queries, _) = query.size4()?;
        let scores = query.f_matmul(&key.f_transpose(2, 3)?)?.f_mul_scalar(self.scale)?;
        let scores = match pattern {
            Pattern::Full => scores,
            Pattern::Causal => {
                let hidden =
                    Tensor::f_ones([queries, queries], (Kind::Bool, query.device()))?.f_triu(1)?;
                scores.f_masked_fill(&hidden, f64::NEG_INFINITY)?
            }
            Pattern::Additive(mask) => scores.f_add(mask)?,
        };
        // [batch, heads, queries, keys]
        let weights = scores.f_softmax(-1, Kind::Float)?.f_to_kind(query.kind())?;
        Ok((weights.f_matmul(&value)?, weights))
    }

    /// Repeats each key-value head for the query heads of its group.
    fn repeat(&self, heads: &Tensor) -> Result<Tensor> {
        let groups = self.num_heads / self.num_key_value_heads;
        if groups == 1 {
            return Ok(heads.shallow_clone());
        }
        let (batch, kv_heads, seq, head_dim) = heads.size4()?;
        Ok(heads
            .f_unsqueeze(2)?
            .f_expand([batch, kv_heads, groups, seq, head_dim], false)?
            .f_reshape([batch, kv_heads * groups, seq, head_dim])?)
    }
}
