//! Opening a model folder as the commands need it: decoder with its tokenizer, packed or
//! not, with adapters merged in by attachment.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use limbeck_core::{Checkpoint, DType, DeviceSpec, Tokenizer};
use limbeck_model::{Decoder, LoadOptions};
use limbeck_quant::{Activations, Residency, Storage};
use tch::Kind;

use crate::cli::{ModelOptions, ProductOptions};
use crate::memory::release_freed;

/// A decoder and the tokenizer that fits it.
pub(crate) struct ModelFolder {
    pub(crate) decoder: Decoder,
    pub(crate) tokenizer: Tokenizer,
}

impl ModelFolder {
    /// Opens a folder; parameters and activations in `dtype`.
    pub(crate) fn open(
        path: &Path,
        adapters: &[PathBuf],
        device: DeviceSpec,
        dtype: DType,
    ) -> Result<Self> {
        Self::open_with(path, adapters, device, dtype, ProductOptions::default())
    }

    /// Opens the model that a command's arguments ask for.
    pub(crate) fn open_asked(
        model: &ModelOptions,
        adapters: &[PathBuf],
        device: DeviceSpec,
    ) -> Result<Self> {
        Self::open_with(&model.model, adapters, device, model.dtype, model.products)
    }

    /// As [`Self::open`]; products with packed weights as asked for.
    pub(crate) fn open_with(
        path: &Path,
        adapters: &[PathBuf],
        device: DeviceSpec,
        dtype: DType,
        products: ProductOptions,
    ) -> Result<Self> {
        let kind = dtype.kind();
        let options = LoadOptions {
            device: device.resolve()?,
            parameter_dtype: kind,
            compute_dtype: kind,
            linear_loader: None,
        };
        let context = || format!("model {}", path.display());
        let tokenizer = load_tokenizer(path)?;
        let activations =
            if products.int8_activations { Activations::Int8 } else { Activations::Float32 };
        let storage = Storage { residency: Residency::Auto, activations };
        let mut decoder =
            limbeck_quant::load_decoder_as(path, &options, storage).with_context(context)?;
        tokenizer.check_fits(decoder.config().vocab_size).with_context(context)?;
        for adapter in adapters {
            limbeck_lora::Adapter::load(&mut decoder, adapter)
                .with_context(|| format!("adapter {}", adapter.display()))?;
        }
        Ok(Self { decoder, tokenizer })
    }

    /// Opens a folder whose parameters stay as they are, below an adapter: dense ones in the
    /// one dtype that all of them are stored in, or float32 where there are several; matrices
    /// as `residency` says. Activations are in `compute_dtype`, to which each matrix is cast
    /// or dequantised when it is used.
    pub(crate) fn open_frozen(
        path: &Path,
        device: DeviceSpec,
        compute_dtype: DType,
        residency: Residency,
    ) -> Result<Self> {
        let context = || format!("model {}", path.display());
        let stored = stored_dtype(&Checkpoint::open(path).with_context(context)?);
        Self::load(path, device, stored.unwrap_or(Kind::Float), compute_dtype, residency)
    }

    /// Opens a folder for training: float32 parameters, activations in `compute_dtype`.
    pub(crate) fn open_for_training(
        path: &Path,
        device: DeviceSpec,
        compute_dtype: DType,
    ) -> Result<Self> {
        Self::load(path, device, Kind::Float, compute_dtype, Residency::Dense)
    }

    fn load(
        path: &Path,
        device: DeviceSpec,
        parameter_dtype: Kind,
        compute_dtype: DType,
        residency: Residency,
    ) -> Result<Self> {
        let options = LoadOptions {
            device: device.resolve()?,
            parameter_dtype,
            compute_dtype: compute_dtype.kind(),
            linear_loader: None,
        };
        let context = || format!("model {}", path.display());
        let tokenizer = load_tokenizer(path)?;
        let decoder = limbeck_quant::load_decoder_as(path, &options, residency);
        let decoder = decoder.with_context(context)?;
        tokenizer.check_fits(decoder.config().vocab_size).with_context(context)?;
        Ok(Self { decoder, tokenizer })
    }
}

/// The tokenizer, which comes before the weights: a large one takes several times its size while
/// it is read.
fn load_tokenizer(path: &Path) -> Result<Tokenizer> {
    let tokenizer = Tokenizer::load(path).with_context(|| format!("model {}", path.display()))?;
    release_freed();
    Ok(tokenizer)
}

/// The dtype of a checkpoint's dense tensors, if they share one that a decoder can hold.
fn stored_dtype(checkpoint: &Checkpoint) -> Option<Kind> {
    let is_dense = |name: &String| {
        name.rsplit_once('.').is_none_or(|(layer, _)| !checkpoint.has(&format!("{layer}.qweight")))
    };
    let names = checkpoint.names().into_iter().filter(is_dense);
    let mut kinds = names.map(|name| checkpoint.info(&name).map(|info| info.kind));
    let first = kinds.next()??;
    let held = matches!(first, Kind::Float | Kind::BFloat16 | Kind::Half);
    (held && kinds.all(|kind| kind == Some(first))).then_some(first)
}
