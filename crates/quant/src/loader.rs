//! Reads quantised folders.

use std::path::{Path, PathBuf};

use limbeck_core::Checkpoint;
use limbeck_core::checkpoint::read_json;
use limbeck_model::{Decoder, Embedding, Linear, LinearLoader, LoadOptions};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::formats::awq::QUANT_CONFIG_FILE;
use crate::formats::gptq::QUANTIZE_CONFIG_FILE;
use crate::formats::{CheckpointSettings, TensorSource};
use crate::matrix::floats;
use crate::nf4::Nf4Loader;
use crate::packed_embedding::PackedEmbedding;
use crate::packed_linear::PackedLinear;
use crate::packed_weight::{Activations, PackedWeight};
use crate::quantized::QuantizedWeight;

/// How a decoder's matrices lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Residency {
    /// As they are stored; packed layers compute with their codes.
    #[default]
    Packed,
    /// Packed, or dense where all of the model fits into the processor's caches: there is then
    /// nothing to gain from reading less, and batches are faster without unpacking.
    Auto,
    /// Dense, in the dtype of the parameters; packed projections are dequantised once.
    Dense,
    /// All of them in NF4, rounded as they are read and dequantised for each use.
    Nf4,
}

/// How a decoder's matrices lie in memory and are computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Storage {
    /// How they lie there.
    pub residency: Residency,
    /// What packed ones multiply. In 8 bits, they are never held dense for
    /// [`Residency::Auto`].
    pub activations: Activations,
}

impl From<Residency> for Storage {
    fn from(residency: Residency) -> Self {
        Self { residency, activations: Activations::Float32 }
    }
}

/// A packed folder of at most so many bytes is held dense by [`Residency::Auto`] (of 4 bits, 16
/// MiB in float32).
const CACHED_BYTES: u64 = 2 << 20;

/// Loads a model folder, plain or quantised, with matrices as they are stored; see
/// [`load_decoder_as`].
///
/// # Errors
/// As [`load_decoder_as`].
pub fn load_decoder(dir: &Path, options: &LoadOptions<'_>) -> Result<Decoder> {
    load_decoder_as(dir, options, Residency::Packed)
}

/// Loads a model folder, plain or quantised: `quantization_config` in its `config.json`,
/// or a `quantize_config.json` or `quant_config.json` beside it, says how.
///
/// In a quantised folder, layers are read by [`PackedLoader`] in place of the options' own
/// loader; layers that are not packed, such as the head, are read as dense ones.
///
/// # Errors
/// A quantisation method or setting that is not supported, with those that are; a quantised
/// folder for [`Residency::Nf4`]; what [`Decoder::load`] refuses.
pub fn load_decoder_as(
    dir: &Path,
    options: &LoadOptions<'_>,
    storage: impl Into<Storage>,
) -> Result<Decoder> {
    let Storage { residency, activations } = storage.into();
    match (quantization(dir)?, residency) {
        (None, Residency::Nf4) => {
            let options = LoadOptions { linear_loader: Some(&Nf4Loader), ..*options };
            Ok(Decoder::load(dir, &options)?)
        }
        (None, _) => Ok(Decoder::load(dir, options)?),
        (Some((path, _)), Residency::Nf4) => Err(Error::PackedTwice { path }),
        (Some((path, settings)), _) => {
            let settings = CheckpointSettings::from_json(&settings, &path)?;
            let residency = match residency {
                Residency::Auto
                    if activations == Activations::Float32
                        && stored_bytes(dir)? <= CACHED_BYTES =>
                {
                    Residency::Dense
                }
                residency => residency,
            };
            let loader = PackedLoader { settings, residency, activations };
            let options = LoadOptions { linear_loader: Some(&loader), ..*options };
            Ok(Decoder::load(dir, &options)?)
        }
    }
}

/// Bytes of a folder's tensors.
fn stored_bytes(dir: &Path) -> Result<u64> {
    let checkpoint = Checkpoint::open(dir)?;
    let infos = checkpoint.names().into_iter().filter_map(|name| checkpoint.info(&name));
    Ok(infos.map(|info| info.bytes()).sum())
}

/// What a folder says of its quantisation, and the file that says it; `None` of a plain one.
///
/// # Errors
/// A file that is no JSON.
pub fn quantization(dir: &Path) -> Result<Option<(PathBuf, Value)>> {
    let config_path = dir.join("config.json");
    let mut hf_config = read_json(&config_path)?;
    let settings = hf_config["quantization_config"].take();
    if !settings.is_null() {
        return Ok(Some((config_path, settings)));
    }
    let mut older =
        [QUANTIZE_CONFIG_FILE, QUANT_CONFIG_FILE].map(|name| dir.join(name)).into_iter();
    match older.find(|path| path.exists()) {
        Some(path) => {
            let settings = read_json(&path)?;
            Ok(Some((path, settings)))
        }
        None => Ok(None),
    }
}

