//! The scales of a block's inputs: candidates between none and full regard for activations,
//! compared by what they do to the output of attention or feed-forward layer.

use limbeck_model::{Decoder, DenseLinear, Input, Linear};
use rayon::prelude::*;
use tch::{Kind, Tensor};

use super::Inputs;
use super::fold::{BlockScales, fold};
use crate::calibration::{Sample, Stage};
use crate::error::{Error, Result};
use crate::grid::GridRule;
use crate::matrix::{WeightMatrix, floats};
use crate::quantize::linear;

/// Candidates beside that of no scales: `r = i / 20`.
const CANDIDATES: u32 = 20;
/// Least scale, and what keeps a division by it away.
const LEAST: f64 = 1e-4;

/// How a projection is rounded, by its name: the rule and the group size, `None` = all of it;
/// `None` for one that stays dense.
type Rounding<'a> = &'a dyn Fn(&str) -> Option<(GridRule, Option<usize>)>;

/// A projection whose rounding is tried out.
struct Trial {
    name: String,
    weight: WeightMatrix,
    bias: Option<Tensor>,
    rounding: Option<(GridRule, usize)>,
}

/// Finds the scales of a block, folds them in, and returns the inputs as they are then.
///
/// # Errors
/// [`Error::WeightRange`]; failures of the forward pass.
pub(crate) fn scale(
    decoder: &mut Decoder,
    block: usize,
    mut inputs: Inputs,
    rounding: Rounding<'_>,
) -> Result<Inputs> {
    let samples = std::mem::take(&mut inputs.samples);
    let streams = Streams::of(decoder, block, &samples)?;
    let mut scales = BlockScales::default();
    for stage in Stage::ALL {
        let trials = trials(decoder, block, stage, rounding)?;
        if trials.iter().all(|trial| trial.rounding.is_none()) {
            continue;
        }
        let magnitude = &inputs.stages[stage as usize].magnitude;
        let best = search(decoder, block, stage, &trials, magnitude, &streams)?;
        *slot(&mut scales, stage) = best;
    }
    let mut folded = fold(decoder, block, &scales)?;
    for stage in Stage::ALL {
        if let Some(scale) = slot(&mut folded, stage).take() {
            let inputs = &mut inputs.stages[stage as usize];
            inputs.hessian = inputs.hessian.unscaled_by(&scale)?;
        }
    }
    Ok(inputs)
}

fn slot(scales: &mut BlockScales, stage: Stage) -> &mut Option<Tensor> {
    match stage {
        Stage::Attention => &mut scales.attention,
        Stage::Output => &mut scales.output,
        Stage::Gate => &mut scales.gate,
        Stage::Down => &mut scales.down,
    }
}

/// What the samples are in the unquantised block.
struct Streams<'a> {
    samples: &'a [Sample],
    /// What queries, keys and values read, by sample, `[1, seq, hidden]`.
    normed: Vec<Tensor>,
    /// What the other stages read, of all samples side by side, `[1, tokens, in]`.
    rest: [Tensor; 3],
}

impl<'a> Streams<'a> {
    fn of(decoder: &Decoder, block: usize, samples: &'a [Sample]) -> Result<Self> {
        let parts = decoder.block_parts(block)?;
        let mut all = Vec::new();
        let mut rest = [const { Vec::new() }; 3];
        for sample in samples {
            let normed = parts.attention_input(&sample.hidden)?;
            let mixed = parts.attention_mixed(&normed, &Input::causal(&sample.tokens))?;
            let after = parts.add_attention(&sample.hidden, &mixed)?;
            let gate = parts.mlp_input(&after)?;
            let inner = parts.mlp_inner(&gate)?;
            all.push(normed);
            for (inputs, input) in rest.iter_mut().zip([mixed, gate, inner]) {
                inputs.push(input);
            }
        }
        let [mixed, gate, inner] = rest.map(|inputs| Tensor::f_cat(&inputs, 1));
        Ok(Self { samples, normed: all, rest: [mixed?, gate?, inner?] })
    }

