//! The engine: requests in, generations or log-probabilities out.

use limbeck_model::{CacheDtype, Decoder};
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, RowRouter};

/// Limits on what is computed and held at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Most requests decoded together. Default 128.
    pub max_batch: usize,
    /// Most bytes of keys and values that a batch may need, if all its requests go on to
    /// their last token; fewer are decoded together where the model needs more. Default
    /// 1 GiB.
    pub max_cache_bytes: u64,
    /// How keys and values are held: `compute`, in the model's dtype, or `int8`. Default
    /// `compute`.
    pub cache_dtype: CacheDtype,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { max_batch: 128, max_cache_bytes: 1 << 30, cache_dtype: CacheDtype::Compute }
    }
}

impl Validate for EngineConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        let limits =
            [("max_batch", self.max_batch as u64), ("max_cache_bytes", self.max_cache_bytes)];
        match limits.into_iter().find(|(_, value)| *value == 0) {
            Some((field, value)) => Err(Invalid::new(field, "at least 1", value)),
            None => Ok(()),
        }
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model produced a stop token.
    Stop,
    /// It was cut at `max_new_tokens`.
    Length,
}

/// What the model produced for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The new token ids, without the stop token.
    pub tokens: Vec<i64>,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

/// Batched generation and scoring with one decoder.
///
/// Runs without gradients. Results come in the order of the requests and do not depend on
/// how these are batched, save for floating-point rounding.
#[derive(Debug)]
pub struct Engine<'m> {
    pub(crate) decoder: &'m Decoder,
    pub(crate) config: EngineConfig,
    pub(crate) router: Option<&'m dyn RowRouter>,
}

impl<'m> Engine<'m> {
    /// An engine around a decoder.
    ///
    /// # Errors
    /// [`Error::Setting`] for a limit of 0.
    pub fn new(decoder: &'m Decoder, config: EngineConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self { decoder, config, router: None })
    }

    /// Tells `router` which requests are in a batch, before the model runs on it.
    #[must_use]
    pub fn with_router(mut self, router: &'m dyn RowRouter) -> Self {
        self.router = Some(router);
        self
    }

    /// Refuses requests that the model or the limits cannot take.
    pub(crate) fn check(&self, requests: &[Vec<i64>], max_new_tokens: usize) -> Result<()> {
        let model = self.decoder.config();
        let (limit, vocab_size) = (model.max_position_embeddings, model.vocab_size);
        for (index, request) in requests.iter().enumerate() {
            if request.is_empty() {
                return Err(Error::Empty { index });
            }
            if let Some(&token) = request.iter().find(|token| !(0..vocab_size).contains(*token)) {
                return Err(Error::TokenOutOfRange { index, token, vocab_size });
            }
            let prompt_tokens = request.len();
            let tokens = prompt_tokens.saturating_add(max_new_tokens);
            if tokens as u64 > limit as u64 {
                return Err(Error::TooLong { index, prompt_tokens, max_new_tokens, limit });
            }
        }
        Ok(())
    }

    /// Tokens whose keys and values fit into the cache's limit.
    ///
    /// # Errors
    /// [`Error::OverBudget`] if the longest request with `max_new_tokens` alone does not.
    pub(crate) fn cache_slots(&self, lengths: &[usize], max_new_tokens: usize) -> Result<usize> {
        let model = self.decoder.config();
        let heads = 2 * model.num_hidden_layers() as i64 * model.num_key_value_heads;
        let dtype = self.decoder.compute_dtype();
        let slot_bytes = heads * self.config.cache_dtype.bytes(model.head_dim, dtype);
        let slot_bytes = slot_bytes.max(1) as u64;
        let max_cache_bytes = self.config.max_cache_bytes;
        let slots = (max_cache_bytes / slot_bytes) as usize;
        match lengths.iter().position(|length| length + max_new_tokens > slots) {
            Some(index) => {
                let bytes = (lengths[index] + max_new_tokens) as u64 * slot_bytes;
                Err(Error::OverBudget { index, bytes, max_cache_bytes })
            }
            None => Ok(slots),
        }
    }
}

/// Groups requests of similar length, the longest first: so memory peaks, and fails, at
/// the beginning.
///
/// A group holds at most `max_batch` requests, and its size times its longest request plus
/// `extra` is at most `max_tokens` (a single request may exceed it). Groups are evened out,
/// as a nearly empty last one costs as many steps as a full one.
pub(crate) fn plan(
    lengths: &[usize],
    extra: usize,
    max_batch: usize,
    max_tokens: usize,
) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(lengths[index]), index));
    let groups = lengths.len().div_ceil(max_batch).max(1);
    let rows = lengths.len().div_ceil(groups);
    let mut plan = Vec::new();
    let mut rest = order.as_slice();
    while let Some(&longest) = rest.first() {
        let fitting = max_tokens / (lengths[longest] + extra).max(1);
        let (group, others) = rest.split_at(rows.min(fitting).max(1).min(rest.len()));
        plan.push(group.to_vec());
        rest = others;
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_sorted_even_and_within_both_limits() {
        assert_eq!(plan(&[3, 9, 5, 7, 1], 0, 4, 100), [vec![1, 3, 2], vec![0, 4]]);
        // 9 + 1 = 10 slots: two rows fit in 25; 5 + 1 = 6: four would.
        assert_eq!(plan(&[3, 9, 5, 7, 1], 1, 8, 25), [vec![1, 3], vec![2, 0, 4]]);
        assert_eq!(plan(&[50, 2], 0, 8, 10), [vec![0], vec![1]]);
        assert!(plan(&[], 5, 8, 10).is_empty());
    }

    #[test]
    fn limits_of_zero_are_refused() {
        let config = EngineConfig { max_batch: 0, ..EngineConfig::default() };
        assert_eq!(config.validate().unwrap_err().field, "max_batch");
    }
}
