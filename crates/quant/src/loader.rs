//! Reads quantised folders.

use std::path::{Path, PathBuf};

use limbeck_core::Checkpoint;
use limbeck_core::checkpoint::read_json;
use limbeck_model::{Decoder, Linear, LinearLoader, LoadOptions};
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::gptq_format::{GptqSettings, Origin, PackedTensors, QUANTIZE_CONFIG_FILE};
use crate::matrix::floats;
use crate::nf4::Nf4Loader;
use crate::packed_linear::PackedLinear;

/// How a decoder's matrices lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Residency {
    /// Dense, in the dtype of the parameters; packed layers are dequantised once.
    #[default]
    Dense,
    /// As they are stored; packed layers are dequantised for each use.
    Packed,
    /// All of them in NF4, rounded as they are read and dequantised for each use.
    Nf4,
}

/// Loads a model folder, plain or quantised, with dense matrices; see [`load_decoder_as`].
///
/// # Errors
/// As [`load_decoder_as`].
pub fn load_decoder(dir: &Path, options: &LoadOptions<'_>) -> Result<Decoder> {
    load_decoder_as(dir, options, Residency::Dense)
}

/// Loads a model folder, plain or quantised: `quantization_config` in its `config.json`,
/// or a `quantize_config.json` beside it, says how.
///
/// In a quantised folder, layers are read by [`GptqLoader`] in place of the options' own
/// loader; layers that are not packed, such as the head, are read as dense ones.
///
/// # Errors
/// A quantisation method or setting that is not supported, with those that are; a quantised
/// folder for [`Residency::Nf4`]; what [`Decoder::load`] refuses.
pub fn load_decoder_as(
    dir: &Path,
    options: &LoadOptions<'_>,
    residency: Residency,
) -> Result<Decoder> {
    match (quantization(dir)?, residency) {
        (None, Residency::Nf4) => {
            let options = LoadOptions { linear_loader: Some(&Nf4Loader), ..*options };
            Ok(Decoder::load(dir, &options)?)
        }
        (None, _) => Ok(Decoder::load(dir, options)?),
        (Some((path, _)), Residency::Nf4) => Err(Error::PackedTwice { path }),
        (Some((path, settings)), _) => {
            let settings = GptqSettings::from_json(&settings, &path)?;
            let loader = GptqLoader { settings, residency };
            let options = LoadOptions { linear_loader: Some(&loader), ..*options };
            Ok(Decoder::load(dir, &options)?)
        }
    }
}

/// What a folder says of its quantisation, and the file that says it; `None` of a plain one.
///
/// # Errors
/// A file that is no JSON.
pub fn quantization(dir: &Path) -> Result<Option<(PathBuf, Value)>> {
    let config_path = dir.join("config.json");
    let legacy_path = dir.join(QUANTIZE_CONFIG_FILE);
    let mut hf_config = read_json(&config_path)?;
    Ok(match hf_config["quantization_config"].take() {
        Value::Null if !legacy_path.exists() => None,
        Value::Null => Some((legacy_path.clone(), read_json(&legacy_path)?)),
        settings => Some((config_path, settings)),
    })
}

/// Reads projections packed in the GPTQ format.
#[derive(Debug, Clone, Copy)]
pub struct GptqLoader {
    /// What the folder's configuration says.
    pub settings: GptqSettings,
    /// Whether layers are kept dense or packed.
    pub residency: Residency,
}