    /// The output that a stage is judged by, side by side for all samples, `[1, tokens, out]`:
    /// that of attention for queries, keys and values, that of the feed-forward layer for gate
    /// and up, else that of the projection.
    fn outputs(&self, decoder: &Decoder, block: usize, stage: Stage) -> Result<Tensor> {
        let parts = decoder.block_parts(block)?;
        let project = |stage: Stage, input: &Tensor| -> Result<Tensor> {
            let name = stage.names(block).next().unwrap_or_default();
            Ok(linear(decoder, &name)?.forward(input)?)
        };
        let [mixed, gate, inner] = &self.rest;
        match stage {
            Stage::Attention => {
                let of = |(sample, normed): (&Sample, &Tensor)| {
                    parts.attention_mixed(normed, &Input::causal(&sample.tokens))
                };
                let mixed = self.samples.iter().zip(&self.normed).map(of);
                let mixed = mixed.collect::<limbeck_model::Result<Vec<_>>>()?;
                project(Stage::Output, &Tensor::f_cat(&mixed, 1)?)
            }
            Stage::Output => project(Stage::Output, mixed),
            Stage::Gate => project(Stage::Down, &parts.mlp_inner(gate)?),
            Stage::Down => project(Stage::Down, inner),
        }
    }
}

fn trials(
    decoder: &Decoder,
    block: usize,
    stage: Stage,
    rounding: Rounding<'_>,
) -> Result<Vec<Trial>> {
    let trial = |name: String| -> Result<Trial> {
        let layer = linear(decoder, &name)?;
        let weight = WeightMatrix::from_tensor(&layer.dense_weight()?)?;
        let in_features = weight.in_features();
        let rounding =
            rounding(&name).map(|(rule, group_size)| (rule, group_size.unwrap_or(in_features)));
        Ok(Trial { name, weight, bias: layer.bias(), rounding })
    };
    stage.names(block).map(trial).collect()
}

/// The best scales of a stage's input, `[in]`; `None` where none are better. The decoder comes
/// out as it went in.
fn search(
    decoder: &mut Decoder,
    block: usize,
    stage: Stage,
    trials: &[Trial],
    magnitude: &Tensor,
    streams: &Streams<'_>,
) -> Result<Option<Tensor>> {
    let expected = streams.outputs(decoder, block, stage)?;
    let prominence = prominence(trials, magnitude)?;
    let mut best = None;
    let mut least = f64::INFINITY;
    let mut originals: Vec<Option<Box<dyn Linear>>> = trials.iter().map(|_| None).collect();
    for candidate in 0..=CANDIDATES {
        let scales = match candidate {
            CANDIDATES => magnitude.f_ones_like()?,
            step => {
                let ratio = f64::from(step) / f64::from(CANDIDATES);
                let scales = candidate_scales(magnitude, &prominence, ratio)?;
                if stage == Stage::Output { shared(decoder, &scales)? } else { scales }
            }
        };
        let values = floats(&scales)?;
        for (trial, original) in trials.iter().zip(&mut originals) {
            let rounded = trial.rounded(&values, magnitude)?;
            let mut rounded: Option<Box<dyn Linear>> = Some(Box::new(rounded));
            decoder.map_linear(&trial.name, &mut |layer| {
                original.get_or_insert(layer);
                rounded
                    .take()
                    .ok_or_else(|| limbeck_model::Error::LinearMissing { name: trial.name.clone() })
            })?;
        }
        let difference = streams.outputs(decoder, block, stage)?.f_sub(&expected)?;
        let loss = difference.f_mul(&difference)?.f_sum(Kind::Double)?.f_double_value(&[])?;
        if loss < least {
            least = loss;
            best = (candidate != CANDIDATES).then_some(scales);
        }
    }
    for (trial, original) in trials.iter().zip(&mut originals) {
        decoder.map_linear(&trial.name, &mut |layer| Ok(original.take().unwrap_or(layer)))?;
    }
    Ok(best)
}

