//! `limbeck sft`: supervised fine-tuning, from scratch or from a model folder.

use anyhow::{Context as _, Result};
use limbeck_core::Tokenizer;
use limbeck_distill::{Init, Origin, Student, StudentConfig};
use limbeck_run::config::{Invalid, Validate};
use limbeck_train::{ParameterGroup, SupervisedObjective, TrainConfig};
use serde::{Deserialize, Serialize};

use super::training::{self, Examples};
use super::{announce, stage_config};
use crate::cli::{SftArguments, UsageError};
use crate::dataset::DataFolder;
use crate::model_folder::ModelFolder;
use crate::stage::Stage;

/// The `[sft]` table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SftConfig {
    /// How the model is made: of the given shape with `--tokenizer`; with `--model` unused,
    /// but for `teacher_layers` and `width_sliced`, which cut that one down.
    pub(crate) model: StudentConfig,
    /// The training.
    pub(crate) train: TrainConfig,
}

impl Validate for SftConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        self.model.validate().map_err(|invalid| invalid.within("model"))?;
        self.train.validate().map_err(|invalid| invalid.within("train"))
    }
}

pub(crate) fn run(arguments: &SftArguments, json: bool) -> Result<()> {
    let options = &arguments.stage;
    let mut config: SftConfig = stage_config(options)?;
    config.train.mix.resolve_reference()?;
    if arguments.model.is_some() && config.model.init == Init::Folder {
        return Err(UsageError {
            message: "--model and model.init = \"folder\" name two models".to_owned(),
            hint: "give --tokenizer beside model.path, or --model alone".to_owned(),
        }
        .into());
    }
    let device = training::device(options)?;
    let data = DataFolder::new(&arguments.data);
    let start = arguments.model.as_deref().or(arguments.tokenizer.as_deref());
    let start = start.context("--model or --tokenizer")?;
    let mut inputs = data.inputs(&config.train)?;
    inputs.push(("start", start));
    inputs.extend(training::student_input(&config.model));
    let mut stage = Stage::begin("sft", options, serde_json::to_value(&config)?, &inputs)?;

    let compute_dtype = config.train.compute_dtype;
    let (tokenizer, start) = match &arguments.model {
        Some(model) => {
            let folder = ModelFolder::open_for_training(model, options.device, compute_dtype)?;
            (folder.tokenizer, Some(folder.decoder))
        }
        None => (Tokenizer::load(start)?, None),
    };
    let examples =
        Examples::render(&tokenizer, &data.read_for(&config.train)?, &config.train, &|_| false)?;
    let decoder = match (start, config.model.init) {
        (Some(decoder), Init::Random) => decoder,
        (mut start, _) => {
            let Student { mut decoder, record, .. } = config.model.build(Origin {
                tokenizer: &tokenizer,
                teacher: start.as_mut(),
                vocab_size: None,
                aligned: false,
                calibration: &config.model.calibration(&examples.train),
                seed: options.seed,
                device,
            })?;
            record.write(stage.folder())?;
            decoder.set_compute_dtype(compute_dtype.kind());
            decoder
        }
    };
    let mut objective = SupervisedObjective { chunk_rows: config.train.head_chunk_rows };
    let parameters = training::all_parameters(&decoder)?;
    training::train(
        "sft",
        &mut stage,
        options,
        &config.train,
        &tokenizer,
        &decoder,
        (vec![ParameterGroup::all(parameters)], None),
        &examples,
        &mut objective,
    )?;
    stage.metric("parameters", decoder.num_parameters());
    training::save_model(&decoder, &tokenizer, stage.folder())?;
    let manifest = stage.finish()?;
    announce(&manifest, &options.output, json)
}
