//! `limbeck check-config`: a pipeline's configuration validated before any work, every
//! table by the type of the stage that will read it.

use anyhow::Result;
use limbeck_core::tokenizer_training::TokenizerConfig;
use limbeck_core::{DType, DeviceSpec};
use limbeck_distill::DistillConfig;
use limbeck_evaluate::EvaluateConfig;
use limbeck_lora::LoraConfig;
use limbeck_quant::QuantizeConfig;
use limbeck_run::config::{Invalid, Validate, apply_overrides, load_table, parse};
use serde::{Deserialize, Serialize};

use super::data::DataTable;
use super::sft::SftConfig;
use crate::cli::CheckConfigArguments;

/// The `[pipeline]` table: what concerns all stages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PipelineTable {
    /// The run's name. Default `default`.
    name: String,
    /// The run's folder, relative to the repository. Default `runs/default`.
    output: String,
    /// The teacher's model folder. Default `fixtures/teacher`.
    teacher: String,
    /// Seeds every stage. Default 0.
    seed: u64,
    /// auto, cpu, cuda or cuda:N. Default `cpu`.
    device: DeviceSpec,
    /// Dtype that evaluation computes in. Default `float32`.
    dtype: DType,
}

impl Default for PipelineTable {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            output: "runs/default".to_owned(),
            teacher: "fixtures/teacher".to_owned(),
            seed: 0,
            device: DeviceSpec::Cpu,
            dtype: DType::Float32,
        }
    }
}

/// A whole file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PipelineConfig {
    pipeline: PipelineTable,
    data: DataTable,
    tokenizer: TokenizerConfig,
    sft: SftConfig,
    distill: DistillConfig,
    lora: LoraConfig,
    quantize: QuantizeConfig,
    evaluate: EvaluateConfig,
}

impl Validate for PipelineConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        let tables: [(&str, &dyn Validate); 7] = [
            ("data", &self.data),
            ("tokenizer", &self.tokenizer),
            ("sft", &self.sft),
            ("distill", &self.distill),
            ("lora", &self.lora),
            ("quantize", &self.quantize),
            ("evaluate", &self.evaluate),
        ];
        for (name, table) in tables {
            table.validate().map_err(|invalid| invalid.within(name))?;
        }
        Ok(())
    }
}

pub(crate) fn run(arguments: &CheckConfigArguments) -> Result<()> {
    let mut table = load_table(Some(&arguments.file))?;
    apply_overrides(&mut table, &arguments.set)?;
    let source = arguments.file.display().to_string();
    let config: PipelineConfig = parse(&table, &source)?;
    println!("{}", serde_json::to_string_pretty(&config)?);
    Ok(())
}
