//! The attention of a decoder, computed a few rows at a time.

use std::ops::Range;

use limbeck_model::{Decoder, Input, KvCache, Taps};
use tch::{Device, Kind, Tensor};

use super::Span;
use crate::Result;

/// Most attention weights of all layers and heads held at a time (64 MiB in fp32).
const HELD_WEIGHTS: usize = 1 << 24;

/// Attention of all layers and heads, pooled.
pub(super) struct Pooled {
    /// `[layers][heads][spans][spans]`: the share of a span's attention that goes to each, the
    /// mean over its tokens.
    pub(super) heads: Vec<Vec<Vec<Vec<f64>>>>,
    /// `[layers][heads][spans]`: the share of it that goes to the first token.
    pub(super) first: Vec<Vec<Vec<f64>>>,
}

/// Hears of a layer, the places of some rows and their weights `[heads, rows, tokens]`.
type Each<'a> = dyn FnMut(usize, Range<usize>, &Tensor) -> Result<()> + 'a;

/// Runs the tokens through the decoder, `rows` of them at a time, and hands on each layer's
/// weights `[heads, rows, tokens]`, fp32 on the CPU, with the rows' places.
fn pass(
    decoder: &Decoder,
    tokens: &[i64],
    layers: &[usize],
    rows: usize,
    each: &mut Each<'_>,
) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let mut cache = KvCache::new(decoder, 1, tokens.len().max(1) as i64)?;
    for (part, chunk) in tokens.chunks(rows).enumerate() {
        let start = part * rows;
        let input = Tensor::f_from_slice(chunk)?.f_unsqueeze(0)?.f_to_device(decoder.device())?;
        let mut taps = Taps::new(Vec::new(), layers.to_vec());
        let _ = decoder.forward(&Input::causal(&input), Some(&mut cache), Some(&mut taps))?;
        for &layer in layers {
            let weights = taps.attention_of(layer)?.f_squeeze_dim(0)?; // [heads, rows, keys]
            let weights = weights.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
            let (_, _, keys) = weights.size3()?;
            // A sliding layer reads its last keys only, and no row reads what comes after it.
            let after = (tokens.len() - start - chunk.len()) as i64;
            let before = (start + chunk.len()) as i64 - keys;
            let weights = weights.f_constant_pad_nd([before, after])?;
            each(layer, start..start + chunk.len(), &weights)?;
        }
    }
    Ok(())
}

/// Rows of a pass that keep within the limit.
fn rows(decoder: &Decoder, num_tokens: usize) -> usize {
    let config = decoder.config();
    let heads = config.num_hidden_layers() * config.num_attention_heads as usize;
    (HELD_WEIGHTS / (heads * num_tokens).max(1)).clamp(1, num_tokens.max(1))
}

/// Pools the attention of all layers by spans, which cover the tokens.
pub(super) fn pooled(decoder: &Decoder, tokens: &[i64], spans: &[Span]) -> Result<Pooled> {
    pooled_by(decoder, tokens, spans, rows(decoder, tokens.len()))
}

fn pooled_by(decoder: &Decoder, tokens: &[i64], spans: &[Span], rows: usize) -> Result<Pooled> {
    let layers: Vec<usize> = (0..decoder.config().num_hidden_layers()).collect();
    let heads = decoder.config().num_attention_heads as usize;
    let mut of: Vec<i64> = vec![0; tokens.len()];
    for (index, span) in spans.iter().enumerate() {
        of[span.start..span.end].fill(index as i64);
    }
    let of = Tensor::f_from_slice(&of)?;
    let count = spans.len();
    // [tokens, spans + 1]: which span a key is of, and whether it is the first token.
    let is_first = Tensor::f_zeros([tokens.len() as i64, 1], (Kind::Float, Device::Cpu))?;
    let _ = is_first.f_narrow(0, 0, 1)?.f_fill_(1.0)?;
    let keys = Tensor::f_cat(&[of.f_one_hot(count as i64)?.f_to_kind(Kind::Float)?, is_first], 1)?;
    let mut sums = vec![vec![vec![vec![0.0_f64; count + 1]; count]; heads]; layers.len()];
    pass(decoder, tokens, &layers, rows, &mut |layer, rows, weights| {
        let shares = weights.f_matmul(&keys)?; // [heads, rows, spans + 1]
        let shares = Vec::<f32>::try_from(&shares.f_contiguous()?.f_view([-1])?)?;
        for (index, row) in shares.chunks(count + 1).enumerate() {
            let (head, token) = (index / rows.len(), rows.start + index % rows.len());
            let span = spans.partition_point(|span| span.end <= token);
            for (sum, share) in sums[layer][head][span].iter_mut().zip(row) {
                *sum += f64::from(*share);
            }
        }
        Ok(())
    })?;
    let mut first = Vec::new();
    for layer in &mut sums {
        let mut of_layer = Vec::new();
        for head in layer.iter_mut() {
            let mut of_head = Vec::new();
            for (row, span) in head.iter_mut().zip(spans) {
                let length = (span.end - span.start) as f64;
                for share in row.iter_mut() {
                    *share /= length;
                }
                of_head.extend(row.pop());
            }
            of_layer.push(of_head);
        }
        first.push(of_layer);
    }
    Ok(Pooled { heads: sums, first })
}

