//! `limbeck distill`: a student from a live teacher, or the same student without one.

use anyhow::Result;
use limbeck_core::seed::derive;
use limbeck_distill::{DistillConfig, DistillObjective};
use limbeck_model::Decoder;
use limbeck_train::{Objective, SupervisedObjective};

use super::training::{self, Examples};
use super::{announce, stage_config};
use crate::cli::DistillArguments;
use crate::dataset::DataFolder;
use crate::model_folder::ModelFolder;
use crate::stage::Stage;

pub(crate) fn run(arguments: &DistillArguments, json: bool) -> Result<()> {
    let options = &arguments.stage;
    let mut config: DistillConfig = stage_config(options)?;
    config.train.mix.resolve_reference()?;
    let device = training::device(options)?;
    let data = DataFolder::new(&arguments.data);
    let name = if arguments.without_teacher { "baseline" } else { "distill" };
    let mut inputs = data.inputs(&config.train)?;
    inputs.push(("teacher", arguments.teacher.as_path()));
    let mut stage = Stage::begin(name, options, serde_json::to_value(&config)?, &inputs)?;

    let dtype = config.train.compute_dtype;
    let teacher = ModelFolder::open(&arguments.teacher, &[], options.device, dtype)?;
    let tokenizer = &teacher.tokenizer;
    let vocab_size = teacher.decoder.config().vocab_size;
    let mut student: Decoder =
        config.student.build(tokenizer, Some(vocab_size), options.seed, device)?;
    student.set_compute_dtype(dtype.kind());
    let ratio = student.num_parameters() as f64 / teacher.decoder.num_parameters() as f64;
    tracing::info!(
        "student of {} parameters, {:.1}% of the teacher's {}",
        student.num_parameters(),
        100.0 * ratio,
        teacher.decoder.num_parameters()
    );

    let examples =
        Examples::render(tokenizer, &data.read_for(&config.train)?, &config.train, &|_| false)?;
    let mut parameters = training::all_parameters(&student)?;
    let mut objective: Box<dyn Objective + '_> = if arguments.without_teacher {
        Box::new(SupervisedObjective { chunk_rows: config.train.head_chunk_rows })
    } else {
        let seed = derive(options.seed, "distillation", 0);
        let distillation =
            DistillObjective::new(&teacher.decoder, &student, &config, seed, device)?;
        parameters.extend(distillation.parameters());
        Box::new(distillation)
    };
    training::train(
        name,
        &mut stage,
        options,
        &config.train,
        tokenizer,
        &student,
        parameters,
        &examples,
        objective.as_mut(),
    )?;
    drop(objective);
    stage.metric("parameters", student.num_parameters());
    stage.metric("parameter_share_of_teacher", ratio);
    training::save_model(&student, tokenizer, stage.folder())?;
    let manifest = stage.finish()?;
    announce(&manifest, &options.output, json)
}
