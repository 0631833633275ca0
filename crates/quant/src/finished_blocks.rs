//! Blocks that are done, on disk: an interrupted run goes on from them, to the same bits.
//!
//! For each block there are two files. `block-0003.safetensors` has, for each projection, codes
//! (u8 `[out, in]`), scales (f32 `[out, groups]`), zeros (u8 `[out, groups]`) and a bias where
//! there is one; of a projection that stays dense, and of norms, the weight, since AWQ changes
//! these too. `block-0003.json`, written last, says what run it is of and has the layers'
//! reports.

use std::any::Any;
use std::path::{Path, PathBuf};

use limbeck_core::Checkpoint;
use limbeck_core::checkpoint::read_json;
use limbeck_model::{Decoder, DenseLinear, Linear};
use limbeck_run::sha256_bytes;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use crate::bits::Bits;
use crate::calibration::Stage;
use crate::config::QuantizeConfig;
use crate::error::{Error, Result};
use crate::formats::{Format, matrix};
use crate::grid::Grid;
use crate::matrix::floats;
use crate::packed_linear::PackedLinear;
use crate::quantize::linear;
use crate::quantized::QuantizedWeight;
use crate::report::LayerReport;

/// Elements that are hashed at once.
const HASHED: i64 = 1 << 24;

/// A folder of finished blocks of one run.
#[derive(Debug)]
pub(crate) struct FinishedBlocks {
    folder: PathBuf,
    fingerprint: String,
}

/// What is said of a block.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    fingerprint: String,
    layers: Vec<LayerReport>,
}

/// A block as it was stored.
#[derive(Debug)]
pub(crate) struct StoredBlock {
    record: Record,
    checkpoint: Checkpoint,
    block: usize,
}

impl FinishedBlocks {
    /// The blocks in `folder` of this model, calibration and configuration.
    ///
    /// # Errors
    /// Failures of libtorch.
    pub(crate) fn open(
        folder: &Path,
        decoder: &Decoder,
        sequences: &[&[i64]],
        config: &QuantizeConfig,
    ) -> Result<Self> {
        let fingerprint = fingerprint(decoder, sequences, config)?;
        Ok(Self { folder: folder.to_owned(), fingerprint })
    }

    fn path(&self, block: usize, extension: &str) -> PathBuf {
        self.folder.join(format!("block-{block:04}.{extension}"))
    }

    /// Writes a block of the decoder, whose layers were reported on so.
    ///
    /// # Errors
    /// Write errors.
    pub(crate) fn store(
        &self,
        decoder: &Decoder,
        block: usize,
        layers: &[LayerReport],
    ) -> Result<()> {
        let mut tensors = Vec::new();
        for name in names(block) {
            let layer = linear(decoder, &name)?;
            let mut add = |suffix: &str, tensor| tensors.push((format!("{name}.{suffix}"), tensor));
            match (layer as &dyn Any).downcast_ref::<PackedLinear>() {
                Some(packed) => {
                    let weight = packed.packed().to_quantized()?;
                    let groups = weight.num_groups();
                    let scales: Vec<f32> = weight.grids().iter().map(|grid| grid.scale).collect();
                    let zeros: Vec<u8> = weight.grids().iter().map(|grid| grid.zero).collect();
                    add("codes", matrix(weight.codes(), weight.in_features())?);
                    add("scales", matrix(&scales, groups)?);
                    add("zeros", matrix(&zeros, groups)?);
                }
                None => add("weight", layer.dense_weight()?),
            }
            if let Some(bias) = layer.bias() {
                add("bias", bias);
            }
        }
        let prefix = format!("model.layers.{block}.");
        let norms = decoder.named_parameters().into_iter().filter(|(key, _)| {
            key.strip_prefix(&prefix).is_some_and(|key| key.ends_with("norm.weight"))
        });
        tensors.extend(norms);
        limbeck_core::write_tensors(&self.path(block, "safetensors"), &tensors, &[])?;
        let record = Record { fingerprint: self.fingerprint.clone(), layers: layers.to_vec() };
        let path = self.path(block, "json");
        let text = serde_json::to_vec_pretty(&record)
            .map_err(|source| Error::Resume { path: path.clone(), reason: source.to_string() })?;
        Ok(limbeck_run::write_file(&path, &text)?)
    }

    /// A block, if this run finished it.
    ///
    /// # Errors
    /// A file that is damaged.
    pub(crate) fn load(&self, block: usize) -> Result<Option<StoredBlock>> {
        let path = self.path(block, "json");
        if !path.exists() {
            return Ok(None);
        }
        let record: Record = serde_json::from_value(read_json(&path)?)
            .map_err(|source| Error::Resume { path: path.clone(), reason: source.to_string() })?;
        if record.fingerprint != self.fingerprint {
            tracing::warn!("{}: of another run, will be replaced", path.display());
            return Ok(None);
        }
        let checkpoint = Checkpoint::open_file(&self.path(block, "safetensors"))?;
        Ok(Some(StoredBlock { record, checkpoint, block }))
    }
}