/// The weights of one head, or the mean of a layer's heads, `[tokens, tokens]`, to three decimals.
pub(super) fn raw(
    decoder: &Decoder,
    tokens: &[i64],
    layer: usize,
    head: Option<usize>,
) -> Result<Vec<Vec<f32>>> {
    let mut rows = Vec::with_capacity(tokens.len());
    let at_a_time = self::rows(decoder, tokens.len());
    pass(decoder, tokens, &[layer], at_a_time, &mut |_, _, weights| {
        let weights = match head {
            Some(head) => weights.f_select(0, head as i64)?,
            None => weights.f_mean_dim([0_i64].as_slice(), false, Kind::Float)?,
        };
        let values = Vec::<f32>::try_from(&weights.f_contiguous()?.f_view([-1])?)?;
        let rounded = |value: &f32| (value * 1000.0).round() / 1000.0;
        rows.extend(values.chunks(tokens.len()).map(|row| row.iter().map(rounded).collect()));
        Ok(())
    })?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use limbeck_model::Attention;
    use serde_json::json;

    use super::*;

    fn decoder(window: Option<i64>) -> Decoder {
        let mut config = json!({
            "model_type": "qwen2", "vocab_size": 64, "hidden_size": 32,
            "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
            "max_position_embeddings": 128, "tie_word_embeddings": true,
            "initializer_range": 0.4,
        });
        if let Some(window) = window {
            config["model_type"] = "mistral".into();
            config["sliding_window"] = window.into();
        }
        Decoder::init(&config, 3, Device::Cpu, Kind::Float).unwrap()
    }

    fn spans(ends: &[usize]) -> Vec<Span> {
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts
            .zip(ends)
            .map(|(start, &end)| Span { label: String::new(), text: String::new(), start, end })
            .collect()
    }

    /// The weights of the whole sequence at once, by the decoder's taps.
    fn reference(decoder: &Decoder, tokens: &[i64], layer: usize) -> Tensor {
        let _no_grad = tch::no_grad_guard();
        let input = Tensor::from_slice(tokens).unsqueeze(0);
        let mut taps = Taps::new(Vec::new(), vec![layer]);
        let input = Input { tokens: &input, positions: None, attention: Attention::Causal };
        let _ = decoder.forward(&input, None, Some(&mut taps)).unwrap();
        taps.attention[&layer].squeeze_dim(0)
    }

    #[test]
    fn chunks_of_rows_pool_as_the_whole_does() {
        let tokens: Vec<i64> = (0..23).map(|index| index * 7 % 64).collect();
        let spans = spans(&[5, 6, 15, 23]);
        for window in [None, Some(4)] {
            let decoder = decoder(window);
            for rows in [1, 3, 8, 23, 40] {
                let found = pooled_by(&decoder, &tokens, &spans, rows).unwrap();
                for layer in 0..2 {
                    let weights = reference(&decoder, &tokens, layer);
                    for head in 0..4 {
                        for (row, from) in spans.iter().enumerate() {
                            let mut total = 0.0;
                            for (column, to) in spans.iter().enumerate() {
                                let block = weights
                                    .select(0, head as i64)
                                    .narrow(0, from.start as i64, (from.end - from.start) as i64)
                                    .narrow(1, to.start as i64, (to.end - to.start) as i64);
                                let expected =
                                    block.sum_dim_intlist([1_i64].as_slice(), false, None);
                                let expected = expected.mean(None).double_value(&[]);
                                let share = found.heads[layer][head][row][column];
                                assert!(
                                    (share - expected).abs() < 1e-5,
                                    "{rows} {share} {expected}"
                                );
                                total += share;
                            }
                            assert!((total - 1.0).abs() < 1e-5, "rows add up to 1: {total}");
                        }
                        let first = weights.select(0, head as i64).select(1, 0);
                        let first = first.narrow(0, 0, 5).mean(None).double_value(&[]);
                        assert!((found.first[layer][head][0] - first).abs() < 1e-5);
                    }
                }
            }
        }
    }

    /// Of the first layer, whose input is the embedding: softmax(QKᵀ / √d) written out.
    #[test]
    fn raw_weights_are_the_softmax_of_the_products() {
        let decoder = decoder(None);
        let _no_grad = tch::no_grad_guard();
        let tokens: Vec<i64> = vec![3, 9, 27, 17, 51, 25];
        let input = Tensor::from_slice(&tokens).unsqueeze(0);
        let mut taps = Taps { want_projections: vec![0], ..Taps::default() };
        let _ = decoder.forward(&Input::causal(&input), None, Some(&mut taps)).unwrap();
        let projections = taps.projections_of(0).unwrap();
        // [6, 8] and head 3's key head is 1; rotary pairs are halves of the head (Llama's layout).
        let rotate = |vectors: Tensor| {
            let half = vectors.narrow(1, 0, 4);
            let other = vectors.narrow(1, 4, 4);
            let places = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([6, 1]);
            let exponents = Tensor::arange(4, (Kind::Float, Device::Cpu)) * -0.25;
            let angles = places * (exponents * 10_000_f64.ln()).exp();
            let (sine, cosine) = (angles.sin(), angles.cos());
            Tensor::cat(&[&half * &cosine - &other * &sine, &other * &cosine + &half * &sine], 1)
        };
        let query = rotate(projections.query.select(0, 0).select(0, 3));
        let key = rotate(projections.key.select(0, 0).select(0, 1));
        let scores = query.matmul(&key.transpose(0, 1)) / 8_f64.sqrt();
        let hidden = Tensor::ones([6, 6], (Kind::Bool, Device::Cpu)).triu(1);
        let expected = scores.masked_fill(&hidden, f64::NEG_INFINITY).softmax(-1, Kind::Float);
        let found = raw(&decoder, &tokens, 0, Some(3)).unwrap();
        for (row, values) in found.iter().enumerate() {
            for (column, value) in values.iter().enumerate() {
                let expected = expected.double_value(&[row as i64, column as i64]);
                assert!((f64::from(*value) - expected).abs() < 6e-4, "{row} {column}: {value}");
            }
        }
        let mean = raw(&decoder, &tokens, 1, None).unwrap();
        assert!(mean.iter().all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 5e-3));
    }
}
