//! Attention of the queries of a pass over the blocks of their sequences, with libtorch's
//! operations.

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use crate::error::Result;

use super::{BLOCK_SIZE, PagedRows, PagedSpan};

/// Most keys that single-token spans of one product may have more than the shortest of them,
/// as a share of its keys: what is more is padding.
const PADDING_SHARE: usize = 4;

/// Attends each span's queries over its sequence's keys and values up to their own position,
/// or over the last `window` of them.
///
/// # Shapes
/// Query `[tokens, heads, head_dim]` → the same.
///
/// # Errors
/// libtorch's. The spans have been checked.
pub(crate) fn attend(
    query: &Tensor,
    layer: &PagedRows,
    spans: &[PagedSpan<'_>],
    window: Option<i64>,
    scale: f64,
) -> Result<Tensor> {
    if let [span] = spans {
        return if span.query_len == 1 {
            attend_tokens(query, layer, &[span], window, scale)
        } else {
            attend_span(query, layer, span, window, scale)
        };
    }
    let mut output = query.f_empty_like()?;
    let mut singles: Vec<&PagedSpan<'_>> = Vec::new();
    for span in spans {
        if span.query_len == 1 {
            singles.push(span);
            continue;
        }
        let (start, length) = (span.query_start as i64, span.query_len as i64);
        let mixed = attend_span(&query.f_narrow(0, start, length)?, layer, span, window, scale)?;
        output.f_narrow(0, start, length)?.f_copy_(&mixed)?;
    }
    singles.sort_by_key(|span| key_range(span, window).len());
    let mut rest = singles.as_slice();
    while let Some(shortest) = rest.first() {
        let keys = key_range(shortest, window).len();
        let most = keys + keys / PADDING_SHARE + BLOCK_SIZE;
        let fitting = rest.partition_point(|span| key_range(span, window).len() <= most);
        let (group, others) = rest.split_at(fitting);
        rest = others;
        let rows: Vec<i64> = group.iter().map(|span| span.query_start as i64).collect();
        if rows.len() == spans.len() && rows.iter().enumerate().all(|(at, row)| at as i64 == *row) {
            return attend_tokens(query, layer, group, window, scale);
        }
        let rows = Tensor::f_from_slice(&rows)?.f_to_device(query.device())?;
        let mixed = attend_tokens(&query.f_index_select(0, &rows)?, layer, group, window, scale)?;
        let _ = output.f_index_copy_(0, &rows, &mixed)?;
    }
    Ok(output)
}

/// Positions of the keys that any query of a span sees.
fn key_range(span: &PagedSpan<'_>, window: Option<i64>) -> Range<usize> {
    let first_query = span.kv_len - span.query_len;
    // The first query reaches back window - 1 keys.
    let start = window.map_or(0, |window| (first_query + 1).saturating_sub(window as usize));
    start..span.kv_len
}

/// One query for each of several spans, in their order: `[spans, heads, head_dim]` → the same.
fn attend_tokens(
    query: &Tensor,
    layer: &PagedRows,
    spans: &[&PagedSpan<'_>],
    window: Option<i64>,
    scale: f64,
) -> Result<Tensor> {
    let (count, heads, head_dim) = query.size3()?;
    let ranges: Vec<Range<usize>> = spans.iter().map(|span| key_range(span, window)).collect();
    let longest = ranges.iter().map(Range::len).max().unwrap_or(0);
    let (keys, values) = if let ([span], [range]) = (spans, ranges.as_slice()) {
        sequence(layer, span, range, query.device())?
    } else {
        let mut slots = Vec::with_capacity(spans.len() * longest);
        for (span, range) in spans.iter().zip(&ranges) {
            let end = slots.len() + longest;
            push_slots(&mut slots, span, range);
            // Padding reads something that has been written: what is masked still takes part
            // in products, and unwritten memory may hold NaN.
            slots.resize(end, span.slot(range.start));
        }
        let slots = Tensor::f_from_slice(&slots)?.f_to_device(query.device())?;
        (layer.keys.gather(&slots)?, layer.values.gather(&slots)?)
    };
    let (_, kv_heads, _) = keys.size3()?;
    // [spans, kv_heads, keys, head_dim]
    let split = |slots: &Tensor| -> Result<Tensor> {
        Ok(slots.f_view([count, longest as i64, kv_heads, head_dim])?.f_transpose(1, 2)?)
    };
    let shortest = ranges.iter().map(Range::len).min().unwrap_or(0);
    let mask = if shortest == longest {
        None
    } else {
        let lengths: Vec<i64> = ranges.iter().map(|range| range.len() as i64).collect();
        let lengths = Tensor::f_from_slice(&lengths)?.f_view([count, 1])?;
        let places = Tensor::f_arange(longest as i64, (Kind::Int64, Device::Cpu))?;
        let hidden = places.f_ge_tensor(&lengths)?.f_to_device(query.device())?;
        Some(additive(&hidden, query)?.f_view([count, 1, 1, longest as i64])?)
    };
    // The query heads of a group stand where queries do: all of them see the same keys.
    let query = query.f_reshape([count, kv_heads, heads / kv_heads, head_dim])?;
    let mixed = Tensor::f_scaled_dot_product_attention(
        &query,
        &split(&keys)?,
        &split(&values)?,
        mask.as_ref(),
        0.0,
        false,
        scale,
        false,
    )?;
    Ok(mixed.f_reshape([count, heads, head_dim])?)
}

/// The queries of one span, `[queries, heads, head_dim]` → the same.
fn attend_span(
    query: &Tensor,
    layer: &PagedRows,
    span: &PagedSpan<'_>,
    window: Option<i64>,
    scale: f64,
) -> Result<Tensor> {
    let (queries, heads, head_dim) = query.size3()?;
    let range = key_range(span, window);
    let count = range.len() as i64;
    let (keys, values) = sequence(layer, span, &range, query.device())?;
    let (_, kv_heads, _) = keys.size3()?;
    let groups = heads / kv_heads;
    // Key-value heads are the batch, and the query heads of a group its heads: every kernel
    // takes keys that are expanded, but not all take groups.
    let split = |slots: &Tensor| -> Result<Tensor> {
        let slots = slots.f_permute([1, 0, 2])?.f_unsqueeze(1)?;
        Ok(slots.f_expand([kv_heads, groups, count, head_dim], false)?)
    };
    let windowed = window.is_some_and(|window| window < count);
    let whole = queries == count && !windowed;
    let mask = if whole {
        None
    } else {
        let options = (Kind::Int64, query.device());
        let first = (span.kv_len - span.query_len - range.start) as i64;
        let places = Tensor::f_arange_start(first, first + queries, options)?.f_view([-1, 1])?;
        let distances = places.f_sub(&Tensor::f_arange(count, options)?)?; // [queries, keys]
        let mut hidden = distances.f_lt(0)?;
        if let Some(window) = window.filter(|_| windowed) {
            hidden = hidden.f_logical_or(&distances.f_ge(window)?)?;
        }
        Some(additive(&hidden, query)?)
    };
    // [kv_heads, groups, queries, head_dim]
    let query = query.f_view([queries, kv_heads, groups, head_dim])?.f_permute([1, 2, 0, 3])?;
    let mixed = Tensor::f_scaled_dot_product_attention(
        &query,
        &split(&keys)?,
        &split(&values)?,
        mask.as_ref(),
        0.0,
        whole,
        scale,
        false,
    )?;
    Ok(mixed.f_permute([2, 0, 1, 3])?.f_reshape([queries, heads, head_dim])?)
}

/// Keys and values at a range of a sequence's positions, `[range, kv_heads, head_dim]`; blocks
/// that follow each other are read where they are.
fn sequence(
    layer: &PagedRows,
    span: &PagedSpan<'_>,
    range: &Range<usize>,
    device: Device,
) -> Result<(Tensor, Tensor)> {
    let blocks = &span.blocks[range.start / BLOCK_SIZE..range.end.div_ceil(BLOCK_SIZE)];
    if blocks.windows(2).all(|pair| pair[1] == pair[0] + 1) {
        let (start, length) = (span.slot(range.start), range.len() as i64);
        return Ok((layer.keys.narrow(start, length)?, layer.values.narrow(start, length)?));
    }
    let mut slots = Vec::with_capacity(range.len());
    push_slots(&mut slots, span, range);
    let slots = Tensor::f_from_slice(&slots)?.f_to_device(device)?;
    Ok((layer.keys.gather(&slots)?, layer.values.gather(&slots)?))
}

/// Appends the slots of a range of positions.
fn push_slots(slots: &mut Vec<i64>, span: &PagedSpan<'_>, range: &Range<usize>) {
    let mut position = range.start;
    while position < range.end {
        let end = range.end.min((position / BLOCK_SIZE + 1) * BLOCK_SIZE);
        let first = span.slot(position);
        slots.extend(first..first + (end - position) as i64);
        position = end;
    }
}

/// 0, or -inf where `hidden`, in the query's dtype.
fn additive(hidden: &Tensor, query: &Tensor) -> Result<Tensor> {
    let options = (query.kind(), query.device());
    Ok(Tensor::f_zeros(hidden.size(), options)?.f_masked_fill(hidden, f64::NEG_INFINITY)?)
}
