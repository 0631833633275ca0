//! The arguments of `limbeck analyze`.

use std::path::PathBuf;

use clap::Args;
use limbeck_core::{DType, DeviceSpec};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  limbeck analyze --input evaluation/samples.jsonl --output chains.jsonl\n  limbeck analyze --input wrong.jsonl --model fixtures/teacher --rollouts 4 --output chains.jsonl",
    after_long_help = "\
A line of the input is a record of `limbeck data`, a sample of `limbeck evaluate`, a problem with
several models' solutions as GSM8K publishes them, a line of ProcessBench, or any object with
  question (problem, prompt)          the problem
  reasoning (solution, response, …)   the chain: a text, with <think> marks or without, or a list
  answer, expected, is_correct, label, finish_reason, domain, id    as far as they are known

A chain is checked by its text first. With --model, where the text tells nothing of a chain that
may be wrong, the first step is taken that the model finds much less likely than those before it,
and with --rollouts, where that tells nothing either and the right answer is known, the first from
which the model no longer arrives.

Examples:
  limbeck analyze --input evaluation/samples.jsonl --output chains.jsonl
  limbeck analyze --input wrong.jsonl --model fixtures/teacher --rollouts 4 --output chains.jsonl"
)]
pub(crate) struct AnalyzeArguments {
    /// The chains: JSONL, which zstd or gzip may have compressed, or Parquet
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// JSONL lines {"id","steps","breakpoint","repeating","closed","consistent",…}
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// A model that knows the matter, such as the teacher
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Continuations drawn from each step that is tried; 0 for none
    #[arg(long, value_name = "K", default_value_t = 0, requires = "model")]
    pub(crate) rollouts: usize,
    /// How much less likely than those before it, by its least likely token, a step must be to be
    /// taken for wrong; 0 not to rate steps
    #[arg(long, value_name = "NATS", default_value_t = 5.0, requires = "model")]
    pub(crate) drop: f64,
    /// Temperature of the continuations; 0 for the likeliest one
    #[arg(long, default_value_t = 0.7)]
    pub(crate) temperature: f64,
    /// The longest continuation, in tokens
    #[arg(long, default_value_t = 256)]
    pub(crate) max_new_tokens: usize,
    /// Judge every chain as if nobody knew whether its answer is right
    #[arg(long)]
    pub(crate) blind: bool,
    /// float32, bfloat16 or float16
    #[arg(long, default_value = "float32")]
    pub(crate) dtype: DType,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub(crate) device: DeviceSpec,
    /// Seeds the continuations
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}