/// Reads packed layers.
#[derive(Debug, Clone)]
pub struct PackedLoader {
    /// What the folder's configuration says.
    pub settings: CheckpointSettings,
    /// Whether projections are kept dense or packed.
    pub residency: Residency,
    /// What packed layers multiply.
    pub activations: Activations,
}

impl PackedLoader {
    /// Reads the matrix of the layer `name`, `[out, in]`; `None` if the checkpoint does not
    /// hold it packed.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape or dtype than the settings imply.
    pub fn read(
        &self,
        name: &str,
        checkpoint: &mut Checkpoint,
        (out_features, in_features): (i64, i64),
    ) -> Result<Option<QuantizedWeight>> {
        let format = self.settings.format;
        let mut source = LayerTensors { checkpoint, name };
        if !source.has(format.marker()) {
            return Ok(None);
        }
        let settings = self.settings.of(name).unwrap_or(self.settings.layer);
        let shape = (out_features as usize, in_features as usize);
        format.read(&mut source, settings, shape).map(Some)
    }

    fn read_linear(
        &self,
        name: &str,
        checkpoint: &mut Checkpoint,
        shape: (i64, i64),
        bias: bool,
        options: &LoadOptions<'_>,
    ) -> Result<Option<PackedLinear>> {
        let Some(weight) = self.read(name, checkpoint, shape)? else { return Ok(None) };
        let bias = read_bias(checkpoint, &format!("{name}.bias"), shape.0, bias)?;
        let layer = PackedLinear::assemble(weight, self.settings.format, bias, options.device)?;
        let mut layer = layer.with_activations(self.activations);
        if self.residency == Residency::Dense {
            layer.keep_dense(options.parameter_dtype)?;
        }
        Ok(Some(layer))
    }

    fn read_embedding(
        &self,
        name: &str,
        checkpoint: &mut Checkpoint,
        shape: (i64, i64),
        device: Device,
    ) -> Result<Option<PackedEmbedding>> {
        let Some(weight) = self.read(name, checkpoint, shape)? else { return Ok(None) };
        let weight = PackedWeight::new(weight, device)?.with_activations(self.activations);
        Ok(Some(PackedEmbedding::new(weight, self.settings.format)))
    }
}

impl LinearLoader for PackedLoader {
    fn load(
        &self,
        name: &str,
        checkpoint: &mut Checkpoint,
        in_features: i64,
        out_features: i64,
        bias: bool,
        options: &LoadOptions<'_>,
    ) -> limbeck_model::Result<Option<Box<dyn Linear>>> {
        let shape = (out_features, in_features);
        let layer = self.read_linear(name, checkpoint, shape, bias, options);
        let layer = layer.map_err(|error| of_layer(name, error))?;
        Ok(layer.map(|layer| Box::new(layer) as Box<dyn Linear>))
    }

    fn load_embedding(
        &self,
        name: &str,
        checkpoint: &mut Checkpoint,
        rows: i64,
        width: i64,
        options: &LoadOptions<'_>,
    ) -> limbeck_model::Result<Option<Box<dyn Embedding>>> {
        let embedding = self.read_embedding(name, checkpoint, (rows, width), options.device);
        let embedding = embedding.map_err(|error| of_layer(name, error))?;
        Ok(embedding.map(|embedding| Box::new(embedding) as Box<dyn Embedding>))
    }
}

fn of_layer(name: &str, error: Error) -> limbeck_model::Error {
    match error {
        Error::Core(error) => limbeck_model::Error::Core(error),
        Error::Model(error) => error,
        error => limbeck_model::Error::layer(name, error),
    }
}

/// The tensors of one layer of a checkpoint.
struct LayerTensors<'a> {
    checkpoint: &'a mut Checkpoint,
    name: &'a str,
}

impl TensorSource for LayerTensors<'_> {
    fn has(&self, suffix: &str) -> bool {
        self.checkpoint.has(&format!("{}.{suffix}", self.name))
    }

    fn take(&mut self, suffix: &str, shape: &[i64]) -> Result<Tensor> {
        Ok(self.checkpoint.expect_shape(&format!("{}.{suffix}", self.name), shape)?)
    }

    fn place(&self, suffix: &str) -> (PathBuf, String) {
        (self.checkpoint.path().to_owned(), format!("{}.{suffix}", self.name))
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
    let bias = checkpoint.expect_shape(key, &[out_features])?;
    let kind = bias.f_kind()?;
    if !matches!(kind, Kind::Half | Kind::BFloat16 | Kind::Float) {
        return Err(Error::PackedTensor {
            path: checkpoint.path().to_owned(),
            tensor: key.to_owned(),
            expected: "a floating-point dtype".to_owned(),
            found: format!("{kind:?}"),
        });
    }
    let needed = expected || floats(&bias)?.iter().any(|&value| value != 0.0);
    Ok(needed.then_some(bias))
}
