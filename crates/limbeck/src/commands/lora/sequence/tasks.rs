//! What a task is trained and tested on.

use anyhow::{Context as _, Result};
use limbeck_core::Tokenizer;
use limbeck_cot_data::{CotRecord, build_splits, read_jsonl};
use limbeck_lora::LoraConfig;
use limbeck_train::Example;

use super::config::TaskConfig;
use crate::dataset;

/// A task's examples and test problems.
pub(super) struct Task {
    pub(super) name: String,
    pub(super) train: Vec<Example>,
    pub(super) test: Vec<CotRecord>,
}

impl Task {
    pub(super) fn new(
        config: &TaskConfig,
        lora: &LoraConfig,
        tokenizer: &Tokenizer,
        seed: u64,
    ) -> Result<Self> {
        let context = || format!("task {}", config.name);
        let (train, test) = records(config, seed).with_context(context)?;
        let answer_only = |id: &str| lora.is_answer_only(seed, id);
        let train = dataset::examples(tokenizer, &train, &lora.train, &answer_only)
            .with_context(context)?;
        if train.is_empty() {
            let reason = "no record was left after rendering".to_owned();
            let error = limbeck_train::Error::EmptyDataset { reason };
            return Err(error).with_context(context);
        }
        if test.is_empty() {
            return Err(limbeck_evaluate::Error::NoRecords).with_context(context);
        }
        Ok(Self { name: config.name.clone(), train, test })
    }
}

/// Training and test records, which share no problem where they are generated.
fn records(config: &TaskConfig, seed: u64) -> Result<(Vec<CotRecord>, Vec<CotRecord>)> {
    let Some(folder) = &config.data else {
        let splits = build_splits(&config.generated(seed))?;
        for note in &splits.report.notes {
            tracing::warn!("task {}: {note}", config.name);
        }
        return Ok((splits.train, splits.test));
    };
    let read = |name: &str, most: usize| -> Result<Vec<CotRecord>> {
        let mut records = read_jsonl(&folder.join(name))?;
        records.truncate(most);
        Ok(records)
    };
    Ok((read("train.jsonl", config.num_train)?, read("test.jsonl", config.num_test)?))
}
