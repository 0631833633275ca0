//! Mixed precision: which projections get 8 bits when bits may average more than the
//! configured ones.
//!
//! The measure of a projection is its relative output error `‖(W − Ŵ) X‖² / ‖W X‖²` on
//! calibration inputs of the unquantised model, with `Ŵ` rounded to nearest: the share of its
//! output that rounding turns to noise, whatever the output's size, which norms and softmax
//! take out again. Projections that read the same input get the same width, since inference
//! programs fuse them; what they gain together, per bit that it costs, says who is first.

use limbeck_model::Decoder;
use tch::Kind;

use crate::bits::Bits;
use crate::calibration::{Calibration, Stage, admitted};
use crate::config::{Method, QuantizeConfig};
use crate::error::{Error, Result};
use crate::formats::{CheckpointSettings, LayerSettings, Override};
use crate::hessian::{Hessian, ratio};
use crate::layer_plan::exactly;
use crate::layer_shapes::LayerShape;
use crate::matrix::WeightMatrix;
use crate::quantize::linear;
use crate::report::Sensitivity;
use crate::rtn;

/// Calibration tokens that errors are measured on, at most.
const TOKENS: usize = 4096;

/// Projections that get the same width.
struct Fused {
    names: Vec<String>,
    weights: f64,
    gain: f64,
}

/// Measures all projections that nothing else is said of, and appends to the settings those
/// that get 8 bits within the budget.
///
/// # Errors
/// As [`crate::quantize()`].
pub(crate) fn share_out(
    decoder: &Decoder,
    calibration: &[Vec<i64>],
    config: &QuantizeConfig,
    layers: &[LayerShape],
    settings: &mut CheckpointSettings,
) -> Result<Vec<Sensitivity>> {
    let few = QuantizeConfig {
        method: Method::Rtn,
        calibration_tokens_max: config.calibration_tokens_max.min(TOKENS),
        ..config.clone()
    };
    let sequences = admitted(calibration, &few)?;
    let mut calibration = Calibration::new(decoder, &sequences, config.batch_size)?;
    let mut sensitivities = Vec::new();
    let mut candidates = Vec::new();
    for block in 0..decoder.num_layers() {
        let mut hessians = Vec::new();
        for stage in Stage::ALL {
            let width = stage.names(block).next().map(|name| linear(decoder, &name)).transpose()?;
            let width = width.map_or(0, limbeck_model::Linear::in_features);
            let mut hessian = Hessian::new(width, decoder.device())?;
            calibration.enter(decoder, block, stage, &mut |rows| hessian.add(rows))?;
            hessians.push(hessian);
        }
        calibration.leave(decoder, block)?;
        for (stage, hessian) in Stage::ALL.into_iter().zip(&hessians) {
            let mut fused = Fused { names: Vec::new(), weights: 0.0, gain: 0.0 };
            for name in stage.names(block) {
                let open = settings.of(&name) == Some(settings.layer);
                let Some(shape) = layers.iter().find(|shape| shape.name == name && open) else {
                    continue;
                };
                let sensitivity = measure(decoder, shape, hessian, config, settings.layer)?;
                fused.gain += sensitivity.error - sensitivity.error8;
                fused.weights += (shape.in_features * shape.out_features) as f64;
                fused.names.push(name);
                sensitivities.push(sensitivity);
            }
            if !fused.names.is_empty() {
                candidates.push(fused);
            }
        }
    }
    let budget = spare_bits(layers, config, settings);
    let wide = LayerSettings { bits: Bits::Eight, ..settings.layer };
    let extra = f64::from(Bits::Eight.width() - settings.layer.bits.width());
    for name in chosen(candidates, budget, extra) {
        if let Some(sensitivity) = sensitivities.iter_mut().find(|other| other.name == name) {
            sensitivity.bits = Bits::Eight.width();
        }
        settings.overrides.push(Override { layers: exactly(&name)?, settings: Some(wide) });
    }
    Ok(sensitivities)
}

/// Bits that may be given out: those of the budget less those of the layers as they stand.
fn spare_bits(
    layers: &[LayerShape],
    config: &QuantizeConfig,
    settings: &CheckpointSettings,
) -> f64 {
    let packed = |shape: &LayerShape| {
        let bits = f64::from(settings.of(&shape.name)?.bits.width());
        Some((config.bits_budget - bits) * (shape.in_features * shape.out_features) as f64)
    };
    layers.iter().filter_map(packed).sum()
}

/// Those of most gain per weight, as long as bits last.
fn chosen(mut candidates: Vec<Fused>, mut budget: f64, extra: f64) -> Vec<String> {
    candidates.sort_by(|a, b| (b.gain / b.weights).total_cmp(&(a.gain / a.weights)));
    let mut names = Vec::new();
    for candidate in candidates {
        let cost = candidate.weights * extra;
        if cost > 0.0 && cost <= budget {
            budget -= cost;
            names.extend(candidate.names);
        }
    }
    names
}

fn measure(
    decoder: &Decoder,
    shape: &LayerShape,
    hessian: &Hessian,
    config: &QuantizeConfig,
    layer: LayerSettings,
) -> Result<Sensitivity> {
    let dense = linear(decoder, &shape.name)?.dense_weight()?.f_to_kind(Kind::Float)?;
    let weight = WeightMatrix::from_tensor(&dense)?;
    let group_size = layer.group_size.unwrap_or(weight.in_features());
    let norm = hessian.energy(&dense)?;
    let error = |bits| -> Result<f64> {
        let rounded = rtn::quantize(&weight, config.grid_rule(bits), group_size)
            .ok_or_else(|| Error::WeightRange { layer: shape.name.clone() })?;
        let rounded = rounded.dequantize().to_tensor(Kind::Float, dense.device())?;
        Ok(ratio(hessian.energy(&dense.f_sub(&rounded)?)?, norm))
    };
    Ok(Sensitivity {
        name: shape.name.clone(),
        error: error(layer.bits)?,
        error8: error(Bits::Eight)?,
        bits: layer.bits.width(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_goes_to_those_of_most_gain_per_weight() {
        let fused = |name: &str, weights, gain| Fused { names: vec![name.into()], weights, gain };
        let candidates = || {
            vec![
                fused("a", 10.0, 1.0),
                fused("b", 2.0, 0.5),
                fused("c", 4.0, 0.1),
                fused("d", 1.0, 0.02),
            ]
        };
        // 4 bits more for each weight.
        assert_eq!(chosen(candidates(), 0.0, 4.0), [""; 0]);
        assert_eq!(chosen(candidates(), 12.0, 4.0), ["b", "d"]);
        assert_eq!(chosen(candidates(), 24.0, 4.0), ["b", "c"]);
        assert_eq!(chosen(candidates(), 50.0, 4.0), ["b", "a"]);
        assert_eq!(chosen(candidates(), 50.0, 0.0), [""; 0]);
    }
}
