//! The arguments, and nothing else.

mod adapters;
mod analyze;
mod capture;
mod data;
mod evaluate;
mod gate;
mod history;
mod lora;

use std::fmt;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use limbeck_core::{DType, DeviceSpec};
use limbeck_model::gguf::TensorType;
use limbeck_run::{Diagnose, Exit};

pub(crate) use adapters::{AdaptersArguments, AdaptersCommand, PublishArguments};
pub(crate) use analyze::AnalyzeArguments;
pub(crate) use capture::CaptureArguments;
pub(crate) use data::{
    AugmentArguments, Chains, CleanArguments, CurriculumName, DataCommand, ExportArguments,
    GenerateRecordsArguments, ImportArguments, NegativesArguments, PartOptions, StratifyArguments,
    VariantsArguments,
};
pub(crate) use evaluate::EvaluateArguments;
pub(crate) use gate::GateArguments;
pub(crate) use history::{HistoryArguments, HistoryCommand};
pub(crate) use lora::{
    CombineArguments, ExportArguments as LoraExportArguments, LoraCommand, MergeArguments,
};

/// Distil, tune, quantise, evaluate and run small reasoning models.
#[derive(Debug, Parser)]
#[command(
    name = "limbeck",
    version,
    about,
    after_help = "Example:\n  limbeck generate --model fixtures/teacher --input prompts.jsonl --output replies.jsonl"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print machine-readable results on stdout
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log more (`LIMBECK_LOG` takes a filter such as `limbeck_train=debug`)
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Threads of libtorch [default: all cores; one for a server of a model below 4 MB]
    #[arg(long, global = true, value_name = "N")]
    pub(crate) threads: Option<i32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make and inspect chain-of-thought records
    #[command(subcommand)]
    Data(DataCommand),
    /// Train a byte-level BPE tokenizer
    #[command(subcommand)]
    Tokenizer(TokenizerCommand),
    /// Train on records: from scratch, or from a model folder
    Sft(SftArguments),
    /// Look for a learning rate: short steps at growing rates, nothing kept
    LrFind(LrFindArguments),
    /// Train a small student from a teacher's distributions
    Distill(DistillArguments),
    /// Keep a teacher's distributions on disk, to distil from them any number of times
    Capture(CaptureArguments),
    /// Train and merge LoRA adapters
    #[command(subcommand)]
    Lora(LoraCommand),
    /// Publish, promote and roll back adapters in a registry
    Adapters(AdaptersArguments),
    /// Quantise a model's linear layers
    Quantize(QuantizeArguments),
    /// Measure accuracy, chains and cost on records
    Evaluate(EvaluateArguments),
    /// Find where chains of thought go wrong
    Analyze(AnalyzeArguments),
    /// Join evaluations into one table and one page
    Report(ReportArguments),
    /// Hold evaluations against limits; keep the last result that passes
    Gate(GateArguments),
    /// Keep runs in a database and draw their trends
    History(HistoryArguments),
    /// Compare ways of training one student, over several seeds
    Ablation(AblationArguments),
    /// Complete prompts or conversations
    Generate(GenerateArguments),
    /// Log-probabilities of given texts or tokens
    Score(ScoreArguments),
    /// Time reading and generating with a model
    Bench(BenchArguments),
    /// Serve a model over HTTP, as OpenAI's API
    Serve(ServeArguments),
    /// Convert between model formats
    Convert(ConvertArguments),
    /// Validate a pipeline's configuration and print it resolved
    CheckConfig(CheckConfigArguments),
}

/// What every command that makes a folder takes.
#[derive(Debug, Args)]
pub(crate) struct StageOptions {
    /// The table of this stage, as TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Override a key of the configuration, such as `train.steps=100`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The folder to make; written aside and renamed when complete
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub(crate) device: DeviceSpec,
    /// Seeds initialisation, order and sampling
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Identifies this stage in a pipeline [default: hash of configuration and inputs]
    #[arg(long, value_name = "HEX", hide = true)]
    pub(crate) fingerprint: Option<String>,
}

/// Where and how precisely a model runs.
#[derive(Debug, Args)]
pub(crate) struct ModelOptions {
    /// The model folder
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// PEFT adapters: DIR, or with --registry a version such as domain/medical, is attached for
    /// all requests; NAME=DIR, in generate and score, is for the lines that name it under
    /// "adapters"
    #[arg(long, value_name = "[NAME=]DIR|REF")]
    pub(crate) adapter: Vec<PathBuf>,
    /// A registry of `limbeck adapters` to look adapters up in
    #[arg(long, value_name = "DIR")]
    pub(crate) registry: Option<PathBuf>,
    /// float32, bfloat16 or float16
    #[arg(long, default_value = "float32")]
    pub(crate) dtype: DType,
    #[command(flatten)]
    pub(crate) products: ProductOptions,
}

