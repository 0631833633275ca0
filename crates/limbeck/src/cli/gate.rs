//! The arguments of `limbeck gate`.

use std::path::PathBuf;

use clap::Args;

use super::StageOptions;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck gate --config gates.toml --input runs/default/evaluate/quantized --reference runs/default/evaluate/tuned --keep runs/default/quantized --output runs/default/gates\n\ngates.toml:\n  rule = \"shown\"          # or \"value\": whatever the interval\n  [models.gptq-4bit]\n  max_accuracy_drop = 2.0  # points below the reference\n  min_completion = 90.0\n  max_memory_bytes = 1000000000\n\nEnds with 5 where a limit is broken; gates-failed.json beside the output then holds the figures."
)]
pub(crate) struct GateArguments {
    /// Evaluations to hold against the limits
    #[arg(long, value_name = "DIR", required = true, num_args = 1..)]
    pub(crate) input: Vec<PathBuf>,
    /// Evaluations that drops are from: the first, unless a table of the configuration names
    /// another, or one of --input
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub(crate) reference: Vec<PathBuf>,
    /// Folders, such as the models', to keep as the last good result when all limits are kept
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub(crate) keep: Vec<PathBuf>,
    /// Where to keep them [default: last-good beside the output]
    #[arg(long, value_name = "DIR")]
    pub(crate) last_good: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) stage: StageOptions,
}
