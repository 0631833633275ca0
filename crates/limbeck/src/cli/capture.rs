//! The arguments of `limbeck capture`.

use std::path::PathBuf;

use clap::Args;
use limbeck_core::{DType, DeviceSpec};
use limbeck_cot_data::Shard;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  limbeck capture --teacher fixtures/teacher --data data --output capture\n  limbeck capture --teacher fixtures/teacher --data data --output capture --shard 1/4\n  limbeck capture --teacher fixtures/teacher --data data --output capture --verify"
)]
pub(crate) struct CaptureArguments {
    /// The teacher's model folder
    #[arg(long, value_name = "DIR")]
    pub(crate) teacher: PathBuf,
    /// PEFT adapters to attach to the teacher: folders or, with --registry, versions such as
    /// domain/medical
    #[arg(long, value_name = "DIR|REF")]
    pub(crate) adapter: Vec<PathBuf>,
    /// A registry of `limbeck adapters` to look adapters up in
    #[arg(long, value_name = "DIR")]
    pub(crate) registry: Option<PathBuf>,
    /// JSONL records, or a folder with train.jsonl and validation.jsonl
    #[arg(long, value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// The folder of the capture; a run on one that exists captures what is missing
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// Tokens kept at each position; the others' mass is kept as one
    #[arg(long, value_name = "K", default_value_t = 50)]
    pub(crate) top_k: usize,
    /// T of the distributions; a capture serves this one only
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    pub(crate) temperature: f64,
    /// Capture every N-th part of the data from the I-th, counted from 0, into a file of
    /// its own
    #[arg(long, value_name = "I/N", default_value = "0/1")]
    pub(crate) shard: Shard,
    /// Leave out records of more tokens, as training does with its `max_length`
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    pub(crate) max_length: usize,
    /// Positions of one forward pass, padding included
    #[arg(long, value_name = "TOKENS", default_value_t = 4096)]
    pub(crate) micro_batch_tokens: usize,
    /// Read a finished capture whole, and ask the teacher again about some of it
    #[arg(long, conflicts_with_all = ["top_k", "temperature", "shard"])]
    pub(crate) verify: bool,
    /// Records about which --verify asks the teacher again, at least
    #[arg(long, value_name = "N", default_value_t = 32, requires = "verify")]
    pub(crate) sample: usize,
    /// float32, bfloat16 or float16
    #[arg(long, default_value = "float32")]
    pub(crate) dtype: DType,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub(crate) device: DeviceSpec,
}