/// How products with packed weights are made.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct ProductOptions {
    /// Round what packed weights are multiplied with to 8 bits, as llama.cpp does: faster on the
    /// CPU, most of all for many requests, and not quite the same model
    #[arg(long)]
    pub(crate) int8_activations: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenizerCommand {
    /// Train on the questions, chains and answers of a file
    Train {
        /// JSONL records, or a folder with train.jsonl
        #[arg(long, value_name = "PATH")]
        data: PathBuf,
        #[command(flatten)]
        stage: StageOptions,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SftArguments {
    /// A model folder to go on from [default: the configuration's shape, from scratch]
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// The tokenizer's folder, for a model from scratch
    #[arg(long, value_name = "DIR", required_unless_present = "model")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// JSONL records, or a folder with train.jsonl and validation.jsonl
    #[arg(long, value_name = "PATH")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) stage: StageOptions,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck lr-find --model base --data data --set train.optimizer=adafactor --plot rates.svg\n\nThe suggestion is the smaller of two rates: the one at which the smoothed loss falls fastest, and a tenth of the one at which it is least."
)]
pub(crate) struct LrFindArguments {
    /// A model folder to go on from [default: the configuration's shape, from scratch]
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// The tokenizer's folder, for a model from scratch
    #[arg(long, value_name = "DIR", required_unless_present = "model")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// JSONL records, or a folder with train.jsonl
    #[arg(long, value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// The table of `limbeck sft`, as TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Override a key of the configuration, such as `train.optimizer=adafactor`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The first rate
    #[arg(long, default_value_t = 1e-6)]
    pub(crate) lowest: f64,
    /// The last rate, unless the loss has grown to four times its least before
    #[arg(long, default_value_t = 1.0)]
    pub(crate) highest: f64,
    /// Steps from the first to the last
    #[arg(long, default_value_t = 100)]
    pub(crate) steps: u64,
    /// Draw loss over rate into this file
    #[arg(long, value_name = "SVG")]
    pub(crate) plot: Option<PathBuf>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub(crate) device: DeviceSpec,
    /// Seeds initialisation and order
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

/// What `limbeck distill --help` says of the configuration.
const DISTILL_HELP: &str = "\
The loss of a step, in the keys of the configuration:
  (1 - kd_weight) cross-entropy + kd_weight temperature^2 divergence
  + hidden_weight hidden states + attention_weight attention + relations.weight relations

divergence            what it does to the student
  forward_kl          covers all that the teacher may say (default)
  reverse_kl          says only what the teacher would
  jsd                 between the two, at jsd_beta
  skew_kl, skew_reverse_kl  the same with bounded gradients (DistiLLM), at skew
  contrastive         DistiLLM-2: skew_kl on data, skew_reverse_kl on its own text
  total_variation     no position counts for more than 1
  sorted_l1           how sure the teacher is, whatever of (ULD)
top_k, tail           only the teacher's likeliest tokens; the rest as one bucket,
                      truncated or renormalised
compat = \"trl\"        TRL's conventions: no temperature^2

teacher               where it comes from
  live                in memory; a 4- or 8-bit folder will do (default)
  captured            its likeliest tokens on disk: --capture, or captured first
  sequence            its own replies to the questions; right ones are kept
  http                replies of an OpenAI-compatible endpoint ([http])
on_policy.share       share of the steps on the student's own replies (GKD)
alignment = \"byte_offsets\"  a student with other tokens than the teacher's

hidden_loss, layer_map, match_embeddings    hidden states
attention_map, attention_heads              attention: mean, gradient or entropy
relations.kinds, relations.heads            MiniLM (value), MiniLMv2 (query, key, value)
train.weights         what tokens of the chain, the answer and the template count
student.init          random, teacher_layers, width_sliced or folder

Examples:
  limbeck distill --teacher fixtures/teacher --data data --config distill.toml --output student
  limbeck distill --teacher big --data data --set student.init=teacher_layers --output half
  limbeck distill --teacher big --capture captured --data data --set teacher=captured \\
    --set hidden_weight=0 --set attention_weight=0 --output student";

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck distill --teacher fixtures/teacher --data data --config distill.toml --output student",
    after_long_help = DISTILL_HELP
)]
pub(crate) struct DistillArguments {
    /// The teacher's model folder: its tokenizer, and its weights where they are needed
    #[arg(long, value_name = "DIR")]
    pub(crate) teacher: PathBuf,
    /// Folders or files of `limbeck capture`, instead of the teacher's weights
    #[arg(long, value_name = "PATH")]
    pub(crate) capture: Vec<PathBuf>,
    /// JSONL records, or a folder with train.jsonl and validation.jsonl
    #[arg(long, value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// Train the same student for the same steps without the teacher
    #[arg(long)]
    pub(crate) without_teacher: bool,
    #[command(flatten)]
    pub(crate) stage: StageOptions,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  limbeck quantize --model student --method gptq --bits 4 --group-size 64 --set head_bits=8 --calibration train.jsonl --output student-4bit\n  limbeck quantize … --set repair.steps=100   tunes norms and scales against the unquantised model afterwards, which wins back much of what small models lose"
)]
pub(crate) struct QuantizeArguments {
    /// The model folder
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// gptq, awq or rtn
    #[arg(long)]
    pub(crate) method: Option<String>,
    /// 2, 3, 4 or 8
    #[arg(long)]
    pub(crate) bits: Option<u32>,
    /// Weights that share a scale: 32, 64, 128, or -1 for a whole row
    #[arg(long, allow_negative_numbers = true)]
    pub(crate) group_size: Option<i64>,
    /// gptq, `gptq_v2`, awq, compressed-tensors, or gguf for llama.cpp
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// JSONL of records or of `score`-style lines
    #[arg(long, value_name = "FILE")]
    pub(crate) calibration: PathBuf,
    /// JSONL records that the model must still solve as the unquantised one does, with the
    /// limits of the table `gate` in the configuration (gate.records of them; 0 for no gate)
    #[arg(long, value_name = "FILE")]
    pub(crate) gate: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) stage: StageOptions,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  limbeck report --input runs/default/evaluate/teacher runs/default/evaluate/tuned --output report\n  limbeck report --compare runs/before runs/after --output changes"
)]
pub(crate) struct ReportArguments {
    /// Evaluation folders, in the order of the table
    #[arg(long, value_name = "DIR", required_unless_present = "compare", num_args = 1..)]
    pub(crate) input: Vec<PathBuf>,
    /// Instead of a report: the second run against the first, each a run's folder or an
    /// evaluation; models are paired by name, problems by task and id
    #[arg(
        long,
        value_names = ["RUN_A", "RUN_B"],
        num_args = 2,
        conflicts_with_all = ["input", "training", "domains", "ablation"]
    )]
    pub(crate) compare: Vec<PathBuf>,
    /// Folders that a training command made, whose curves to draw
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub(crate) training: Vec<PathBuf>,
    /// Folders of adapters with evaluations before (the base on the domain), after (the adapter
    /// on it) and base-task (the adapter on the base's own problems)
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub(crate) domains: Vec<PathBuf>,
    /// The ablation.json of `limbeck ablation`, to show on the page
    #[arg(long, value_name = "FILE")]
    pub(crate) ablation: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) stage: StageOptions,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck ablation --input runs/ablation --variants labels sequence kl --output ablation\n\nThe folder holds VARIANT/seed-N/evaluation for each student, VARIANT/seed-N/student with its manifest.json where training is to be shown, and teacher/evaluation: what `cargo xtask ablation` makes."
)]
pub(crate) struct AblationArguments {
    /// The folder with the evaluations by variant and seed
    #[arg(long, value_name = "DIR")]
    pub(crate) input: PathBuf,
    /// The variants in the order of the table [default: all that are there, by name]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub(crate) variants: Vec<String>,
    /// The seeds, which all variants must have [default: all that are there]
    #[arg(long, value_name = "SEED", num_args = 1..)]
    pub(crate) seeds: Vec<u64>,
    /// The variants that the others are held against [default: labels and sequence, if they
    /// are among the variants, or else the first]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub(crate) against: Vec<String>,
    #[command(flatten)]
    pub(crate) stage: StageOptions,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArguments {
    #[command(flatten)]
    pub(crate) model: ModelOptions,
    /// JSONL lines {"id","prompt"} or {"id","messages"}, with "adapters" if they use any:
    /// `["medical"]`, or `{"medical": 1.0, "user-7": 0.5}` with gates
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// JSONL lines {"id","text","reasoning","tokens","`finish_reason`"}
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// The longest reply, in tokens
    #[arg(long, default_value_t = 512)]
    pub(crate) max_new_tokens: usize,
    /// 0 for greedy
    #[arg(long, default_value_t = 0.0)]
    pub(crate) temperature: f64,
    /// Keep keys and values in 8 bits: longer contexts in the same memory
    #[arg(long)]
    pub(crate) int8_cache: bool,
    /// A small model with the same tokens that proposes what this one then checks: the same
    /// replies, sooner
    #[arg(long, value_name = "DIR")]
    pub(crate) draft: Option<PathBuf>,
    /// Tokens that the draft proposes at a time
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) draft_tokens: usize,
    /// Smallest set of tokens whose probability reaches this
    #[arg(long, default_value_t = 1.0)]
    pub(crate) top_p: f64,
    /// Seeds sampling
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub(crate) device: DeviceSpec,
}

