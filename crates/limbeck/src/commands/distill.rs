//! `limbeck distill`: a student from a teacher, or the same student without one.

mod adapter;
mod teacher;

use std::path::PathBuf;

use anyhow::Result;
use limbeck_core::Tokenizer;
use limbeck_core::seed::derive;
use limbeck_distill::config::{AlignmentKind, TeacherKind};
use limbeck_distill::key_heads::HeadChoice;
use limbeck_distill::{DistillConfig, DistillObjective, Init, Origin, Student, Teacher, TokenIds};
use limbeck_train::{Batch, Objective, SupervisedObjective};

use super::training::{self, Examples};
use super::{announce, stage_config};
use crate::cli::{DistillArguments, UsageError};
use crate::dataset::DataFolder;
use crate::model_folder::ModelFolder;
use crate::stage::Stage;

/// Examples of a batch on which heads are scored.
const CALIBRATION_BATCH: usize = 8;

pub(crate) fn run(arguments: &DistillArguments, json: bool) -> Result<()> {
    let options = &arguments.stage;
    let mut config: DistillConfig = stage_config(options)?;
    config.train.mix.resolve_reference()?;
    adapter::render_tasks(&mut config);
    let device = training::device(options)?;
    let data = DataFolder::new(&arguments.data);
    let kind = (!arguments.without_teacher).then_some(config.teacher);
    check_capture(arguments, kind)?;
    let name = if arguments.without_teacher { "baseline" } else { "distill" };
    let mut inputs = data.inputs(&config.train)?;
    inputs.push(("teacher", arguments.teacher.as_path()));
    inputs.extend(training::student_input(&config.student));
    let numbered: Vec<String> =
        (0..arguments.capture.len()).map(|index| format!("capture {index}")).collect();
    inputs.extend(
        numbered.iter().map(String::as_str).zip(arguments.capture.iter().map(PathBuf::as_path)),
    );
    let mut stage = Stage::begin(name, options, serde_json::to_value(&config)?, &inputs)?;

    let teacher_tokenizer = Tokenizer::load(&arguments.teacher)?;
    let capture = match arguments.capture.as_slice() {
        [] => None,
        paths => Some(teacher::open_capture(&arguments.teacher, &teacher_tokenizer, paths)?),
    };
    if arguments.without_teacher {
        config.student = config.student.from_scratch(&teacher::shape(&arguments.teacher)?);
    }
    let cuts_the_teacher = matches!(config.student.init, Init::TeacherLayers | Init::WidthSliced);
    let asks_the_teacher = match kind {
        Some(TeacherKind::Live | TeacherKind::Sequence) => true,
        Some(TeacherKind::Captured) => capture.is_none(),
        Some(TeacherKind::Http) | None => false,
    };
    let mut weights = if cuts_the_teacher || asks_the_teacher {
        let dtype = config.train.compute_dtype;
        Some(ModelFolder::open(&arguments.teacher, &[], options.device, dtype)?.decoder)
    } else {
        None
    };

    let mut records = data.read_for(&config.train)?;
    match (kind, &weights) {
        (Some(TeacherKind::Sequence), Some(decoder)) => {
            let name = teacher::name(&arguments.teacher);
            let seed = derive(options.seed, "sequence", 0);
            records.0 = teacher::replies(
                decoder,
                &teacher_tokenizer,
                &records.0,
                &config,
                seed,
                &name,
                &mut stage,
            )?;
        }
        (Some(TeacherKind::Http), _) => {
            records.0 = teacher::endpoint_replies(&config, &data.train, &mut stage)?;
        }
        _ => {}
    }

    let aligned = config.alignment == AlignmentKind::ByteOffsets && kind.is_some();
    let own_tokenizer = aligned.then(|| Tokenizer::load(&config.student.path)).transpose()?;
    let tokenizer = own_tokenizer.as_ref().unwrap_or(&teacher_tokenizer);
    let examples = Examples::render(tokenizer, &records, &config.train, &|_| false)?;
    let vocab_size = teacher::vocab_size(&arguments.teacher, weights.as_ref())?;
    let Student { decoder: mut student, record, .. } = config.student.build(Origin {
        tokenizer,
        teacher: weights.as_mut(),
        vocab_size: Some(vocab_size),
        aligned,
        calibration: &config.student.calibration(&examples.train),
        seed: options.seed,
        device,
    })?;
    record.write(stage.folder())?;
    student.set_compute_dtype(config.train.compute_dtype.kind());
    let ratio = training::share_of_teacher(&student, weights.as_ref());

    let capture = match (kind, capture) {
        (Some(TeacherKind::Captured), None) => Some(teacher::capture_first(
            arguments,
            &config,
            &teacher_tokenizer,
            weights.as_ref(),
            stage.folder(),
        )?),
        (_, capture) => capture,
    };
    if kind != Some(TeacherKind::Live) {
        weights = None;
    }
    let source = match (kind, &weights, &capture) {
        (Some(TeacherKind::Captured), _, Some(capture)) => {
            capture.check_covers(&examples.train).map_err(limbeck_distill::Error::from)?;
            Some(Teacher::Captured(capture))
        }
        (Some(TeacherKind::Live), Some(decoder), _) if aligned => {
            let alignment = teacher::align(&records, tokenizer, &teacher_tokenizer, &examples)?;
            Some(Teacher::Aligned(decoder, alignment))
        }
        (Some(TeacherKind::Live), Some(decoder), _) => Some(Teacher::Live(decoder)),
        _ => None,
    };
    let adapter = adapter::attach(&config, &mut student, options.seed)?;
    let mut beside = Vec::new();
    let mut objective: Box<dyn Objective + '_> = match source {
        None => Box::new(SupervisedObjective { chunk_rows: config.train.head_chunk_rows }),
        Some(source) => {
            let seed = derive(options.seed, "distillation", 0);
            let ids = TokenIds::from(tokenizer);
            let calibration = calibration(&config, &examples, ids.pad, device)?;
            let distillation =
                DistillObjective::new(source, &student, &config, &ids, &calibration, seed, device)?;
            if let Some(heads) = distillation.key_heads() {
                tracing::info!("heads of the teacher that are followed: {heads}");
                let text = serde_json::to_vec_pretty(heads)?;
                limbeck_run::write_file(&stage.folder().join("attention-heads.json"), &text)?;
            }
            beside = distillation.parameters();
            Box::new(distillation)
        }
    };
    training::train(
        name,
        &mut stage,
        options,
        &config.train,
        tokenizer,
        &student,
        adapter::groups(&config, &student, beside, adapter.as_ref())?,
        &examples,
        objective.as_mut(),
    )?;
    drop(objective);
    stage.metric("parameters", student.num_parameters());
    if let Some(ratio) = ratio {
        stage.metric("parameter_share_of_teacher", ratio);
    }
    match adapter {
        None => training::save_model(&student, tokenizer, stage.folder())?,
        Some(adapter) => adapter::save(&config, student, adapter, tokenizer, &mut stage)?,
    }
    let manifest = stage.finish()?;
    announce(&manifest, &options.output, json)
}

/// `--capture` and `teacher = "captured"` belong together.
fn check_capture(arguments: &DistillArguments, kind: Option<TeacherKind>) -> Result<()> {
    if arguments.capture.is_empty() || kind == Some(TeacherKind::Captured) {
        return Ok(());
    }
    Err(UsageError {
        message: "--capture without a captured teacher".to_owned(),
        hint: "add --set teacher=captured".to_owned(),
    }
    .into())
}

/// Batches on which heads are scored; none where they are not.
fn calibration(
    config: &DistillConfig,
    examples: &Examples,
    pad_token_id: i64,
    device: tch::Device,
) -> Result<Vec<Batch>> {
    if config.attention_heads == HeadChoice::Mean {
        return Ok(Vec::new());
    }
    let count = config.calibration_records.min(examples.train.len());
    let chosen: Vec<_> = examples.train[..count].iter().collect();
    let batches = chosen.chunks(CALIBRATION_BATCH);
    Ok(batches.map(|batch| Batch::new(batch, pad_token_id, device)).collect::<Result<_, _>>()?)
}