/// How large a feature's weights are among those of their groups, mean over all outputs of the
/// stage, f32 `[in]`.
fn prominence(trials: &[Trial], magnitude: &Tensor) -> Result<Tensor> {
    let width = magnitude.numel();
    let mut sums = vec![0.0_f64; width];
    let mut outputs = 0;
    for trial in trials {
        let group_size = trial.rounding.map_or(width, |(_, group_size)| group_size);
        outputs += trial.weight.out_features();
        for row in trial.weight.values().chunks(width) {
            for (weights, sums) in row.chunks(group_size).zip(sums.chunks_mut(group_size)) {
                let largest = weights.iter().fold(0.0_f32, |most, weight| most.max(weight.abs()));
                for (weight, sum) in weights.iter().zip(sums) {
                    *sum += f64::from(weight.abs() / (largest + 1e-6));
                }
            }
        }
    }
    let means: Vec<f32> = sums.iter().map(|sum| (sum / outputs.max(1) as f64) as f32).collect();
    Ok(Tensor::f_from_slice(&means)?.f_to_device(magnitude.device())?)
}

/// `x̄^r / w̄^(1 − r)`, its extremes equally far from 1.
fn candidate_scales(magnitude: &Tensor, prominence: &Tensor, ratio: f64) -> Result<Tensor> {
    let divisor = prominence.f_pow_tensor_scalar(1.0 - ratio)?.f_add_scalar(LEAST)?;
    let scales = magnitude.f_pow_tensor_scalar(ratio)?.f_div(&divisor)?.f_clamp_min(LEAST)?;
    let middle = scales.f_max()?.f_mul(&scales.f_min()?)?.f_sqrt()?;
    let scales = scales.f_div(&middle)?;
    let ones = scales.f_ones_like()?;
    Ok(scales.f_where_self(&scales.f_isfinite()?, &ones)?)
}

/// The geometric mean over the query heads of a value head, for each of them.
fn shared(decoder: &Decoder, scales: &Tensor) -> Result<Tensor> {
    let config = decoder.config();
    let heads = scales.f_view([config.num_key_value_heads, -1, config.head_dim])?;
    let mean = heads.f_log()?.f_mean_dim(1, true, Kind::Float)?.f_exp()?;
    Ok(mean.f_expand_as(&heads)?.f_reshape([-1])?)
}

impl Trial {
    /// The layer with the weight that scaling, rounding and scaling back makes of it.
    fn rounded(&self, scales: &[f32], like: &Tensor) -> Result<DenseLinear> {
        let width = self.weight.in_features();
        let mut values = self.weight.values().to_vec();
        let done = match self.rounding {
            None => Some(()),
            Some((rule, group_size)) => values
                .par_chunks_mut(width)
                .map(|row| round_scaled(row, scales, rule, group_size))
                .reduce(|| Some(()), Option::and),
        };
        done.ok_or_else(|| Error::WeightRange { layer: self.name.clone() })?;
        let weight = Tensor::f_from_slice(&values)?
            .f_view([-1, width as i64])?
            .f_to_device(like.device())?;
        let bias = self.bias.as_ref().map(|bias| bias.f_to_kind(Kind::Float)).transpose()?;
        Ok(DenseLinear::new(weight, bias)?)
    }
}

/// `round(w · s) / s` for one output, in place.
fn round_scaled(row: &mut [f32], scales: &[f32], rule: GridRule, group_size: usize) -> Option<()> {
    for (weights, scales) in row.chunks_mut(group_size).zip(scales.chunks(group_size)) {
        for (weight, scale) in weights.iter_mut().zip(scales) {
            *weight *= scale;
        }
        let grid = rule.fit(weights)?;
        for (weight, scale) in weights.iter_mut().zip(scales) {
            *weight = grid.round(*weight, rule.bits) / scale;
        }
    }
    Some(())
}
