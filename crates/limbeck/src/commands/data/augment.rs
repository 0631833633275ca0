//! `limbeck data augment`: chains from a model behind an endpoint.

use anyhow::Result;
use limbeck_cot_data::{AugmentConfig, Augmentation, ObjectWriter, RecordWriter};
use limbeck_run::Progress;
use limbeck_run::config::{Invalid, Validate};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::part::{is_done, shard};
use super::{conclude, table};
use crate::cli::AugmentArguments;

/// cot-data's configuration with the interface of the others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct AugmentTable(AugmentConfig);

impl Validate for AugmentTable {
    /// Model and endpoint may come from the command line; all is looked at when both are
    /// known.
    fn validate(&self) -> std::result::Result<(), Invalid> {
        Ok(())
    }
}

pub(crate) fn run(arguments: &AugmentArguments, json: bool) -> Result<()> {
    let output = &arguments.output;
    let beside = |given: &Option<_>, name: &str| {
        given.clone().unwrap_or_else(|| output.with_file_name(name))
    };
    let journal = beside(&arguments.journal, "journal.jsonl");
    let (config, shard) = (config(arguments)?, shard(&arguments.part)?);
    if arguments.plan {
        let plan = Augmentation::preview(&config, &arguments.input, shard, &journal)?;
        return conclude(&plan, &journal, json);
    }
    if is_done(&arguments.part, output, json)? {
        return Ok(());
    }
    let mut augmentation = Augmentation::open(config, &arguments.input, shard, &journal)?;
    let plan = augmentation.plan()?;
    tracing::info!(
        "{} of {} samples are missing: about {} tokens of prompts and {} of replies, at a cost of \
         about {:.2}, at most {:.2}",
        plan.num_missing,
        plan.num_samples,
        plan.prompt_tokens,
        plan.completion_tokens,
        plan.cost,
        plan.max_cost
    );
    let progress = Progress::new("augment", plan.num_samples, "samples");
    progress.skip(plan.num_done);
    let account = augmentation.sample(|reached| {
        let account = reached.account;
        progress.set_message(format!(
            "{} given up, {} made again, cost {:.2}",
            account.num_failed, account.num_retries, account.cost
        ));
        progress.inc(1);
    })?;
    progress.finish();
    if account.num_failed > 0 {
        tracing::warn!(
            "{} requests were given up; the same command asks again",
            account.num_failed
        );
    }
    let mut writer = RecordWriter::create(output)?;
    let mut list = ObjectWriter::create(&beside(&arguments.rejected, "rejected.jsonl"))?;
    let report = augmentation.select(
        |record| writer.write(&record),
        |sample, outcome| match json!({ "outcome": outcome, "sample": sample }) {
            Value::Object(map) => list.write(&map),
            _ => Ok(()),
        },
    )?;
    writer.finish()?;
    list.finish()?;
    conclude(&json!({ "plan": plan, "account": account, "selected": report }), output, json)
}

fn config(arguments: &AugmentArguments) -> Result<AugmentConfig> {
    let AugmentTable(mut config) = table(arguments.config.as_deref(), &arguments.set)?;
    if let Some(url) = &arguments.url {
        config.url.clone_from(url);
    }
    if let Some(model) = &arguments.model {
        config.model.clone_from(model);
    }
    Ok(config)
}
