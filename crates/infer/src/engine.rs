//! The engine: requests in, generations or log-probabilities out.

use limbeck_model::{CacheDtype, Decoder};
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, RowRouter};

/// Limits on what is computed and held at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Most replies decoded together. Default 128.
    pub max_batch: usize,
    /// Bytes of the pool of keys and values, rounded up to a whole block of 16 tokens. A reply
    /// that needs more, if it goes on to its last token, is refused; where replies together
    /// need more, some wait. Default 1 GiB.
    pub max_cache_bytes: u64,
    /// Most tokens of one forward pass of a session. More make prompts be read sooner, and the
    /// replies under way wait longer for it. Default 512.
    pub max_step_tokens: usize,
    /// Whether a prompt that begins like an earlier one starts from what is left of that one's
    /// keys and values. Default true.
    pub prefix_cache: bool,
    /// Whether a reply is the same bit by bit, whatever runs beside it. Several times slower;
    /// on the CPU only. Default false.
    pub deterministic: bool,
    /// How keys and values are held: `compute`, in the model's dtype, or `int8`. Default
    /// `compute`.
    pub cache_dtype: CacheDtype,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_batch: 128,
            max_cache_bytes: 1 << 30,
            max_step_tokens: 512,
            prefix_cache: true,
            deterministic: false,
            cache_dtype: CacheDtype::Compute,
        }
    }
}

impl Validate for EngineConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        let limits = [
            ("max_batch", self.max_batch as u64),
            ("max_cache_bytes", self.max_cache_bytes),
            ("max_step_tokens", self.max_step_tokens as u64),
        ];
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

/// Generation and scoring with one decoder.
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

    /// Tells `router` whose tokens the rows of a forward pass are, before it runs.
    #[must_use]
    pub fn with_router(mut self, router: &'m dyn RowRouter) -> Self {
        self.router = Some(router);
        self
    }

    /// Refuses requests that the model or the limits cannot take.
    pub(crate) fn check(&self, requests: &[Vec<i64>], max_new_tokens: usize) -> Result<()> {
        for (index, request) in requests.iter().enumerate() {
            check_request(self.decoder, index, request, max_new_tokens)?;
        }
        Ok(())
    }

    /// Tokens whose keys and values fit into the cache's limit.
    pub(crate) fn slots(&self) -> usize {
        let slot_bytes = slot_bytes(self.decoder, self.config.cache_dtype);
        (self.config.max_cache_bytes / slot_bytes).max(1) as usize
    }
}

/// Refuses what the model cannot take.
pub(crate) fn check_request(
    decoder: &Decoder,
    index: usize,
    prompt: &[i64],
    max_new_tokens: usize,
) -> Result<()> {
    let model = decoder.config();
    let (limit, vocab_size) = (model.max_position_embeddings, model.vocab_size);
    if prompt.is_empty() {
        return Err(Error::Empty { index });
    }
    if let Some(&token) = prompt.iter().find(|token| !(0..vocab_size).contains(*token)) {
        return Err(Error::TokenOutOfRange { index, token, vocab_size });
    }
    let prompt_tokens = prompt.len();
    let tokens = prompt_tokens.saturating_add(max_new_tokens);
    if tokens as u64 > limit as u64 {
        return Err(Error::TooLong { index, prompt_tokens, max_new_tokens, limit });
    }
    Ok(())
}

/// Bytes of one token's keys and values.
pub(crate) fn slot_bytes(decoder: &Decoder, cache_dtype: CacheDtype) -> u64 {
    let model = decoder.config();
    let heads = 2 * model.num_hidden_layers() as i64 * model.num_key_value_heads;
    let bytes = heads * cache_dtype.bytes(model.head_dim, decoder.compute_dtype());
    bytes.max(1) as u64
}

/// Groups sequences of similar length, the longest first: so memory peaks, and fails, at the
/// beginning.
///
/// A group's size times its longest sequence is at most `max_tokens` (a single sequence may
/// exceed it).
pub(crate) fn plan(lengths: &[usize], max_tokens: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(lengths[index]), index));
    let mut plan = Vec::new();
    let mut rest = order.as_slice();
    while let Some(&longest) = rest.first() {
        let fitting = max_tokens / lengths[longest].max(1);
        let (group, others) = rest.split_at(fitting.clamp(1, rest.len()));
        plan.push(group.to_vec());
        rest = others;
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_sorted_and_within_the_limit() {
        assert_eq!(plan(&[3, 9, 5, 7, 1], 100), [vec![1, 3, 2, 0, 4]]);
        assert_eq!(plan(&[3, 9, 5, 7, 1], 20), [vec![1, 3], vec![2, 0, 4]]);
        assert_eq!(plan(&[50, 2], 10), [vec![0], vec![1]]);
        assert!(plan(&[], 10).is_empty());
    }

    #[test]
    fn limits_of_zero_are_refused() {
        let config = EngineConfig { max_batch: 0, ..EngineConfig::default() };
        assert_eq!(config.validate().unwrap_err().field, "max_batch");
    }
}
