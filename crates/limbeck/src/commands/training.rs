//! What the training commands share: running the trainer and saving the model.

use std::path::Path;

use anyhow::Result;
use limbeck_core::Tokenizer;
use limbeck_cot_data::CotRecord;
use limbeck_distill::{Init, StudentConfig};
use limbeck_model::Decoder;
use limbeck_train::{
    Example, MetricKind, Objective, ParameterGroup, TrainConfig, TrainReport, Trainer,
    UpdateSchedule, ValidationMetric, checkpoint,
};
use tch::{Device, Kind, Tensor};

use super::accuracy::Accuracy;
use crate::cli::StageOptions;
use crate::dataset;
use crate::stage::Stage;

/// What is trained on, and what the model is validated on.
pub(crate) struct Examples {
    pub(crate) train: Vec<Example>,
    pub(crate) validation: Vec<Example>,
    /// Validation records to answer, where accuracy is asked for.
    answered: Vec<CotRecord>,
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
        let asked = config.validation_metric == MetricKind::Accuracy;
        let answered = if asked { records.1.clone() } else { Vec::new() };
        Ok(Self { train, validation, answered })
    }
}

/// Trains the groups, by turns where there is a schedule.
#[expect(clippy::too_many_arguments, reason = "the parts of a run, each named at the call")]
pub(crate) fn train(
    label: &str,
    stage: &mut Stage,
    options: &StageOptions,
    config: &TrainConfig,
    tokenizer: &Tokenizer,
    model: &Decoder,
    (groups, updates): (Vec<ParameterGroup>, Option<UpdateSchedule>),
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
    let mut accuracy = Accuracy::new(config, tokenizer, &examples.answered);
    let metric = accuracy.as_mut().map(|metric| metric as &mut dyn ValidationMetric);
    let (train, validation) = (&examples.train, &examples.validation);
    let report = trainer.run_with(model, groups, updates, train, validation, objective, metric)?;
    stage.metric("steps", report.steps);
    stage.metric("epochs", report.epochs);
    stage.metric("tokens", report.tokens);
    stage.metric("train_tokens_per_second", report.tokens_per_second);
    stage.metric("trainable_parameters", report.trainable_parameters);
    stage.metric("skipped_steps", report.skipped_steps);
    stage.metric("rollbacks", report.rollbacks);
    if let Some(step) = report.best_step {
        stage.metric("best_step", step);
    }
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
    Ok(checkpoint::remove(folder)?)
}

/// Writes a model folder in bfloat16, the dtype models are shipped in.
pub(crate) fn save_model(model: &Decoder, tokenizer: &Tokenizer, folder: &Path) -> Result<()> {
    model.save(folder, Kind::BFloat16)?;
    tokenizer.copy_files(folder)?;
    drop_checkpoint(folder)
}

/// The student's parameters as a share of the teacher's, if that is in memory; says so.
pub(crate) fn share_of_teacher(student: &Decoder, teacher: Option<&Decoder>) -> Option<f64> {
    let parameters = student.num_parameters();
    let Some(teacher) = teacher.map(Decoder::num_parameters) else {
        tracing::info!("student of {parameters} parameters");
        return None;
    };
    let share = parameters as f64 / teacher as f64;
    tracing::info!(
        "student of {parameters} parameters, {:.1}% of the teacher's {teacher}",
        100.0 * share
    );
    Some(share)
}

/// All parameters of a model that trains as a whole.
pub(crate) fn all_parameters(model: &Decoder) -> Result<Vec<(String, Tensor)>> {
    model.set_requires_grad(true)?;
    Ok(model.named_parameters())
}

/// The folder that a student starts from, as an input of the stage.
pub(crate) fn student_input(config: &StudentConfig) -> Option<(&'static str, &Path)> {
    (config.init == Init::Folder).then_some(("student", config.path.as_path()))
}

/// The device of a stage.
pub(crate) fn device(options: &StageOptions) -> Result<Device> {
    Ok(options.device.resolve()?)
}