impl StoredBlock {
    /// Puts the block's layers in the decoder, and returns what was reported on them.
    ///
    /// # Errors
    /// Tensors that are missing or do not fit.
    pub(crate) fn put_in(
        mut self,
        decoder: &mut Decoder,
        format: Format,
    ) -> Result<Vec<LayerReport>> {
        let device = decoder.device();
        for name in names(self.block) {
            let mut take = |suffix: &str| -> Result<Option<Tensor>> {
                let key = format!("{name}.{suffix}");
                let has = self.checkpoint.has(&key);
                Ok(if has { Some(self.checkpoint.take(&key)?) } else { None })
            };
            let bias = take("bias")?;
            let layer: Box<dyn Linear> = if let Some(weight) = take("weight")? {
                let bias = bias.map(|bias| bias.f_to_device(device)).transpose()?;
                Box::new(DenseLinear::new(weight.f_to_device(device)?, bias)?)
            } else {
                let report = self.record.layers.iter().find(|layer| layer.name == name);
                let parts = (take("codes")?, take("scales")?, take("zeros")?);
                let weight = match (report, parts) {
                    (Some(report), (Some(codes), Some(scales), Some(zeros))) => {
                        quantized(report, &codes, &scales, &zeros)?
                    }
                    _ => None,
                };
                let weight = weight.ok_or_else(|| Error::Resume {
                    path: self.checkpoint.path().to_owned(),
                    reason: format!("the codes of {name} are missing or do not fit"),
                })?;
                Box::new(PackedLinear::assemble(weight, format, bias, device)?)
            };
            let mut layer = Some(layer);
            decoder.map_linear(&name, &mut |original| Ok(layer.take().unwrap_or(original)))?;
        }
        let norms = self.checkpoint.names();
        for key in norms.iter().filter(|key| key.ends_with("norm.weight")) {
            let weight = self.checkpoint.take(key)?.f_to_device(device)?;
            let name = key.trim_end_matches(".weight");
            decoder.map_norm(name, &mut |_| Ok(weight.shallow_clone()))?;
        }
        Ok(self.record.layers)
    }
}

fn names(block: usize) -> impl Iterator<Item = String> {
    Stage::ALL.into_iter().flat_map(move |stage| stage.names(block))
}

/// `None` where the tensors do not fit the report.
fn quantized(
    report: &LayerReport,
    codes: &Tensor,
    scales: &Tensor,
    zeros: &Tensor,
) -> Result<Option<QuantizedWeight>> {
    let Some(bits) = Bits::new(u64::from(report.bits)) else { return Ok(None) };
    let bytes = |tensor: &Tensor| -> Result<Vec<u8>> {
        let tensor = tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Uint8)?.f_contiguous()?;
        Ok(Vec::try_from(&tensor.f_view([-1])?)?)
    };
    let (codes, zeros, scales) = (bytes(codes)?, bytes(zeros)?, floats(scales)?);
    let shape = (report.out_features as usize, report.in_features as usize);
    let groups = scales.len() / shape.0.max(1);
    let grids = scales.into_iter().zip(zeros).map(|(scale, zero)| Grid { scale, zero }).collect();
    let group_size = shape.1.checked_div(groups).unwrap_or(0);
    Ok(QuantizedWeight::new(bits, group_size, shape, codes, grids))
}

/// A hash over all that the codes depend on.
fn fingerprint(decoder: &Decoder, sequences: &[&[i64]], config: &QuantizeConfig) -> Result<String> {
    let mut text = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "config": config,
        "model": decoder.hf_config(),
        "sequences": sequences,
    })
    .to_string();
    for (key, tensor) in decoder.named_parameters() {
        let flat = tensor.f_detach()?.f_reshape([-1])?;
        let length = flat.numel() as i64;
        for start in (0..length).step_by(HASHED as usize) {
            let part = flat.f_narrow(0, start, HASHED.min(length - start))?;
            let part = part.f_to_device(Device::Cpu)?.f_contiguous()?;
            let mut bytes = vec![0; part.numel() * part.kind().elt_size_in_bytes()];
            part.f_copy_data_u8(&mut bytes, part.numel())?;
            let hash = sha256_bytes(&bytes);
            text.extend([key.as_str(), " ", hash.as_str(), "\n"]);
        }
    }
    Ok(sha256_bytes(text.as_bytes()))
}
