//! Records as training examples.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use limbeck_core::{Message, Tokenizer};
use limbeck_cot_data::CotRecord;
use limbeck_train::{Completion, Example, TrainConfig};
use rayon::prelude::*;

/// The files of a data folder.
pub(crate) struct DataFolder {
    pub(crate) train: PathBuf,
    pub(crate) validation: PathBuf,
}

impl DataFolder {
    /// `train.jsonl` and `validation.jsonl` of a folder made by `limbeck data build`, or
    /// one JSONL file without validation records.
    pub(crate) fn new(path: &Path) -> Self {
        if path.is_dir() {
            Self { train: path.join("train.jsonl"), validation: path.join("validation.jsonl") }
        } else {
            Self { train: path.to_owned(), validation: PathBuf::new() }
        }
    }

    /// The training and the validation records; validation may be absent.
    pub(crate) fn read(&self) -> Result<(Vec<CotRecord>, Vec<CotRecord>)> {
        let train = limbeck_cot_data::read_jsonl(&self.train).context("training data")?;
        let validation = if self.validation.exists() {
            limbeck_cot_data::read_jsonl(&self.validation).context("validation data")?
        } else {
            Vec::new()
        };
        Ok((train, validation))
    }
}

/// Renders the records, leaving out (and counting) those longer than `config.max_length`; those
/// that `answer_only` names by id are rendered as an answer without a chain.
pub(crate) fn examples(
    tokenizer: &Tokenizer,
    records: &[CotRecord],
    config: &TrainConfig,
    answer_only: &(dyn Fn(&str) -> bool + Sync),
) -> Result<Vec<Example>> {
    let rendered = render(tokenizer, records, config, answer_only)?;
    let examples: Vec<Example> = rendered.into_iter().flatten().collect();
    let too_long = records.len() - examples.len();
    if too_long > 0 {
        let max_length = config.max_length;
        tracing::warn!(
            too_long,
            of = records.len(),
            max_length,
            "records left out as too long or without weight"
        );
    }
    Ok(examples)
}

/// Each record as an example; nothing for one that is too long or without weight. On all
/// cores: a template and a tokenizer take a third of a millisecond for each.
pub(crate) fn render(
    tokenizer: &Tokenizer,
    records: &[CotRecord],
    config: &TrainConfig,
    answer_only: &(dyn Fn(&str) -> bool + Sync),
) -> Result<Vec<Option<Example>>> {
    let render = |record: &CotRecord| {
        let reasoning = record.reasoning();
        let completion = if answer_only(&record.id) {
            Completion::AnswerOnly { answer: &record.answer }
        } else {
            Completion::Chain { reasoning: &reasoning, answer: &record.answer }
        };
        let prompt = [Message::user(record.question.as_str())];
        match Example::render(
            tokenizer,
            &record.id,
            &prompt,
            completion,
            config.max_length,
            &config.weights,
        ) {
            Ok(example) => Ok(Some(example)),
            Err(limbeck_train::Error::EmptyMask { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    records.par_iter().map(render).collect()
}
