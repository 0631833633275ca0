//! `limbeck sft`: supervised fine-tuning, from scratch or from a model folder.

use std::path::Path;

use anyhow::{Context as _, Result};
use limbeck_core::{DeviceSpec, Tokenizer};
use limbeck_cot_data::CotRecord;
use limbeck_distill::{Init, Initialisation, Origin, Student, StudentConfig};
use limbeck_model::Decoder;
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
    let data = DataFolder::new(&arguments.data);
    let start = arguments.model.as_deref().or(arguments.tokenizer.as_deref());
    let start = start.context("--model or --tokenizer")?;
    let mut inputs = data.inputs(&config.train)?;
    inputs.push(("start", start));
    inputs.extend(training::student_input(&config.model));
    let mut stage = Stage::begin("sft", options, serde_json::to_value(&config)?, &inputs)?;

    let records = data.read_for(&config.train)?;
    let place = Place { device: options.device, seed: options.seed };
    let Start { decoder, tokenizer, examples, record } =
        start_model(&config, arguments.model.as_deref(), start, &records, place)?;
    if let Some(record) = record {
        record.write(stage.folder())?;
    }
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

/// A model before its training, and what it is trained on.
pub(super) struct Start {
    pub(super) decoder: Decoder,
    pub(super) tokenizer: Tokenizer,
    pub(super) examples: Examples,
    /// How the model was made, if it was not taken as it is.
    record: Option<Initialisation>,
}

/// The model of `model`, cut down if the configuration says so, or one from scratch or from
/// the configuration's folder, with the tokenizer of `start`.
pub(super) fn start_model(
    config: &SftConfig,
    model: Option<&Path>,
    start: &Path,
    records: &(Vec<CotRecord>, Vec<CotRecord>),
    place: Place,
) -> Result<Start> {
    let Place { device, seed } = place;
    let compute_dtype = config.train.compute_dtype;
    let (tokenizer, mut given) = match model {
        Some(model) => {
            let folder = ModelFolder::open_for_training(model, device, compute_dtype)?;
            (folder.tokenizer, Some(folder.decoder))
        }
        None => (Tokenizer::load(start)?, None),
    };
    let examples = Examples::render(&tokenizer, records, &config.train, &|_| false)?;
    if config.model.init == Init::Random
        && let Some(decoder) = given
    {
        return Ok(Start { decoder, tokenizer, examples, record: None });
    }
    let Student { mut decoder, record, .. } = config.model.build(Origin {
        tokenizer: &tokenizer,
        teacher: given.as_mut(),
        vocab_size: None,
        aligned: false,
        calibration: &config.model.calibration(&examples.train),
        seed,
        device: device.resolve()?,
    })?;
    decoder.set_compute_dtype(compute_dtype.kind());
    Ok(Start { decoder, tokenizer, examples, record: Some(record) })
}

/// Where a model goes, and what seeds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) device: DeviceSpec,
    pub(super) seed: u64,
}
