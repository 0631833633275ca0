//! `limbeck tokenizer`: a byte-level BPE tokenizer from records.

use anyhow::Result;
use limbeck_core::Tokenizer;
use limbeck_core::tokenizer_training::{TokenizerConfig, train};

use super::{announce, stage_config};
use crate::cli::TokenizerCommand;
use crate::dataset::DataFolder;
use crate::stage::Stage;

pub(crate) fn run(command: TokenizerCommand, json: bool) -> Result<()> {
    let TokenizerCommand::Train { data, stage: options } = command;
    let config: TokenizerConfig = stage_config(&options)?;
    let data = DataFolder::new(&data);
    let inputs = [("train", data.train.as_path())];
    let mut stage = Stage::begin("tokenizer", &options, serde_json::to_value(&config)?, &inputs)?;
    let (records, _) = data.read()?;
    let texts: Vec<String> = records
        .iter()
        .map(|record| {
            // With the roles' names: the template writes them into every conversation.
            let (question, answer) = (&record.question, &record.answer);
            format!("user\n{question}\nassistant\n{}\n\n{answer}", record.reasoning())
        })
        .collect();
    train(texts.iter().map(String::as_str), &config, stage.folder())?;
    let tokenizer = Tokenizer::load(stage.folder())?;
    stage.metric("vocab_size", tokenizer.vocab_size());
    let manifest = stage.finish()?;
    announce(&manifest, &options.output, json)
}
