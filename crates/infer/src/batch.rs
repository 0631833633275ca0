//! A batch of requests that are decoded in step: left-padded, so that all rows grow at the
//! same slot, with a contiguous cache.

use limbeck_model::{Attention, CacheDtype, Decoder, Input, KvCache};
use tch::{Kind, Tensor};

use crate::Result;

/// Slots reserved for new tokens; the cache doubles when they are used up. Zeroing and
/// copying slots that most chains never reach would cost more.
const RESERVED_TOKENS: usize = 128;

/// The state of the rows between two forward passes.
#[derive(Debug)]
pub(crate) struct Batch<'m> {
    decoder: &'m Decoder,
    cache: KvCache,
    /// `None` when no row is padded: attention then needs no mask.
    padding: Option<Padding>,
}

/// What tells padding from tokens.
#[derive(Debug)]
struct Padding {
    /// Padding slots at the left of each row.
    widths: Vec<i64>,
    /// Bool `[rows, slots]`, up to the longest that the rows may grow; true = a token.
    key_mask: Tensor,
    /// Position of the next token, i64 `[rows, 1]`.
    positions: Tensor,
}

impl<'m> Batch<'m> {
    /// Reads the prompts.
    ///
    /// Returns the batch and the logits after each prompt, `[rows, vocab]`.
    pub(crate) fn start(
        decoder: &'m Decoder,
        prompts: &[&[i64]],
        max_new_tokens: usize,
        cache_dtype: CacheDtype,
    ) -> Result<(Self, Tensor)> {
        let device = decoder.device();
        let rows = prompts.len() as i64;
        let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(0);
        let widths: Vec<i64> =
            prompts.iter().map(|prompt| (longest - prompt.len()) as i64).collect();
        let mut padded = Vec::with_capacity(prompts.len() * longest);
        for (prompt, width) in prompts.iter().zip(&widths) {
            padded.resize(padded.len() + *width as usize, 0);
            padded.extend_from_slice(prompt);
        }
        let tokens = Tensor::f_from_slice(&padded)?
            .f_view([rows, longest as i64])? // [rows, longest]
            .f_to_device(device)?;

        let slots = (longest + max_new_tokens) as i64;
        let capacity = longest + max_new_tokens.min(RESERVED_TOKENS);
        let cache = KvCache::with_dtype(decoder, rows, capacity as i64, cache_dtype)?;
        let mut positions = None;
        let padding = if widths.iter().all(|&width| width == 0) {
            None
        } else {
            let starts = Tensor::f_from_slice(&widths)?.f_view([rows, 1])?.f_to_device(device)?;
            let slot = Tensor::f_arange(slots, (Kind::Int64, device))?;
            let relative = slot.f_sub(&starts)?; // [rows, slots]
            positions = Some(relative.f_narrow(1, 0, longest as i64)?.f_clamp_min(0)?);
            Some(Padding {
                key_mask: relative.f_ge(0)?,
                positions: relative.f_narrow(1, longest as i64, 1)?,
                widths,
            })
        };
        let mut batch = Self { decoder, cache, padding };
        let logits = batch.forward(&tokens, positions.as_ref())?;
        Ok((batch, logits))
    }

    /// Reads one more token of each row, i64 `[rows]`.
    ///
    /// Returns the logits after it, `[rows, vocab]`.
    pub(crate) fn step(&mut self, tokens: &Tensor) -> Result<Tensor> {
        let tokens = tokens.f_unsqueeze(1)?; // [rows, 1]
        let positions = self.padding.as_ref().map(|padding| padding.positions.shallow_clone());
        let logits = self.forward(&tokens, positions.as_ref())?;
        if let Some(padding) = &mut self.padding {
            padding.positions = padding.positions.f_add_scalar(1)?;
        }
        Ok(logits)
    }

    /// Keeps the rows of these indices, in their order.
    pub(crate) fn keep(&mut self, rows: &[usize]) -> Result<()> {
        let kept: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let index = Tensor::f_from_slice(&kept)?.f_to_device(self.decoder.device())?;
        self.cache.select_rows(&index)?;
        if let Some(padding) = self.padding.take() {
            let widths: Vec<i64> = rows.iter().map(|&row| padding.widths[row]).collect();
            if widths.iter().any(|&width| width > 0) {
                self.padding = Some(Padding {
                    widths,
                    key_mask: padding.key_mask.f_index_select(0, &index)?,
                    positions: padding.positions.f_index_select(0, &index)?,
                });
            }
        }
        Ok(())
    }

    fn forward(&mut self, tokens: &Tensor, positions: Option<&Tensor>) -> Result<Tensor> {
        let (rows, seq) = tokens.size2()?;
        let shown = match &self.padding {
            Some(padding) => Some(padding.key_mask.f_narrow(1, 0, self.cache.len() + seq)?),
            None => None,
        };
        let attention = shown.as_ref().map_or(Attention::Causal, Attention::KeyMask);
        let input = Input { tokens, positions, attention };
        let hidden = self.decoder.forward(&input, Some(&mut self.cache), None)?;
        let last = hidden.f_narrow(1, seq - 1, 1)?.f_reshape([rows, -1])?; // [rows, hidden]
        Ok(self.decoder.logits(&last)?)
    }
}
