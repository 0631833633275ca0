//! The walk over a decoder: calibrate, quantise and replace, block by block.
//!
//! Sequential throughout: a projection is calibrated on inputs that have passed all
//! quantised projections before it, those of its own block included, so that later ones
//! compensate the errors of earlier ones ("true sequential").

use std::any::Any;
use std::collections::HashSet;

use limbeck_model::{Decoder, Linear};
use limbeck_run::config::Validate;
use serde::Serialize;
use tch::Kind;

use crate::calibration::Calibration;
use crate::config::{Method, QuantizeConfig};
use crate::error::{Error, Result};
use crate::formats::CheckpointSettings;
use crate::gptq;
use crate::grid::GridRule;
use crate::hessian::{Factor, Hessian};
use crate::layer_shapes::{self, LayerShape};
use crate::matrix::WeightMatrix;
use crate::packed_embedding::PackedEmbedding;
use crate::packed_linear::{PackedLinear, tensor_bytes};
use crate::packed_weight::PackedWeight;
use crate::rtn;

/// Projections that read the same input, in the order of computation.
const STAGES: [&[&str]; 4] = [
    &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    &["self_attn.o_proj"],
    &["mlp.gate_proj", "mlp.up_proj"],
    &["mlp.down_proj"],
];

/// What was lost and gained.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuantizeReport {
    /// Bits of a code.
    pub bits: u32,
    /// Tokens that the Hessians were summed over; 0 without calibration.
    pub calibration_tokens: usize,
    /// Bytes of all packed layers.
    pub packed_bytes: u64,
    /// Bytes of the same layers as they were before.
    pub original_bytes: u64,
    /// One entry a layer, in the order of work.
    pub layers: Vec<LayerReport>,
    /// What other programs may not take about this model.
    pub warnings: Vec<String>,
}

impl QuantizeReport {
    /// Mean relative output error of the layers, of those that were calibrated.
    pub fn mean_output_error(&self) -> Option<f64> {
        let errors: Vec<f64> = self.layers.iter().filter_map(|layer| layer.output_error).collect();
        (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64)
    }
}

/// One quantised layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerReport {
    /// The projection.
    pub name: String,
    /// Width of its input.
    pub in_features: i64,
    /// Width of its output.
    pub out_features: i64,
    /// ‖W − Ŵ‖ / ‖W‖.
    pub weight_error: f64,
    /// ‖(W − Ŵ) X‖ / ‖W X‖ on the calibration inputs; `None` without calibration.
    pub output_error: Option<f64>,
    /// Share of the mean diagonal added to the Hessian; above the configured one where it
    /// did not factor otherwise. `None` without calibration.
    pub damping: Option<f64>,
    /// Bytes as packed.
    pub packed_bytes: u64,
}

/// Called after each layer with the number of layers done, that of all layers and the
/// layer's report.
pub type ProgressFn<'a> = &'a mut dyn FnMut(usize, usize, &LayerReport);

/// Replaces every projection of the blocks by a [`PackedLinear`] and records the format
/// in the decoder's Hugging Face configuration. The head and the embedding stay.
///
/// `calibration` holds token sequences as the model will see them in use; RTN ignores it.
/// After a failure the decoder holds layers of both kinds and should be dropped.
///
/// # Errors
/// An impossible configuration; layers that do not divide into groups or words; weights
/// or activations that are not finite; a Hessian that no damping makes definite.
pub fn quantize(
    decoder: &mut Decoder,
    calibration: &[Vec<i64>],
    config: &QuantizeConfig,
    progress: ProgressFn<'_>,
) -> Result<QuantizeReport> {
    let layers = dense_layers(decoder)?;
    let names: HashSet<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    if let Some(layer) = decoder.linear_names().into_iter().find(|name| !names.contains(&**name)) {
        return Err(Error::AlreadyQuantized { layer });
    }
    quantize_layers(decoder, &layers, calibration, config, progress)
}

/// As [`quantize()`], of some layers.
pub(crate) fn quantize_layers(
    decoder: &mut Decoder,
    shapes: &[LayerShape],
    calibration: &[Vec<i64>],
    config: &QuantizeConfig,
    progress: ProgressFn<'_>,
) -> Result<QuantizeReport> {
    config.validate()?;
    let rule = config.grid_rule()?;
    let settings = CheckpointSettings::of_config(config)?;
    layer_shapes::check(shapes, rule.bits, config.group_size)?;
    let warnings = layer_shapes::vllm_rules(shapes, config.symmetric);
    for warning in &warnings {
        tracing::warn!("{warning}");
    }

    let _no_grad = tch::no_grad_guard();
    let mut walk = Walk {
        config,
        rule,
        progress,
        layers: shapes.iter().map(|layer| layer.name.as_str()).collect(),
        report: QuantizeReport {
            bits: rule.bits.width(),
            calibration_tokens: 0,
            packed_bytes: 0,
            original_bytes: 0,
            layers: Vec::new(),
            warnings,
        },
    };
    match config.method {
        Method::Rtn => {
            for shape in shapes {
                walk.replace(decoder, &shape.name, None)?;
            }
        }
        Method::Gptq => walk.calibrated(decoder, calibration)?,
    }
    if let Some(hf_config) = decoder.hf_config_mut().as_object_mut() {
        hf_config.insert("quantization_config".to_owned(), settings.to_json(config));
    }
    Ok(walk.report)
}

