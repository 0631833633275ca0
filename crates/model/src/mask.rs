//! Attention masks: causal, windowed, padded and packed.

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::input::Attention;

/// What a block passes to attention: the range of keys to read and the mask over it.
#[derive(Debug)]
pub(crate) struct Mask {
    /// First slot of the keys that any query of this pass can see.
    pub(crate) key_start: i64,
    pub(crate) pattern: Pattern,
}

#[derive(Debug)]
pub(crate) enum Pattern {
    /// Every query sees every key of the range.
    Full,
    /// Query `i` sees keys `0..=i`; there are as many keys as queries.
    Causal,
    /// Added to the scores: 0 or -inf, `[1 or batch, 1, queries, keys]`.
    Additive(Tensor),
}

/// Where the queries of a pass stand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) batch: i64,
    /// Slots before the first query (the cache's length).
    pub(crate) start: i64,
    /// Queries.
    pub(crate) seq: i64,
}

/// Builds the mask of the layers with `window`, in `kind` on the device of the pass.
pub(crate) fn build(
    attention: &Attention<'_>,
    window: Option<i64>,
    span: Span,
    options: (Kind, tch::Device),
) -> Result<Mask> {
    let Span { batch, start, seq } = span;
    let total = start + seq;
    // The first query reaches back window - 1 slots; older keys need not be read.
    let key_start = window.map_or(0, |window| (start + 1 - window).max(0));
    let keys = total - key_start;
    let window = window.filter(|window| *window < keys);

    let visible = match attention {
        Attention::Causal => {
            if window.is_none() && keys == seq {
                let pattern = if seq == 1 { Pattern::Full } else { Pattern::Causal };
                return Ok(Mask { key_start, pattern });
            }
            if seq == 1 {
                return Ok(Mask { key_start, pattern: Pattern::Full });
            }
            causal(span, key_start, window, options.1)?
        }
        Attention::KeyMask(key_mask) => {
            check_size("key mask", key_mask, [batch, total])?;
            let shown = key_mask.f_narrow(1, key_start, keys)?.f_view([batch, 1, keys])?;
            let shown = shown.f_to_kind(Kind::Bool)?;
            causal(span, key_start, window, options.1)?
                .f_logical_and(&shown)?
                // A padding query that saw nothing would turn its row into NaN.
                .f_logical_or(&itself(span, key_start, options.1)?)?
        }
        Attention::Segments(segments) => {
            check_size("segments", segments, [batch, seq])?;
            if start != 0 {
                return Err(Error::shape(
                    "segments",
                    "an empty cache",
                    format!("{start} cached slots"),
                ));
            }
            let same = segments.f_unsqueeze(2)?.f_eq_tensor(&segments.f_unsqueeze(1)?)?;
            causal(span, key_start, window, options.1)?.f_logical_and(&same)?
        }
    };
    let hidden = visible.f_logical_not()?;
    let size = hidden.size();
    let additive = Tensor::f_zeros(&size, options)?
        .f_masked_fill(&hidden, f64::NEG_INFINITY)?
        .f_unsqueeze(1)?; // [1 or batch, 1, queries, keys]
    Ok(Mask { key_start, pattern: Pattern::Additive(additive) })
}

/// Slot distances query − key, i64 `[1, queries, keys]`.
fn distances(span: Span, key_start: i64, device: tch::Device) -> Result<Tensor> {
    let total = span.start + span.seq;
    let queries = Tensor::f_arange_start(span.start, total, (Kind::Int64, device))?;
    let keys = Tensor::f_arange_start(key_start, total, (Kind::Int64, device))?;
    Ok(queries.f_view([1, -1, 1])?.f_sub(&keys)?)
}

fn causal(span: Span, key_start: i64, window: Option<i64>, device: tch::Device) -> Result<Tensor> {
    let distances = distances(span, key_start, device)?;
    let earlier = distances.f_ge(0)?;
    match window {
        None => Ok(earlier),
        Some(window) => Ok(earlier.f_logical_and(&distances.f_lt(window)?)?),
    }
}

fn itself(span: Span, key_start: i64, device: tch::Device) -> Result<Tensor> {
    Ok(distances(span, key_start, device)?.f_eq(0)?)
}

fn check_size(op: &'static str, tensor: &Tensor, expected: [i64; 2]) -> Result<()> {
    if tensor.size() == expected {
        Ok(())
    } else {
        Err(Error::shape(op, format!("{expected:?}"), format!("{:?}", tensor.size())))
    }
}