#[derive(Debug, Args)]
pub(crate) struct ScoreArguments {
    #[command(flatten)]
    pub(crate) model: ModelOptions,
    /// JSONL lines {"id","tokens"} or {"id","text"}, with "adapters" as in generate
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// JSONL lines {"id","tokens","logprobs"}
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Also write fp32 logits `[tokens, vocab]` under each record's id
    #[arg(long, value_name = "FILE")]
    pub(crate) logits: Option<PathBuf>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub(crate) device: DeviceSpec,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck serve --model runs/default/quantized --port 8000 --set server.feedback=feedback.sqlite\n  curl http://127.0.0.1:8000/v1/chat/completions -H 'content-type: application/json' \\\n      -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Take 30.\\\\n#A add 12\\\\nWhat is it now?\"}]}'\n\nA page to chat with is at the address itself. LIMBECK_API_KEYS holds keys that requests must have, separated by commas."
)]
pub(crate) struct ServeArguments {
    #[command(flatten)]
    pub(crate) model: ModelOptions,
    /// The address to listen on [default: 127.0.0.1, this machine alone]
    #[arg(long)]
    pub(crate) host: Option<std::net::IpAddr>,
    /// The port; 0 lets the system choose [default: 8000]
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Tables `[server]` and `[engine]`, as TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Override a key of the configuration, such as `engine.max_cache_bytes=4294967296`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Keep keys and values in 8 bits: longer contexts in the same memory
    #[arg(long)]
    pub(crate) int8_cache: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub(crate) device: DeviceSpec,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck bench --model runs/default/quantized --batch 1 8\n\nThe prompt's tokens are drawn at random: what they are makes no difference to the time."
)]
pub(crate) struct BenchArguments {
    #[command(flatten)]
    pub(crate) model: ModelOptions,
    /// Tokens of each prompt
    #[arg(long, default_value_t = 512)]
    pub(crate) prompt_tokens: usize,
    /// Tokens generated for each prompt
    #[arg(long, default_value_t = 128)]
    pub(crate) new_tokens: usize,
    /// Requests at a time, one row of the table each
    #[arg(long, value_name = "N", num_args = 1.., default_value = "1")]
    pub(crate) batch: Vec<usize>,
    /// Keep keys and values in 8 bits
    #[arg(long)]
    pub(crate) int8_cache: bool,
    /// Rounds of which the median is taken
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub(crate) device: DeviceSpec,
}

