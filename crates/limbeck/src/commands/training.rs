//! What the training commands share: running the trainer and saving the model.

use std::path::Path;

use anyhow::Result;
use limbeck_core::Tokenizer;
use limbeck_cot_data::CotRecord;
use limbeck_model::Decoder;
use limbeck_train::{Example, Objective, TrainConfig, TrainReport, Trainer, checkpoint};
use tch::{Device, Kind, Tensor};

use crate::cli::StageOptions;
use crate::dataset;
use crate::stage::Stage;

/// What is trained on, and what the model is validated on.
pub(crate) struct Examples {
    pub(crate) train: Vec<Example>,
    pub(crate) validation: Vec<Example>,
}

impl Examples {
    pub(crate) fn render(
        tokenizer: &Tokenizer,
        records: &(Vec<CotRecord>, Vec<CotRecord>),
        config: &TrainConfig,
        answer_only: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Self> {
        let train = dataset::examples(tokenizer, &records.0, config, answer_only)?;
        let validation = dataset::validation_examples(tokenizer, &records.1, config, answer_only)?;
        Ok(Self { train, validation })
    }
}

/// Trains, then drops the checkpoint: what is left in the folder is the result.
#[expect(clippy::too_many_arguments, reason = "the parts of a run, each named at the call")]
pub(crate) fn train(
    label: &str,
    stage: &mut Stage,
    options: &StageOptions,
    config: &TrainConfig,
    tokenizer: &Tokenizer,
    model: &Decoder,
    parameters: Vec<(String, Tensor)>,
    examples: &Examples,
    objective: &mut dyn Objective,
) -> Result<TrainReport> {
    let folder = stage.folder().to_owned();
    let fingerprint = stage.fingerprint().to_owned();
    let trainer = Trainer {
        config,
        output: &folder,
        seed: options.seed,
        pad_token_id: tokenizer.pad_token_id(),
        device: options.device.resolve()?,
        label,
        run: &fingerprint,
    };
    let report =
        trainer.run(model, parameters, &examples.train, &examples.validation, objective)?;
    stage.metric("steps", report.steps);
    stage.metric("epochs", report.epochs);
    stage.metric("tokens", report.tokens);
    stage.metric("train_tokens_per_second", report.tokens_per_second);
    stage.metric("trainable_parameters", report.trainable_parameters);
    stage.metric("skipped_steps", report.skipped_steps);
    for (name, value) in &report.last_losses {
        stage.metric(name, *value);
    }
    if let Some(loss) = report.validation_loss {
        stage.metric("validation_loss", loss);
    }
    Ok(report)
}

/// Removes the trainer's state after the result has been written.
pub(crate) fn drop_checkpoint(folder: &Path) -> Result<()> {
    let path = folder.join(checkpoint::FILE);
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Writes a model folder in bfloat16, the dtype models are shipped in.
pub(crate) fn save_model(model: &Decoder, tokenizer: &Tokenizer, folder: &Path) -> Result<()> {
    model.save(folder, Kind::BFloat16)?;
    tokenizer.copy_files(folder)?;
    drop_checkpoint(folder)
}

/// All parameters of a model that trains as a whole.
pub(crate) fn all_parameters(model: &Decoder) -> Result<Vec<(String, Tensor)>> {
    model.set_requires_grad(true)?;
    Ok(model.named_parameters())
}

/// The device of a stage.
pub(crate) fn device(options: &StageOptions) -> Result<Device> {
    Ok(options.device.resolve()?)
}
