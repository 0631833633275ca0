//! `limbeck check-config`: a pipeline's configuration validated before any work, every
//! table by the type of the stage that will read it.

use anyhow::Result;
use limbeck_core::tokenizer_training::TokenizerConfig;
use limbeck_distill::DistillConfig;
use limbeck_evaluate::{EvaluateConfig, GatesConfig};
use limbeck_lora::LoraConfig;
use limbeck_run::config::{Invalid, Validate, apply_overrides, load_table, parse};
use serde::{Deserialize, Serialize};

use super::data::DataTable;
use super::quantize::QuantizeTable;
use super::sft::SftConfig;
use crate::cli::CheckConfigArguments;

/// A whole file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PipelineConfig {
    /// What concerns all stages; the orchestrator's, and checked by it.
    pipeline: serde_json::Map<String, serde_json::Value>,
    data: DataTable,
    tokenizer: TokenizerConfig,
    sft: SftConfig,
    distill: DistillConfig,
    lora: LoraConfig,
    /// Records of a domain's own; the domain itself is the command line's.
    domain_data: DataTable,
    /// The adapters for them.
    domain_lora: LoraConfig,
    quantize: QuantizeTable,
    evaluate: EvaluateConfig,
    gates: GatesConfig,
}

impl Validate for PipelineConfig {
    fn validate(&self) -> std::result::Result<(), Invalid> {
        let tables: [(&str, &dyn Validate); 10] = [
            ("data", &self.data),
            ("tokenizer", &self.tokenizer),
            ("sft", &self.sft),
            ("distill", &self.distill),
            ("lora", &self.lora),
            ("domain_data", &self.domain_data),
            ("domain_lora", &self.domain_lora),
            ("quantize", &self.quantize),
            ("evaluate", &self.evaluate),
            ("gates", &self.gates),
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