impl GptqLoader {
    /// Reads the projection `name`; `None` if the checkpoint does not hold it packed.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape or dtype than the settings imply.
    pub fn read(
        &self,
        name: &str,
        checkpoint: &mut Checkpoint,
        in_features: i64,
        out_features: i64,
        bias: bool,
        options: &LoadOptions<'_>,
    ) -> Result<Option<PackedLinear>> {
        let key = |suffix: &str| format!("{name}.{suffix}");
        if !checkpoint.has(&key("qweight")) {
            return Ok(None);
        }
        let GptqSettings { bits, group_size, format, .. } = self.settings;
        let per_word = bits.codes_per_word() as i64;
        let group_size = group_size.map_or(in_features, |size| size as i64);
        let groups = (in_features + group_size - 1) / group_size.max(1);
        let g_idx = if checkpoint.has(&key("g_idx")) {
            integer(checkpoint, &key("g_idx"), &[in_features])?
        } else {
            let group_of: Vec<i32> =
                (0..in_features).map(|feature| (feature / group_size) as i32).collect();
            Tensor::f_from_slice(&group_of)?
        };
        let packed = PackedTensors {
            qweight: integer(checkpoint, &key("qweight"), &[in_features / per_word, out_features])?,
            qzeros: integer(checkpoint, &key("qzeros"), &[groups, out_features / per_word])?,
            scales: float(checkpoint, &key("scales"), &[groups, out_features])?,
            g_idx,
        };
        let path = checkpoint.path().to_owned();
        let origin = Origin { path: &path, layer: name };
        let bias = read_bias(checkpoint, &key("bias"), out_features, bias)?;
        let compute = (options.compute_dtype, options.device);
        let dense = match self.residency {
            Residency::Packed => {
                packed.check(bits, &origin)?;
                None
            }
            _ => Some(packed.dequantize(bits, format, &origin)?.to_tensor(compute.0, compute.1)?),
        };
        Ok(Some(PackedLinear::assemble(&packed, (bits, format), bias, dense, compute)?))
    }
}

impl LinearLoader for GptqLoader {
    fn load(
        &self,
        name: &str,
        checkpoint: &mut Checkpoint,
        in_features: i64,
        out_features: i64,
        bias: bool,
        options: &LoadOptions<'_>,
    ) -> limbeck_model::Result<Option<Box<dyn Linear>>> {
        let layer = self.read(name, checkpoint, in_features, out_features, bias, options).map_err(
            |error| match error {
                Error::Core(error) => limbeck_model::Error::Core(error),
                Error::Model(error) => error,
                error => limbeck_model::Error::layer(name, error),
            },
        )?;
        Ok(layer.map(|layer| Box::new(layer) as Box<dyn Linear>))
    }
}

/// The bias that the architecture asks for. Some quantisers store one of zeros where it
/// asks for none.
fn read_bias(
    checkpoint: &mut Checkpoint,
    key: &str,
    out_features: i64,
    expected: bool,
) -> Result<Option<Tensor>> {
    if !expected && !checkpoint.has(key) {
        return Ok(None);
    }
    let bias = float(checkpoint, key, &[out_features])?;
    let needed = expected || floats(&bias)?.iter().any(|&value| value != 0.0);
    Ok(needed.then_some(bias))
}

fn integer(checkpoint: &mut Checkpoint, key: &str, shape: &[i64]) -> Result<Tensor> {
    take(checkpoint, key, shape, "int32", |kind| kind == Kind::Int)
}

fn float(checkpoint: &mut Checkpoint, key: &str, shape: &[i64]) -> Result<Tensor> {
    take(checkpoint, key, shape, "a floating-point dtype", |kind| {
        matches!(kind, Kind::Half | Kind::BFloat16 | Kind::Float)
    })
}

fn take(
    checkpoint: &mut Checkpoint,
    key: &str,
    shape: &[i64],
    expected: &str,
    accepts: impl Fn(Kind) -> bool,
) -> Result<Tensor> {
    let tensor = checkpoint.expect_shape(key, shape)?;
    let kind = tensor.f_kind()?;
    if accepts(kind) {
        return Ok(tensor);
    }
    Err(Error::PackedTensor {
        path: checkpoint.path().to_owned(),
        tensor: key.to_owned(),
        expected: expected.to_owned(),
        found: format!("{kind:?}"),
    })
}
