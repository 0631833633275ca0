//! `limbeck sft`: supervised fine-tuning, from scratch or from a model folder.

use anyhow::{Context as _, Result};
use limbeck_core::Tokenizer;
use limbeck_distill::StudentConfig;
use limbeck_run::config::{Invalid, Validate};
use limbeck_train::{SupervisedObjective, TrainConfig};
use serde::{Deserialize, Serialize};

use super::training::{self, Examples};
use super::{announce, stage_config};
use crate::cli::SftArguments;
use crate::dataset::DataFolder;
use crate::model_folder::ModelFolder;
use crate::stage::Stage;

/// The `[sft]` table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SftConfig {
    /// The shape of a model from scratch; unused with `--model`.
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
    let device = training::device(options)?;
    let data = DataFolder::new(&arguments.data);
    let start = arguments.model.as_deref().or(arguments.tokenizer.as_deref());
    let start = start.context("--model or --tokenizer")?;
    let mut inputs = data.inputs(&config.train)?;
    inputs.push(("start", start));
    let mut stage = Stage::begin("sft", options, serde_json::to_value(&config)?, &inputs)?;

    let ModelFolder { decoder, tokenizer } = if let Some(model) = &arguments.model {
        ModelFolder::open_for_training(model, options.device, config.train.compute_dtype)?
    } else {
        let tokenizer = Tokenizer::load(start)?;
        let mut decoder = config.model.build(&tokenizer, None, options.seed, device)?;
        decoder.set_compute_dtype(config.train.compute_dtype.kind());
        ModelFolder { decoder, tokenizer }
    };
    let examples =
        Examples::render(&tokenizer, &data.read_for(&config.train)?, &config.train, &|_| false)?;
    let mut objective = SupervisedObjective { chunk_rows: config.train.head_chunk_rows };
    let parameters = training::all_parameters(&decoder)?;
    training::train(
        "sft",
        &mut stage,
        options,
        &config.train,
        &tokenizer,
        &decoder,
        parameters,
        &examples,
        &mut objective,
    )?;
    stage.metric("parameters", decoder.num_parameters());
    training::save_model(&decoder, &tokenizer, stage.folder())?;
    let manifest = stage.finish()?;
    announce(&manifest, &options.output, json)
}
