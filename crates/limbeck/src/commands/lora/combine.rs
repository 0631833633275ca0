//! `limbeck lora combine`: one adapter of several.

use anyhow::Result;
use limbeck_lora::{AdapterWeights, CombineConfig, Rank, combine};
use limbeck_run::OutputDir;
use serde::de::DeserializeOwned;
use tch::Device;

use crate::cli::{CombineArguments, UsageError};

pub(crate) fn run(arguments: &CombineArguments, json: bool) -> Result<()> {
    let folders = &arguments.adapter;
    let mut weights = arguments.weight.clone();
    if weights.is_empty() {
        weights.resize(folders.len(), 1.0);
    }
    if weights.len() != folders.len() {
        return Err(UsageError {
            message: format!("{} adapters and {} weights", folders.len(), weights.len()),
            hint: "give --weight a number for each --adapter".to_owned(),
        }
        .into());
    }
    let config = CombineConfig {
        method: named("--method", &arguments.method)?,
        svd_rank: arguments.svd_rank.map(Rank::new).transpose()?,
        density: arguments.density,
        majority_sign: named("--majority-sign", &arguments.majority_sign)?,
        seed: arguments.seed,
    };
    let adapters = folders
        .iter()
        .zip(weights)
        .map(|(folder, weight)| Ok((AdapterWeights::read(folder, Device::Cpu)?, weight)))
        .collect::<Result<Vec<_>>>()?;
    let combined = combine(&adapters, &config)?;
    let output = OutputDir::create(&arguments.output)?;
    combined.write(output.path())?;
    output.commit()?;
    super::export::announce(&combined, &arguments.output, json);
    Ok(())
}

/// A value by the name that configurations give it.
fn named<T: DeserializeOwned>(option: &str, name: &str) -> Result<T> {
    serde_json::from_value(name.into()).map_err(|error| {
        let hint = format!("{error}");
        UsageError { message: format!("{option} {name}: no such name"), hint }.into()
    })
}
