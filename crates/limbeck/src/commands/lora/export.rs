//! `limbeck lora export`: adapters for other readers.

use anyhow::Result;
use limbeck_core::{DType, DeviceSpec};
use limbeck_lora::{Adapter, AdapterWeights};
use limbeck_run::OutputDir;
use serde_json::json;
use tch::Device;

use crate::cli::{LoraExportArguments, UsageError};
use crate::model_folder::ModelFolder;

pub(crate) fn run(arguments: &LoraExportArguments, json: bool) -> Result<()> {
    let folder = &arguments.adapter;
    let mut weights = match &arguments.model {
        Some(model) => {
            let ModelFolder { mut decoder, .. } =
                ModelFolder::open(model, &[], DeviceSpec::Cpu, DType::Float32)?;
            Adapter::load(&mut decoder, folder)?.to_weights()?
        }
        None => AdapterWeights::read(folder, Device::Cpu)?,
    };
    if arguments.portable {
        weights = weights.portable()?;
    }
    let largest = weights.modules.iter().map(|module| module.plan.rank.get()).max();
    if let (Some(largest), Some(limit)) = (largest, arguments.max_rank)
        && largest > limit
    {
        return Err(UsageError {
            message: format!("the adapter's rank is {largest}, --max-rank allows {limit}"),
            hint: "limbeck lora combine --method svd --svd-rank N makes one of rank N".to_owned(),
        }
        .into());
    }
    let output = OutputDir::create(&arguments.output)?;
    weights.write(output.path())?;
    output.commit()?;
    announce(&weights, &arguments.output, json);
    Ok(())
}

/// Says what was written.
pub(super) fn announce(weights: &AdapterWeights, output: &std::path::Path, json: bool) {
    let (modules, rank) = (weights.modules.len(), weights.config.rank.get());
    if json {
        println!("{}", json!({ "output": output, "modules": modules, "rank": rank }));
    } else {
        tracing::info!("{}: {modules} modules of rank {rank}", output.display());
    }
}
