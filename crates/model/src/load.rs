//! Reads a decoder from a Hugging Face folder.

use std::path::Path;

use limbeck_core::Checkpoint;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::build::{ParameterSource, build};
use crate::config::DecoderConfig;
use crate::decoder::Decoder;
use crate::embedding::{DenseEmbedding, Embedding};
use crate::error::{Error, Result};
use crate::linear::{DenseLinear, Linear};

/// Where a decoder goes and in which dtypes.
#[derive(Clone, Copy)]
pub struct LoadOptions<'a> {
    /// Device of parameters and activations.
    pub device: Device,
    /// Dtype that parameters are held in.
    pub parameter_dtype: Kind,
    /// Dtype of activations.
    pub compute_dtype: Kind,
    /// Called for each projection, and the embedding, before the dense one is tried.
    pub linear_loader: Option<&'a dyn LinearLoader>,
}

impl LoadOptions<'_> {
    /// Everything in `dtype` on `device`, dense.
    pub fn dense(device: Device, dtype: Kind) -> Self {
        Self { device, parameter_dtype: dtype, compute_dtype: dtype, linear_loader: None }
    }
}

impl std::fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("LoadOptions")
            .field("device", &self.device)
            .field("parameter_dtype", &self.parameter_dtype)
            .field("compute_dtype", &self.compute_dtype)
            .field("linear_loader", &self.linear_loader.is_some())
            .finish()
    }
}

/// Reads layers that a checkpoint stores in another form, or that are to be held in one
/// (quantised ones).
pub trait LinearLoader {
    /// The projection `name`, taking its tensors out of `checkpoint`; `None` leaves it to
    /// the dense loader.
    fn load(
        &self,
        name: &str,
        checkpoint: &mut Checkpoint,
        in_features: i64,
        out_features: i64,
        bias: bool,
        options: &LoadOptions<'_>,
    ) -> Result<Option<Box<dyn Linear>>>;

    /// The embedding `name` of `rows` vectors, as [`Self::load`].
    fn load_embedding(
        &self,
        _name: &str,
        _checkpoint: &mut Checkpoint,
        _rows: i64,
        _width: i64,
        _options: &LoadOptions<'_>,
    ) -> Result<Option<Box<dyn Embedding>>> {
        Ok(None)
    }
}

impl Decoder {
    /// Loads `config.json` and `model.safetensors` (or its shards) from `dir`.
    ///
    /// # Errors
    /// A configuration that is unknown or impossible; a tensor that is missing, has the
    /// wrong shape, or belongs to no part of the model.
    pub fn load(dir: &Path, options: &LoadOptions<'_>) -> Result<Self> {
        let hf_config = limbeck_core::checkpoint::read_json(&dir.join("config.json"))?;
        DecoderConfig::from_hf(&hf_config)?;
        Self::from_checkpoint(&hf_config, &mut Checkpoint::open(dir)?, options)
    }

    /// Builds the decoder of `hf_config` from an opened checkpoint and checks that every
    /// tensor of it was used.
    pub fn from_checkpoint(
        hf_config: &Value,
        checkpoint: &mut Checkpoint,
        options: &LoadOptions<'_>,
    ) -> Result<Self> {
        let config = DecoderConfig::from_hf(hf_config)?;
        if options.linear_loader.is_none() && !hf_config["quantization_config"].is_null() {
            return Err(Error::config(
                "quantization_config",
                "none (a plain model)",
                hf_config["quantization_config"]["quant_method"].to_string(),
            ));
        }
        // Old exports carry rotary tables; a tied head may be stored a second time.
        let mut unused: Vec<String> = (0..config.num_hidden_layers())
            .map(|index| format!("model.layers.{index}.self_attn.rotary_emb.inv_freq"))
            .collect();
        if config.tie_word_embeddings {
            unused.push("lm_head.weight".to_owned());
        }
        let mut source = CheckpointSource { checkpoint, options };
        let decoder =
            build(config, hf_config.clone(), options.device, options.compute_dtype, &mut source)?;
        let unused: Vec<&str> = unused.iter().map(String::as_str).collect();
        checkpoint.finish(&unused)?;
        Ok(decoder)
    }
}

struct CheckpointSource<'a, 'b> {
    checkpoint: &'a mut Checkpoint,
    options: &'a LoadOptions<'b>,
}

impl CheckpointSource<'_, '_> {
    fn take(&mut self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let tensor = self.checkpoint.expect_shape(name, shape)?;
        Ok(tensor.f_to_kind(self.options.parameter_dtype)?.f_to_device(self.options.device)?)
    }
}

impl ParameterSource for CheckpointSource<'_, '_> {
    fn embedding(&mut self, name: &str, rows: i64, width: i64) -> Result<Box<dyn Embedding>> {
        if let Some(loader) = self.options.linear_loader
            && let Some(embedding) =
                loader.load_embedding(name, self.checkpoint, rows, width, self.options)?
        {
            return Ok(embedding);
        }
        let weight = self.take(&format!("{name}.weight"), &[rows, width])?;
        Ok(Box::new(DenseEmbedding::new(weight)?))
    }

    fn norm(&mut self, name: &str, width: i64) -> Result<Tensor> {
        self.take(&format!("{name}.weight"), &[width])
    }

    fn linear(
        &mut self,
        name: &str,
        in_features: i64,
        out_features: i64,
        bias: bool,
    ) -> Result<Box<dyn Linear>> {
        if let Some(loader) = self.options.linear_loader
            && let Some(layer) =
                loader.load(name, self.checkpoint, in_features, out_features, bias, self.options)?
        {
            return Ok(layer);
        }
        let weight = self.take(&format!("{name}.weight"), &[out_features, in_features])?;
        let bias =
            if bias { Some(self.take(&format!("{name}.bias"), &[out_features])?) } else { None };
        Ok(Box::new(DenseLinear::new(weight, bias)?))
    }
}
