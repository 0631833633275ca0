//! Folding an adapter into the weights, with a check that the result is the same model.
//!
//! Weights are only ever merged from the untouched base: taking an update off again by
//! subtraction wears them down, by some percent after twenty cycles in bfloat16.

use std::any::Any;

use limbeck_model::{Decoder, DenseEmbedding, DenseLinear, Embedding, Input, Linear};
use tch::{Device, Kind, Tensor, no_grad};

use crate::embedding::LoraEmbedding;
use crate::saved::SavedEmbedding;
use crate::target::{EMBEDDING, HEAD};
use crate::{Adapter, Error, LoraLinear, Result};

/// What a merged model is compared on, and how close it must be.
#[derive(Debug, Clone, Copy)]
pub struct MergeGate<'a> {
    /// Sequences of token ids, such as the model's own training or validation records.
    pub sequences: &'a [Vec<i64>],
    /// The largest difference of a logit that passes, as a share of the largest logit:
    /// rounding grows with the numbers.
    pub tolerance: f64,
}

impl MergeGate<'_> {
    /// What rounding alone explains when the weights are stored in `dtype` and computed
    /// with in float32.
    pub fn default_tolerance(dtype: Kind) -> f64 {
        match dtype {
            Kind::BFloat16 => 5e-2,
            Kind::Half => 1e-2,
            _ => 1e-4,
        }
    }
}

/// How the merged model compares with the adapted one.
#[derive(Debug, Clone, PartialEq)]
pub struct MergeReport {
    /// Modules merged.
    pub modules: usize,
    /// Tokens compared on.
    pub tokens: i64,
    /// Largest absolute difference of a logit.
    pub max_logit_difference: f64,
    /// The largest absolute logit of the adapted model.
    pub max_logit: f64,
    /// Mean divergence KL(adapted ‖ merged) of the next-token distributions, nats.
    pub mean_kl: f64,
    /// Share of the positions at which both models rank the same token first.
    pub top1_agreement: f64,
}

/// Replaces each adapted module by a dense one of `W + s·B·A` (its rows scaled, under DoRA),
/// computed in float32 and rounded once to `dtype`, and runs both models on the gate's
/// sequences.
///
/// A tied model whose head or embedding is adapted is no longer one: the two then differ, and
/// the head gets a matrix of its own. The comparison includes the rounding: give the dtype
/// that the model will be saved in.
///
/// # Errors
/// [`Error::MergeDiffers`] if the gate does not pass; [`Error::EmptyGate`] if it has
/// nothing to compare on; [`Error::NotAdapted`] for a decoder without this adapter. The
/// decoder is consumed, so that none is left half merged.
pub fn merge(
    mut decoder: Decoder,
    adapter: &Adapter,
    dtype: Kind,
    gate: &MergeGate<'_>,
) -> Result<(Decoder, MergeReport)> {
    no_grad(|| {
        if gate.sequences.iter().all(Vec::is_empty) {
            return Err(Error::EmptyGate);
        }
        adapter.require_on(&decoder)?;
        let adapted = logits(&decoder, gate.sequences)?;
        for name in adapter.module_names() {
            match name {
                EMBEDDING => merge_embedding(&mut decoder, dtype)?,
                HEAD => merge_head(&mut decoder, dtype)?,
                _ => decoder.map_linear(name, &mut |layer| {
                    merged_linear(layer.as_ref(), dtype)
                        .map_err(|error| limbeck_model::Error::layer(name, error))
                })?,
            }
        }
        let merged = logits(&decoder, gate.sequences)?;
        let report = compare(adapter.num_modules(), &adapted, &merged, gate.tolerance)?;
        Ok((decoder, report))
    })
}

/// A dense layer of what an adapted one computes with.
fn merged_linear(layer: &dyn Linear, dtype: Kind) -> Result<Box<dyn Linear>> {
    let weight = match (layer as &dyn Any).downcast_ref::<LoraLinear>() {
        Some(layer) => layer.merged_weight(dtype)?,
        None => layer.dense_weight()?.f_detach()?.f_to_kind(dtype)?,
    };
    let bias = layer.bias().map(|bias| bias.f_detach()?.f_to_kind(dtype)).transpose()?;
    Ok(Box::new(DenseLinear::new(weight, bias)?))
}

