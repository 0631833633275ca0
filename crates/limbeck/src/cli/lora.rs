//! The arguments of `limbeck lora`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::StageOptions;

/// What `limbeck lora train --help` ends with.
const TRAIN_HELP: &str = "\
Examples:
  limbeck lora train --model student --data medical --output medical-adapter
  limbeck lora train --model student --data medical --replay data --output medical-adapter
  limbeck lora train --model student --sequence configs/continual.toml --output continual

A sequence's folder has sequence.json, sequence.md and sequence.svg; a run that was killed
continues after the last task it finished.";

#[derive(Debug, Subcommand)]
pub(crate) enum LoraCommand {
    /// Train an adapter, or adapters for task after task
    #[command(after_help = TRAIN_HELP)]
    Train {
        /// The base model's folder
        #[arg(long, value_name = "DIR")]
        model: PathBuf,
        /// JSONL records, or a folder with train.jsonl and validation.jsonl
        #[arg(long, value_name = "PATH", required_unless_present = "sequence")]
        data: Option<PathBuf>,
        /// Records of earlier tasks, as --data, for a share of the micro-batches (`replay.share`)
        #[arg(long, value_name = "PATH", num_args = 1..)]
        replay: Vec<PathBuf>,
        /// Tasks and methods as TOML: learn task after task, merging each adapter, and tell
        /// what was forgotten
        #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "replay", "config"])]
        sequence: Option<PathBuf>,
        #[command(flatten)]
        stage: StageOptions,
    },
    /// Merge an adapter into its base
    Merge(MergeArguments),
    /// Rewrite an adapter so that every reader computes the same with it
    Export(ExportArguments),
    /// Make one adapter of several
    Combine(CombineArguments),
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  limbeck lora merge --model student --adapter adapter --output tuned\n  limbeck lora merge --model student --registry adapters --adapter domain/medical --output medical"
)]
pub(crate) struct MergeArguments {
    /// The base model's folder
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// The adapter's folder or, with --registry, a version such as domain/medical
    #[arg(long, value_name = "DIR|REF")]
    pub(crate) adapter: PathBuf,
    /// A registry of `limbeck adapters` to look the adapter up in
    #[arg(long, value_name = "DIR")]
    pub(crate) registry: Option<PathBuf>,
    /// JSONL to measure perplexities on, where base or adapter stand on rounded weights
    /// [default: a few lines of text]
    #[arg(long, value_name = "FILE")]
    pub(crate) data: Option<PathBuf>,
    /// JSONL to pack a 4- or 8-bit base again by, with GPTQ [default: round to nearest]
    #[arg(long, value_name = "FILE")]
    pub(crate) calibration: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) stage: StageOptions,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  limbeck lora export --portable --adapter medical --output medical-portable\n  limbeck lora export --model base --adapter pissa-from-peft --output plain"
)]
pub(crate) struct ExportArguments {
    /// The adapter's folder
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: PathBuf,
    /// Its base: the adapter is checked against it, and one over what `PiSSA` left of the base
    /// becomes one over the base itself
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Fold scales into B, with alpha equal to the rank, one rank and no patterns
    #[arg(long)]
    pub(crate) portable: bool,
    /// Refuse a larger rank, which a server with this `max_lora_rank` would
    #[arg(long, value_name = "N")]
    pub(crate) max_rank: Option<i64>,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck lora combine --adapter medical legal --weight 1 0.5 --method cat --output both"
)]
pub(crate) struct CombineArguments {
    /// The adapters' folders
    #[arg(long, value_name = "DIR", num_args = 1.., required = true)]
    pub(crate) adapter: Vec<PathBuf>,
    /// A weight for each [default: 1]
    #[arg(long, value_name = "NUMBER", num_args = 1.., allow_negative_numbers = true)]
    pub(crate) weight: Vec<f64>,
    /// cat (exact), svd, linear, ties, `ties_svd`, `dare_linear`, `dare_ties`,
    /// `dare_linear_svd` or `dare_ties_svd`
    #[arg(long, default_value = "cat")]
    pub(crate) method: String,
    /// Share of the entries that TIES and DARE keep
    #[arg(long, default_value_t = 0.5)]
    pub(crate) density: f64,
    /// The sign that TIES elects: total or frequency
    #[arg(long, default_value = "total")]
    pub(crate) majority_sign: String,
    /// Rank of the methods that approximate [default: the largest]
    #[arg(long, value_name = "N")]
    pub(crate) svd_rank: Option<i64>,
    /// Decides what DARE drops
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// The folder to make
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
}