/// The projections that are not packed, with their sizes.
pub(crate) fn dense_layers(decoder: &Decoder) -> Result<Vec<LayerShape>> {
    let mut shapes = Vec::new();
    for name in decoder.linear_names() {
        let layer = linear(decoder, &name)?;
        if !(layer as &dyn Any).is::<PackedLinear>() {
            shapes.push(LayerShape {
                in_features: layer.in_features(),
                out_features: layer.out_features(),
                name,
            });
        }
    }
    Ok(shapes)
}

fn linear<'a>(decoder: &'a Decoder, name: &str) -> Result<&'a dyn Linear> {
    decoder
        .linear(name)
        .ok_or_else(|| limbeck_model::Error::LinearMissing { name: name.to_owned() }.into())
}

struct Walk<'a> {
    config: &'a QuantizeConfig,
    rule: GridRule,
    progress: ProgressFn<'a>,
    /// Names of the layers to quantise.
    layers: HashSet<&'a str>,
    report: QuantizeReport,
}

impl Walk<'_> {
    fn calibrated(&mut self, decoder: &mut Decoder, sequences: &[Vec<i64>]) -> Result<()> {
        let mut calibration = Calibration::new(decoder, sequences, self.config)?;
        self.report.calibration_tokens = calibration.num_tokens();
        for index in 0..decoder.num_layers() {
            for stage in STAGES {
                let names = stage.iter().map(|name| format!("model.layers.{index}.{name}"));
                let names: Vec<String> =
                    names.filter(|name| self.layers.contains(&**name)).collect();
                let Some(first) = names.first() else { continue };
                let hessian = calibration.hessian(decoder, index, first)?;
                let in_features = linear(decoder, first)?.in_features() as usize;
                let group_size = usize::try_from(self.config.group_size).unwrap_or(in_features);
                let factor = hessian
                    .factor(self.config.damping, self.config.order, group_size)?
                    .ok_or_else(|| Error::indefinite(first, &hessian))?;
                if factor.damping() > self.config.damping {
                    tracing::warn!(
                        "layer {first}: the Hessian was damped by {} instead of {}",
                        factor.damping(),
                        self.config.damping
                    );
                }
                for name in &names {
                    self.replace(decoder, name, Some((&hessian, &factor)))?;
                }
            }
            if index + 1 < decoder.num_layers() {
                calibration.advance(decoder, index)?;
            }
        }
        Ok(())
    }

    /// Quantises one projection, with GPTQ where there is a Hessian.
    fn replace(
        &mut self,
        decoder: &mut Decoder,
        name: &str,
        calibrated: Option<(&Hessian, &Factor)>,
    ) -> Result<()> {
        let device = decoder.device();
        let original = linear(decoder, name)?;
        let dense = original.dense_weight()?.f_to_kind(Kind::Float)?;
        let weight = WeightMatrix::from_tensor(&dense)?;
        let group_size =
            usize::try_from(self.config.group_size).unwrap_or_else(|_| weight.in_features());
        let quantized = match calibrated {
            Some((_, factor)) => gptq::quantize(&weight, factor, self.rule, group_size),
            None => rtn::quantize(&weight, self.rule, group_size),
        }
        .ok_or_else(|| Error::WeightRange { layer: name.to_owned() })?;

        let rounded = quantized.dequantize();
        let output_error = match calibrated {
            Some((hessian, _)) => {
                let rounded = rounded.to_tensor(Kind::Float, device)?;
                Some(hessian.output_error(&dense, &rounded)?)
            }
            None => None,
        };
        let bias = original.bias();
        let original_bytes: u64 =
            original.tensors().iter().map(|(_, tensor)| tensor_bytes(tensor)).sum();
        let packed =
            PackedLinear::pack(name, quantized, bias.as_ref(), self.config.format, device)?;
        let layer = LayerReport {
            name: name.to_owned(),
            in_features: packed.in_features(),
            out_features: packed.out_features(),
            weight_error: weight.relative_error(&rounded),
            output_error,
            damping: calibrated.map(|(_, factor)| factor.damping()),
            packed_bytes: packed.packed_bytes(),
        };
        let mut packed: Option<Box<dyn Linear>> = Some(Box::new(packed));
        decoder.map_linear(name, &mut |layer| Ok(packed.take().unwrap_or(layer)))?;

        self.report.packed_bytes += layer.packed_bytes;
        self.report.original_bytes += original_bytes;
        (self.progress)(self.report.layers.len() + 1, self.layers.len(), &layer);
        self.report.layers.push(layer);
        Ok(())
    }
}

/// The packed matrices of a decoder by the names of their layers: projections, head, embedding.
pub(crate) fn packed_layers(decoder: &Decoder) -> Vec<(String, PackedWeight)> {
    let head = decoder.head_name().map(str::to_owned);
    let linears = decoder.linear_names().into_iter().chain(head).filter_map(|name| {
        let layer: &dyn Any = decoder.linear(&name)?;
        Some((name, layer.downcast_ref::<PackedLinear>()?.packed().clone()))
    });
    let embedding: &dyn Any = decoder.embedding();
    let embedding = embedding.downcast_ref::<PackedEmbedding>();
    let embedding =
        embedding.map(|layer| (decoder.embedding_name().to_owned(), layer.packed().clone()));
    linears.chain(embedding).collect()
}
