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

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::{Pattern, Span, build};
    use crate::input::Attention;

    const OPTIONS: (Kind, Device) = (Kind::Float, Device::Cpu);

    /// Compares with a rule on (row, query slot, key slot), over all slots so far.
    fn check(
        attention: &Attention<'_>,
        window: Option<i64>,
        span: Span,
        visible: impl Fn(i64, i64, i64) -> bool,
    ) {
        let Span { batch, start, seq } = span;
        let total = start + seq;
        let mask = build(attention, window, span, OPTIONS).unwrap();
        for row in 0..batch {
            for query in 0..seq {
                for key in 0..total {
                    let (slot, column) = (start + query, key - mask.key_start);
                    let found = match &mask.pattern {
                        _ if column < 0 => false,
                        Pattern::Full => true,
                        Pattern::Causal => column <= query,
                        Pattern::Additive(additive) => {
                            let row = row.min(additive.size()[0] - 1);
                            let value = additive.double_value(&[row, 0, query, column]);
                            assert!(value == 0.0 || value == f64::NEG_INFINITY);
                            value == 0.0
                        }
                    };
                    let expected = visible(row, slot, key);
                    assert_eq!(found, expected, "{window:?} {span:?}: row {row}, {slot} -> {key}");
                }
            }
        }
    }

    #[test]
    fn causal_and_windowed() {
        for (start, seq) in [(0, 1), (0, 7), (5, 1), (5, 4), (9, 3)] {
            let span = Span { batch: 2, start, seq };
            for window in [None, Some(1), Some(3), Some(6), Some(50)] {
                let within = window.unwrap_or(i64::MAX);
                check(&Attention::Causal, window, span, |_, query, key| {
                    key <= query && query - key < within
                });
            }
        }
    }

    #[test]
    fn common_cases_need_no_tensor() {
        let pattern = |window, start, seq| {
            let span = Span { batch: 1, start, seq };
            build(&Attention::Causal, window, span, OPTIONS).unwrap().pattern
        };
        assert!(matches!(pattern(None, 0, 8), Pattern::Causal));
        assert!(matches!(pattern(Some(8), 0, 8), Pattern::Causal));
        assert!(matches!(pattern(None, 8, 1), Pattern::Full));
        assert!(matches!(pattern(Some(3), 8, 1), Pattern::Full));
        assert!(matches!(pattern(Some(7), 0, 8), Pattern::Additive(_)));
    }

    #[test]
    fn padding_is_seen_by_itself_only() {
        for (start, seq) in [(0, 6), (4, 2), (5, 1)] {
            let first = [3, 0];
            let shown: Vec<bool> = first
                .iter()
                .flat_map(|first| (0..start + seq).map(move |slot| slot >= *first))
                .collect();
            let mask = Tensor::from_slice(&shown).view([2, start + seq]);
            for window in [None, Some(2)] {
                let within = window.unwrap_or(i64::MAX);
                let span = Span { batch: 2, start, seq };
                check(&Attention::KeyMask(&mask), window, span, |row, query, key| {
                    let real = key >= first[row as usize];
                    key == query || (real && key <= query && query - key < within)
                });
            }
        }
    }

    #[test]
    fn segments_do_not_see_each_other() {
        let ids = [0_i64, 0, 0, 1, 1, 2];
        let segments = Tensor::from_slice(&ids).unsqueeze(0);
        let span = Span { batch: 1, start: 0, seq: 6 };
        for window in [None, Some(2)] {
            let within = window.unwrap_or(i64::MAX);
            check(&Attention::Segments(&segments), window, span, |_, query, key| {
                ids[query as usize] == ids[key as usize] && key <= query && query - key < within
            });
        }
        let later = Span { batch: 1, start: 1, seq: 6 };
        assert!(build(&Attention::Segments(&segments), None, later, OPTIONS).is_err());
    }
}
