//! The base below an adapter in training: how it is held, and what that takes.

use std::path::Path;

use anyhow::Result;
use limbeck_lora::{BaseFormat, LoraConfig};
use limbeck_quant::{Residency, quantization};
use limbeck_run::config::{apply_overrides, load_table};
use tch::Tensor;

use crate::cli::StageOptions;
use crate::memory;
use crate::model_folder::ModelFolder;
use crate::stage::Stage;

/// Whether the base's matrices are dequantised for each use.
fn is_packed(model: &Path, config: &LoraConfig) -> Result<bool> {
    Ok(config.base == BaseFormat::Nf4 || quantization(model)?.is_some())
}

/// Has activations computed again in the backward pass above a packed base, unless the
/// configuration says otherwise: autograd would keep every dequantised matrix until then, all
/// of the dense model that packing is to spare.
pub(super) fn choose_checkpointing(
    config: &mut LoraConfig,
    model: &Path,
    options: &StageOptions,
) -> Result<()> {
    if !is_packed(model, config)? || config.train.activation_checkpointing {
        return Ok(());
    }
    let mut table = load_table(options.config.as_deref())?;
    apply_overrides(&mut table, &options.set)?;
    if table.get("train").is_none_or(|train| train.get("activation_checkpointing").is_none()) {
        config.train.activation_checkpointing = true;
        tracing::info!(
            "activations are computed again in the backward pass, since the base is packed; \
             train.activation_checkpointing=false keeps them, and every dequantised matrix"
        );
    }
    Ok(())
}

/// Opens the base as the configuration holds it, frozen.
pub(super) fn open(
    model: &Path,
    config: &LoraConfig,
    options: &StageOptions,
) -> Result<ModelFolder> {
    let residency = match config.base {
        BaseFormat::Stored => Residency::Packed,
        BaseFormat::Nf4 => Residency::Nf4,
    };
    ModelFolder::open_frozen(model, options.device, config.train.compute_dtype, residency)
}

/// What a run's memory is made of but for its activations, recorded in the manifest. The
/// highest of the whole process is there too, so that the activations are the rest.
pub(super) struct Footprint {
    program: Option<u64>,
}

impl Footprint {
    /// Measures the program itself, before there is a model.
    pub(super) fn begin() -> Self {
        Self { program: limbeck_run::resident_memory_bytes() }
    }

    /// Records the process's memory before the model and with it (tokenizer, data and adapter
    /// included), the bytes of the base's own tensors, and those that training adds:
    /// gradients and both moments of `AdamW`, in float32.
    pub(super) fn record(
        self,
        stage: &mut Stage,
        model: &ModelFolder,
        trained: &[(String, Tensor)],
    ) {
        memory::release_freed();
        let bytes = |tensor: &Tensor| (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64;
        let is_base = |name: &str| !trained.iter().any(|(trained, _)| trained.ends_with(name));
        let base: u64 = model
            .decoder
            .named_parameters()
            .iter()
            .filter(|(name, _)| is_base(name))
            .map(|(_, tensor)| bytes(tensor))
            .sum();
        let parameters = model.decoder.num_parameters();
        tracing::info!(
            "base: {:.1} MB, {:.2} bits a weight",
            base as f64 / 1e6,
            8.0 * base as f64 / parameters.max(1) as f64
        );
        let trained: u64 = trained.iter().map(|(_, tensor)| tensor.numel() as u64).sum();
        stage.metric("base_bytes", base);
        stage.metric("training_state_bytes", 12 * trained);
        if let (Some(program), Some(with_model)) =
            (self.program, limbeck_run::resident_memory_bytes())
        {
            stage.metric("resident_before_model", program);
            stage.metric("resident_with_model", with_model);
        }
    }
}
