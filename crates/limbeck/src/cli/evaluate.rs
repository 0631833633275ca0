//! The arguments of `limbeck evaluate`.

use std::path::PathBuf;

use clap::Args;
use limbeck_core::DType;

use super::{ProductOptions, StageOptions};

/// What `limbeck evaluate --help` says of tasks.
const HELP: &str = "\
A task is one of
  a file of records     JSONL, as limbeck data makes it: the answer is what follows the chain
  a TOML file           any JSON, JSONL or Parquet file, by a preset or by templates:
                          preset = \"gsm8k\"    # svamp, multiarith, math, bbh, pubmedqa, mmlu
                          data = \"test.jsonl\" # from the TOML file's folder
                          shots = 5
                          shot_data = \"train.jsonl\"
                        or, instead of a preset,
                          prompt = \"{{question}}\"
                          target = \"{{answer.split('####')[-1].strip()}}\"
                          choices = [\"yes\", \"no\"]
                          ask = \"choose\"      # rates the choices instead of asking for a reply
                          style = \"raw\"       # no chat template
                          judge = \"robust\"    # strict, filter
                          repeats = 4         # pass@k, maj@k
                          positive = \"yes\"    # recall, false-positive rate, precision, AUROC
  lm-eval's YAML        generate_until and multiple_choice, with filters and examples; data from
                        files (dataset_path: json)

A run that was killed goes on where it stood when it is started again.

Examples:
  limbeck evaluate --model student --task data/test.jsonl --output evaluation
  limbeck evaluate --model gemma-3-270m --task gsm8k.toml --set max_new_tokens=400 --output gsm8k
  limbeck evaluate --model student --teacher teacher --task data/test.jsonl --output evaluation
  limbeck evaluate --replies replies.jsonl --task gsm8k.toml --name theirs --output theirs";

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck evaluate --model student --task data/test.jsonl --output evaluation",
    after_long_help = HELP
)]
pub(crate) struct EvaluateArguments {
    /// The model folder
    #[arg(long, value_name = "DIR", required_unless_present = "replies")]
    pub(crate) model: Option<PathBuf>,
    /// PEFT adapters: DIR, or with --registry a version such as domain/medical
    #[arg(long, value_name = "DIR|REF")]
    pub(crate) adapter: Vec<PathBuf>,
    /// A registry of `limbeck adapters` to look adapters up in
    #[arg(long, value_name = "DIR")]
    pub(crate) registry: Option<PathBuf>,
    /// float32, bfloat16 or float16
    #[arg(long, default_value = "float32")]
    pub(crate) dtype: DType,
    #[command(flatten)]
    pub(crate) products: ProductOptions,
    /// Replies that were made elsewhere, to be judged alone: JSONL lines {"id","text"}, or
    /// lm-eval's samples
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "adapter", "against"])]
    pub(crate) replies: Option<PathBuf>,
    /// What the report calls the model [default: its folder's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Tasks to solve: records, a TOML file, or lm-eval's YAML
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) task: Vec<PathBuf>,
    /// The model that this one was made from: also measures how far its distributions are from
    /// that one's on the records' own chains
    #[arg(long, value_name = "DIR")]
    pub(crate) against: Option<PathBuf>,
    /// What the report calls it [default: its folder's name]
    #[arg(long, value_name = "NAME", requires = "against")]
    pub(crate) against_name: Option<String>,
    /// A model that is asked where wrong chains go wrong, if their text does not show it: by the
    /// likelihood of their steps, and by going on from them
    #[arg(long, value_name = "DIR")]
    pub(crate) teacher: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) stage: StageOptions,
}
