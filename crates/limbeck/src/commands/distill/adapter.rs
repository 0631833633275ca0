//! An adapter that is trained in the distillation's own run.

use anyhow::Result;
use limbeck_core::{DType, Tokenizer};
use limbeck_distill::DistillConfig;
use limbeck_lora::{Adapter, Alpha, LoraConfig, Rank};
use limbeck_model::Decoder;
use limbeck_train::{ParameterGroup, UpdateSchedule};
use tch::{Kind, Tensor};

use super::super::{lora, training};
use crate::stage::Stage;

/// Where a student takes turns with its adapter, tasks are rendered beside chains.
pub(super) fn render_tasks(config: &mut DistillConfig) {
    let interval = config.lora.adapt_interval;
    if interval > 0 && config.train.mix.task_share.is_none() {
        config.train.mix.task_share = Some(1.0 / interval as f64);
    }
}

/// Puts an adapter on the student, if there is to be one.
pub(super) fn attach(
    config: &DistillConfig,
    student: &mut Decoder,
    seed: u64,
) -> Result<Option<Adapter>> {
    let settings = config.lora;
    if settings.rank == 0 {
        return Ok(None);
    }
    student.set_requires_grad(false)?;
    let lora = LoraConfig {
        rank: Rank::new(settings.rank)?,
        alpha: Alpha::new(settings.alpha)?,
        dropout: settings.dropout,
        ..LoraConfig::default()
    };
    let path = &config.student.path;
    let base = (!path.as_os_str().is_empty()).then(|| path.display().to_string());
    let adapter = Adapter::attach(student, lora.adapter(base), seed)?;
    tracing::info!("{}", adapter.trainable_share(student));
    Ok(Some(adapter))
}

/// The student's own parameters, all to be trained, whether an adapter is on it or not.
fn student_parameters(student: &Decoder) -> Result<Vec<(String, Tensor)>> {
    let mut parameters = training::all_parameters(student)?;
    parameters.retain(|(name, _)| !name.contains(".lora_A.") && !name.contains(".lora_B."));
    Ok(parameters)
}

/// What is trained: the student and what the objective trains `beside` it, or the adapter in
/// the student's place, or both by turns.
pub(super) fn groups(
    config: &DistillConfig,
    student: &Decoder,
    beside: Vec<(String, Tensor)>,
    adapter: Option<&Adapter>,
) -> Result<(Vec<ParameterGroup>, Option<UpdateSchedule>)> {
    let settings = config.lora;
    let Some(adapter) = adapter else {
        let mut base = student_parameters(student)?;
        base.extend(beside);
        return Ok((vec![ParameterGroup::all(base)], None));
    };
    let mut parameters = adapter.trainable_parameters();
    if settings.adapt_interval == 0 {
        parameters.extend(beside);
        return Ok((vec![ParameterGroup::all(parameters)], None));
    }
    let mut base = student_parameters(student)?;
    base.extend(beside);
    let group = |name: &str, parameters, learning_rate_ratio| ParameterGroup {
        name: name.to_owned(),
        parameters,
        learning_rate_ratio,
    };
    let groups =
        vec![group("base", base, 1.0), group("adapter", parameters, settings.learning_rate_ratio)];
    // The configuration was validated: the interval is one that a schedule takes.
    Ok((groups, UpdateSchedule::new(settings.adapt_interval).ok()))
}

/// Writes the adapter into `adapter/`, and the model: merged where the adapter alone was
/// trained (with what it stands on in `base/`), without the adapter where the two took turns.
pub(super) fn save(
    config: &DistillConfig,
    mut student: Decoder,
    adapter: Adapter,
    tokenizer: &Tokenizer,
    stage: &mut Stage,
) -> Result<()> {
    let folder = stage.folder().to_owned();
    let inner = |name: &str| -> Result<_> {
        let path = folder.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    };
    let adapter_folder = inner("adapter")?;
    adapter.save(&adapter_folder)?;
    adapter.detach(&mut student)?;
    if config.lora.adapt_interval > 0 {
        return training::save_model(&student, tokenizer, &folder);
    }
    training::save_model(&student, tokenizer, &inner("base")?)?;
    student.set_compute_dtype(DType::Float32.kind());
    let adapter = Adapter::load(&mut student, &adapter_folder)?;
    let (merged, report) = lora::merge_checked(student, &adapter, tokenizer, Kind::BFloat16)?;
    stage.metric("max_logit_difference", report.max_logit_difference);
    training::save_model(&merged, tokenizer, &folder)
}
