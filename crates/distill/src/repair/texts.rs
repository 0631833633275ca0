//! Texts that a repair learns from, and how far two models are apart on them.

use limbeck_model::{Decoder, Input};
use tch::{Kind, Tensor};

use crate::divergence::DivergenceSettings;
use crate::error::Result;

/// Bytes of one model's logits that are there at a time, if one row is not more. In tests, so
/// few that rows are taken piece by piece.
pub(super) const LOGITS_BYTES: i64 = if cfg!(test) { 7 * 40 * 4 } else { 64 << 20 };

/// A text that repair learns from.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// Its tokens.
    pub tokens: &'a [i64],
    /// The first of them whose prediction counts, from 1: questions are not what a model is to
    /// predict, and harder to than chains.
    pub reply: usize,
}

/// Tokens that count.
pub(super) fn counted(texts: &[Text<'_>]) -> usize {
    texts.iter().map(|text| text.tokens.len() - text.reply).sum()
}

/// Nats a counted token, of so many texts at a time.
pub(super) fn mean_divergence(
    original: &Decoder,
    model: &Decoder,
    texts: &[Text<'_>],
    batch: usize,
) -> Result<f64> {
    let mut sum = 0.0;
    for texts in texts.chunks(batch) {
        sum += divergence(original, model, texts, Purpose::Measure)?;
    }
    Ok(sum / counted(texts) as f64)
}

/// What a divergence is computed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Its value alone.
    Measure,
    /// Also leaves gradients of its mean in the model's weights.
    Teach,
}

/// The sum over the counted tokens of texts.
///
/// Logits are there for some rows at a time, [`LOGITS_BYTES`] of each model's: gradients reach
/// the hidden states piece by piece, and go on from there at once.
pub(super) fn divergence(
    original: &Decoder,
    model: &Decoder,
    texts: &[Text<'_>],
    purpose: Purpose,
) -> Result<f64> {
    let _no_grad = (purpose == Purpose::Measure).then(tch::no_grad_guard);
    let batch = PaddedTexts::new(texts);
    let theirs = tch::no_grad(|| batch.hidden(original))?;
    let ours = batch.hidden(model)?;
    let ends = ours.f_detach()?.f_set_requires_grad(purpose == Purpose::Teach)?;
    let count = counted(texts) as i64;
    let at_once = (LOGITS_BYTES / (4 * model.config().vocab_size)).clamp(1, count.max(1));
    let mut sum = 0.0;
    for start in (0..count).step_by(at_once as usize) {
        let rows = at_once.min(count - start);
        let logits = |decoder: &Decoder, hidden: &Tensor| -> Result<Tensor> {
            Ok(decoder.logits(&hidden.f_narrow(0, start, rows)?)?.f_to_kind(Kind::Float)?)
        };
        let theirs = tch::no_grad(|| logits(original, &theirs))?;
        let rows = DivergenceSettings::default().per_row(&logits(model, &ends)?, &theirs)?;
        let of_rows = rows.f_sum(Kind::Float)?;
        sum += of_rows.f_double_value(&[])?;
        if purpose == Purpose::Teach {
            of_rows.f_div_scalar(count as f64)?.f_backward()?;
        }
    }
    if purpose == Purpose::Teach {
        ours.f_mul(&ends.f_grad()?)?.f_sum(Kind::Float)?.f_backward()?;
    }
    Ok(sum)
}

/// Texts side by side.
struct PaddedTexts {
    /// `[texts, longest]`, row by row.
    tokens: Vec<i64>,
    longest: usize,
    /// Of the flattened positions, those that predict what counts.
    rows: Vec<i64>,
}

impl PaddedTexts {
    /// The last token of a text is only ever predicted; what pads the shorter ones stands
    /// behind all that counts, where nothing attends to it.
    fn new(texts: &[Text<'_>]) -> Self {
        let longest = texts.iter().map(|text| text.tokens.len() - 1).max().unwrap_or(0);
        let padded = |text: &Text<'_>| {
            let padding = std::iter::repeat_n(text.tokens[0], longest);
            let inputs = text.tokens.iter().copied().take(text.tokens.len() - 1);
            inputs.chain(padding).take(longest).collect::<Vec<i64>>()
        };
        let rows = |(place, text): (usize, &Text<'_>)| {
            let first = place * longest;
            (first + text.reply - 1..first + text.tokens.len() - 1).map(|row| row as i64)
        };
        Self {
            tokens: texts.iter().flat_map(padded).collect(),
            longest,
            rows: texts.iter().enumerate().flat_map(rows).collect(),
        }
    }

    /// The last hidden states that predict what counts, `[counted, hidden]`.
    fn hidden(&self, decoder: &Decoder) -> Result<Tensor> {
        let tokens = Tensor::f_from_slice(&self.tokens)?.f_view([-1, self.longest as i64])?;
        let tokens = tokens.f_to_device(decoder.device())?;
        let hidden = decoder.forward(&Input::causal(&tokens), None, None)?;
        let rows = Tensor::f_from_slice(&self.rows)?.f_to_device(decoder.device())?;
        Ok(hidden.f_flatten(0, 1)?.f_index_select(0, &rows)?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{decoder, sequences, tampered};
    use super::*;

    #[test]
    fn only_replies_count() {
        let (original, model) = (decoder(1), tampered());
        let tokens: Vec<i64> = sequences().remove(0);
        let text = |length: usize, reply| Text { tokens: &tokens[..length], reply };
        let of =
            |texts: &[Text<'_>]| divergence(&original, &model, texts, Purpose::Measure).unwrap();
        let [all, most, first] = [text(16, 1), text(16, 2), text(2, 1)].map(|text| of(&[text]));
        assert!((all - most - first).abs() < 1e-5 * all, "{all} {most} {first}");
        assert!(0.0 < first && first < all, "{first} {all}");
        // Texts of any lengths at once.
        let together = of(&[text(2, 1), text(16, 2), text(16, 1)]);
        assert!((together - 2.0 * all).abs() < 1e-5 * all, "{together} {all}");
    }
}
