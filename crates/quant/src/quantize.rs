//! Quantising a decoder: what is asked for is checked, and the walk begun.

use std::any::Any;
use std::collections::HashSet;
use std::path::Path;

use limbeck_model::{Decoder, Linear};
use limbeck_run::config::Validate;

use crate::calibration::admitted;
use crate::config::{Method, QuantizeConfig};
use crate::error::{Error, Result};
use crate::formats::{CheckpointSettings, rules};
use crate::layer_plan;
use crate::layer_shapes::LayerShape;
use crate::packed_embedding::PackedEmbedding;
use crate::packed_linear::PackedLinear;
use crate::packed_weight::PackedWeight;
use crate::predict;
use crate::report::{ProgressFn, QuantizeReport};
use crate::sensitivity;
use crate::walk::Walk;

/// Replaces every projection of the blocks by a [`PackedLinear`], and head and embedding where
/// the configuration has bits for them; records the format in the decoder's Hugging Face
/// configuration.
///
/// `calibration` holds token sequences as the model will see them in use; RTN ignores it.
/// After a failure the decoder holds layers of both kinds and should be dropped.
///
/// # Errors
/// An impossible configuration; layers that do not divide into groups or words; too few
/// calibration tokens; weights or activations that are not finite; a Hessian that no damping
/// makes definite.
pub fn quantize(
    decoder: &mut Decoder,
    calibration: &[Vec<i64>],
    config: &QuantizeConfig,
    progress: ProgressFn<'_>,
) -> Result<QuantizeReport> {
    quantize_whole(decoder, calibration, config, None, progress)
}

/// As [`quantize()`]; each finished block is kept in the existing folder `finished`. Blocks
/// that an interrupted run of the same model, calibration and configuration left there are
/// taken from it, to the same bits; those of another run are replaced. The folder is the
/// caller's to remove.
///
/// # Errors
/// As [`quantize()`]; blocks that are damaged or cannot be written.
pub fn quantize_resumably(
    decoder: &mut Decoder,
    calibration: &[Vec<i64>],
    config: &QuantizeConfig,
    finished: &Path,
    progress: ProgressFn<'_>,
) -> Result<QuantizeReport> {
    quantize_whole(decoder, calibration, config, Some(finished), progress)
}

fn quantize_whole(
    decoder: &mut Decoder,
    calibration: &[Vec<i64>],
    config: &QuantizeConfig,
    finished: Option<&Path>,
    progress: ProgressFn<'_>,
) -> Result<QuantizeReport> {
    let layers = dense_layers(decoder)?;
    let names: HashSet<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    if let Some(layer) = decoder.linear_names().into_iter().find(|name| !names.contains(&**name)) {
        return Err(Error::AlreadyQuantized { layer });
    }
    if (decoder.embedding() as &dyn Any).is::<PackedEmbedding>() {
        return Err(Error::AlreadyQuantized { layer: decoder.embedding_name().to_owned() });
    }
    config.validate()?;
    let mut settings = layer_plan::settings(decoder, config, &layers)?;
    check_shapes(decoder, &layers, config, &settings)?;
    let mut sensitivities = Vec::new();
    if config.bits_budget > 0.0 {
        let _no_grad = tch::no_grad_guard();
        sensitivities =
            sensitivity::share_out(decoder, calibration, config, &layers, &mut settings)?;
    }
    let work = Work { layers: &layers, config, settings, tables: true, finished };
    let mut report = quantize_layers(decoder, &work, calibration, progress)?;
    report.sensitivities = sensitivities;
    Ok(report)
}

/// What is to be quantised, and how.
pub(crate) struct Work<'a> {
    pub(crate) layers: &'a [LayerShape],
    pub(crate) config: &'a QuantizeConfig,
    pub(crate) settings: CheckpointSettings,
    /// Whether head and embedding are packed if they have bits.
    pub(crate) tables: bool,
    /// Where finished blocks are kept.
    pub(crate) finished: Option<&'a Path>,
}

/// Quantises some layers.
pub(crate) fn quantize_layers(
    decoder: &mut Decoder,
    work: &Work<'_>,
    calibration: &[Vec<i64>],
    progress: ProgressFn<'_>,
) -> Result<QuantizeReport> {
    let config = work.config;
    config.validate()?;
    let warnings = check_shapes(decoder, work.layers, config, &work.settings)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let sequences = match config.method {
        Method::Rtn => Vec::new(),
        Method::Gptq | Method::Awq => admitted(calibration, config)?,
    };
    let predicted_bytes = predict::peak_bytes(decoder, config, work.layers, &sequences);
    tracing::info!(
        "expecting a peak of {:.2} GB of memory, of which {:.2} GB can be had",
        predicted_bytes as f64 / 1e9,
        limbeck_run::available_memory_bytes().unwrap_or(0) as f64 / 1e9
    );

    let _no_grad = tch::no_grad_guard();
    let report = QuantizeReport {
        bits: work.settings.layer.bits.width(),
        average_bits: 0.0,
        calibration_tokens: 0,
        predicted_bytes,
        packed_bytes: 0,
        original_bytes: 0,
        resumed_blocks: 0,
        layers: Vec::new(),
        sensitivities: Vec::new(),
        warnings,
    };
    let mut walk = Walk::new(decoder, work, progress, report);
    match config.method {
        Method::Rtn => walk.rounded(decoder, work.layers)?,
        Method::Gptq | Method::Awq => walk.calibrated(decoder, &sequences, work.finished)?,
    }
    let report = walk.finish();
    if let Some(hf_config) = decoder.hf_config_mut().as_object_mut() {
        hf_config.insert("quantization_config".to_owned(), work.settings.to_json(config));
    }
    Ok(report)
}

/// Checks that every layer can be packed as the settings say.
fn check_shapes(
    decoder: &Decoder,
    layers: &[LayerShape],
    config: &QuantizeConfig,
    settings: &CheckpointSettings,
) -> Result<Vec<String>> {
    let mut layers = layers.to_vec();
    let model = decoder.config();
    let tables = [
        (decoder.embedding_name(), config.embedding_bits),
        (decoder.head_name().unwrap_or(decoder.embedding_name()), config.head_bits),
    ];
    for (name, bits) in tables {
        if bits != 0 && settings.of(name).is_some() {
            layers.push(LayerShape {
                name: name.to_owned(),
                in_features: model.hidden_size,
                out_features: model.vocab_size,
            });
        }
    }
    rules::check(settings, &layers)
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

/// The projection of this name.
pub(crate) fn linear<'a>(decoder: &'a Decoder, name: &str) -> Result<&'a dyn Linear> {
    decoder
        .linear(name)
        .ok_or_else(|| limbeck_model::Error::LinearMissing { name: name.to_owned() }.into())
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