fn merge_head(decoder: &mut Decoder, dtype: Kind) -> Result<()> {
    let Some(head) = decoder.linear(HEAD) else {
        return Err(Error::NotAdapted { name: HEAD.to_owned() });
    };
    let merged = merged_linear(head, dtype)?;
    Ok(decoder.set_head(merged)?)
}

fn merge_embedding(decoder: &mut Decoder, dtype: Kind) -> Result<()> {
    let embedding = decoder.embedding() as &dyn Any;
    let merged = match embedding.downcast_ref::<LoraEmbedding>() {
        Some(layer) => layer.merged_weight(dtype)?,
        None => match embedding.downcast_ref::<SavedEmbedding>() {
            Some(layer) => layer.own_weight().f_detach()?.f_to_kind(dtype)?,
            None => return Err(Error::NotAdapted { name: EMBEDDING.to_owned() }),
        },
    };
    if decoder.head_name().is_none() && decoder.linear(HEAD).is_none() {
        let head = decoder.head_weight()?.f_detach()?.f_to_kind(dtype)?;
        decoder.set_head(Box::new(DenseLinear::new(head, None)?))?;
    }
    let merged = DenseEmbedding::new(merged)?;
    Ok(decoder.map_embedding(&mut |_| Ok(merged.share()))?)
}

/// Logits of each sequence, f32 `[tokens, vocab]`.
fn logits(decoder: &Decoder, sequences: &[Vec<i64>]) -> Result<Vec<Tensor>> {
    sequences
        .iter()
        .filter(|sequence| !sequence.is_empty())
        .map(|sequence| {
            let tokens =
                Tensor::f_from_slice(sequence)?.f_unsqueeze(0)?.f_to_device(decoder.device())?;
            let hidden = decoder.forward(&Input::causal(&tokens), None, None)?;
            Ok(decoder.logits(&hidden)?.f_squeeze_dim(0)?.f_to_kind(Kind::Float)?)
        })
        .collect()
}

fn compare(
    modules: usize,
    adapted: &[Tensor],
    merged: &[Tensor],
    tolerance: f64,
) -> Result<MergeReport> {
    let mut report = MergeReport {
        modules,
        tokens: 0,
        max_logit_difference: 0.0,
        max_logit: 0.0,
        mean_kl: 0.0,
        top1_agreement: 0.0,
    };
    let mut worst = (0, 0);
    for (sequence, (adapted, merged)) in adapted.iter().zip(merged).enumerate() {
        let (expected, found) = (adapted, merged); // [tokens, vocab]
        let by_position = expected.f_sub(found)?.f_abs()?.f_amax([-1], false)?;
        let largest = by_position.f_max()?.f_double_value(&[])?;
        // A logit that is not a number must not pass as a small difference.
        let largest = if largest.is_nan() { f64::INFINITY } else { largest };
        if largest > report.max_logit_difference {
            report.max_logit_difference = largest;
            worst = (sequence, by_position.f_argmax(None, false)?.f_int64_value(&[])?);
        }
        let highest = expected.f_abs()?.f_max()?.f_double_value(&[])?;
        report.max_logit = report.max_logit.max(highest);
        // The divergence is far below what single precision resolves.
        let log_p = expected.f_log_softmax(-1, Kind::Double)?;
        let log_q = found.f_log_softmax(-1, Kind::Double)?;
        let kl = log_p.f_exp()?.f_mul(&log_p.f_sub(&log_q)?)?.f_sum(Kind::Double)?;
        report.mean_kl += kl.f_double_value(&[])?;
        let same = expected.f_argmax(-1, false)?.f_eq_tensor(&found.f_argmax(-1, false)?)?;
        report.top1_agreement +=
            same.f_to_device(Device::Cpu)?.f_sum(Kind::Double)?.f_double_value(&[])?;
        report.tokens += expected.size()[0];
    }
    let tokens = report.tokens.max(1) as f64;
    report.mean_kl /= tokens;
    report.top1_agreement /= tokens;
    let allowed = tolerance * report.max_logit;
    if report.max_logit_difference > allowed {
        let (largest, (sequence, position)) = (report.max_logit_difference, worst);
        return Err(Error::MergeDiffers { largest, allowed, sequence, position });
    }
    Ok(report)
}