/// A model format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// llama.cpp's single file
    Gguf,
    /// A Hugging Face folder
    Hf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck convert --from gguf --to hf model.gguf model\n  limbeck convert --from hf --to gguf --type q4_k model model.gguf"
)]
pub(crate) struct ConvertArguments {
    /// The format of IN
    #[arg(long)]
    pub(crate) from: Format,
    /// The format of OUT
    #[arg(long)]
    pub(crate) to: Format,
    /// Dtype of a folder's weights
    #[arg(long, default_value = "bfloat16")]
    pub(crate) dtype: DType,
    /// Type of a GGUF file's matrices, but for packed layers [default: bf16, or blocks of 8 bits
    /// where the folder is quantised]
    #[arg(long = "type", value_name = "f16|bf16|q8_0|q4_0|q4_k|q6_k")]
    pub(crate) kind: Option<TensorType>,
    /// A template for a base model that comes without: gemma, chatml, or a Jinja file
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) chat_template: Option<String>,
    /// The file or folder to read
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,
    /// The file or folder to write
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct CheckConfigArguments {
    /// The pipeline's TOML file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Override a key, such as `distill.train.steps=100`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// Arguments that parse but make no sense together.
#[derive(Debug)]
pub(crate) struct UsageError {
    pub(crate) message: String,
    pub(crate) hint: String,
}

impl fmt::Display for UsageError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for UsageError {}

impl Diagnose for UsageError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(self.hint.clone())
    }
}
