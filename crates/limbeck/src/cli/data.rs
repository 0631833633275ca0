//! The arguments of `limbeck data`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::StageOptions;

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Generate records of one family, each verified from its text
    Generate(GenerateRecordsArguments),
    /// Build training, validation and test files without a problem in common
    Build {
        #[command(flatten)]
        stage: StageOptions,
    },
    /// Turn public chain-of-thought data into records
    Import(ImportArguments),
    /// Write records in a format that other tools train on
    Export(ExportArguments),
    /// Tidy texts and remove repeats, benchmark items and broken chains
    Clean(CleanArguments),
    /// Fill in Bloom level and difficulty; order and sample by them
    Stratify(StratifyArguments),
    /// Make wrong chains with one labelled mistake each, or their corrections
    Negatives(NegativesArguments),
    /// Change questions so that the answer stays, or so that it does not
    Variants(VariantsArguments),
    /// Have a model behind an endpoint write chains, and keep those that hold
    Augment(AugmentArguments),
    /// Check every chain of a file and count records by domain and level
    Stats {
        /// JSONL, JSONL.zst or Parquet of records
        #[arg(long, value_name = "FILE")]
        input: PathBuf,
    },
}

/// A part of the work, for several machines or for one that may be interrupted.
#[derive(Debug, Args)]
pub(crate) struct PartOptions {
    /// Only records i, i + n, i + 2n, … of all (i from 0); the shards together are the whole
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<String>,
    /// Do nothing where the output is there already: it appears only when it is whole
    #[arg(long)]
    pub(crate) resume: bool,
}

/// How the chains of generated records are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Chains {
    Long,
    Short,
    Both,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck data generate --family logic --level 2 --count 1000 --seed 7 --output logic.jsonl"
)]
pub(crate) struct GenerateRecordsArguments {
    /// A family, such as arith, logic or spatial, or all
    #[arg(long)]
    pub(crate) family: String,
    /// 1 to 4 [default: all]
    #[arg(long)]
    pub(crate) level: Option<u8>,
    /// en or zh [default: the family's first]
    #[arg(long)]
    pub(crate) lang: Option<String>,
    /// Chains that tell every item and sum, that name them in short, or a record of each
    /// (which `limbeck data clean` takes for repeats unless `duplicate_scope` is "record")
    #[arg(long, value_enum, default_value_t = Chains::Long)]
    pub(crate) chains: Chains,
    /// Problems in all shards together
    #[arg(long)]
    pub(crate) count: u64,
    /// The seed
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) part: PartOptions,
    /// The file to write: .jsonl, .jsonl.zst or .parquet
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck data import --format gsm8k train.jsonl --output gsm8k/train.parquet --card\n\nEvery shard reads all objects, so that ids do not depend on it and a repeated id is found; it\nwrites and lists its own."
)]
pub(crate) struct ImportArguments {
    /// gsm8k, openr1, messages, openthoughts, s1k, limo, sharegpt, alpaca, pubmedqa, prm800k,
    /// finqa or records
    #[arg(long)]
    pub(crate) format: String,
    /// The files to read: JSONL, JSON or Parquet, also compressed with zstd or gzip
    #[arg(value_name = "FILE", required = true)]
    pub(crate) input: Vec<PathBuf>,
    /// The file to write: .jsonl, .jsonl.zst or .parquet
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// What ids begin with [default: the format's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Name of the data set [default: the format's own]
    #[arg(long)]
    pub(crate) source_name: Option<String>,
    /// SPDX expression of its licence [default: the format's own]
    #[arg(long)]
    pub(crate) license: Option<String>,
    /// The model that wrote the chains [default: the format's own]
    #[arg(long)]
    pub(crate) teacher: Option<String>,
    /// Field of knowledge [default: the format's own]
    #[arg(long)]
    pub(crate) domain: Option<String>,
    /// Keep objects without a chain, as answer-only records (those of pubmedqa never have one)
    #[arg(long)]
    pub(crate) allow_missing_chain: bool,
    /// Keep chains that the data set calls wrong, labelled so
    #[arg(long)]
    pub(crate) keep_wrong: bool,
    /// Check every step of the chains and note which hold, for the records and the card
    #[arg(long)]
    pub(crate) verify: bool,
    /// Keep GSM8K's `<<…>>` in the chains
    #[arg(long)]
    pub(crate) keep_annotations: bool,
    /// Where to list what was left out [default: rejects.jsonl beside the output]
    #[arg(long, value_name = "FILE")]
    pub(crate) rejects: Option<PathBuf>,
    /// Stop at the first object that is left out
    #[arg(long, conflicts_with = "rejects")]
    pub(crate) strict: bool,
    /// Also write the data set's card, README.md, beside the output
    #[arg(long)]
    pub(crate) card: bool,
    #[command(flatten)]
    pub(crate) part: PartOptions,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck data export --format messages --input train.jsonl --output messages.jsonl"
)]
pub(crate) struct ExportArguments {
    /// messages, sharegpt, alpaca, gsm8k or records
    #[arg(long)]
    pub(crate) format: String,
    /// JSONL, JSONL.zst or Parquet of records
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// The file to write: .jsonl, .jsonl.zst or .json; for records also .parquet
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Write records whose chain is wrong, too
    #[arg(long)]
    pub(crate) include_wrong: bool,
    #[command(flatten)]
    pub(crate) part: PartOptions,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck data clean --input raw.jsonl --set 'languages=[\"eng\"]' --benchmark gsm8k/test.jsonl --output clean.jsonl\n\nA shard is only tidied and filtered, with exact_duplicates=false and near_duplicates=false: a\nrepeat may lie in another one. Search the shards' records for repeats together."
)]
pub(crate) struct CleanArguments {
    /// JSONL, JSONL.zst or Parquet of records
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// The `[clean]` table, as TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Override a key of the table, such as `max_steps=200`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// A benchmark whose items must not occur; JSONL, BBH's JSON, or a text a line
    #[arg(long, value_name = "FILE")]
    pub(crate) benchmark: Vec<PathBuf>,
    /// The file to write: .jsonl, .jsonl.zst or .parquet
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Where to list what was removed [default: removed.jsonl beside the output]
    #[arg(long, value_name = "FILE")]
    pub(crate) removed: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) part: PartOptions,
}

/// An order from easy to hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CurriculumName {
    /// By score, equal ones shuffled
    Strict,
    /// Four buckets, shuffled inside
    Bucketed,
    /// By score, but a fifth of the places hold records of any score
    Mixed,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck data stratify --input clean.jsonl --sample 10000 --curriculum bucketed --output train.jsonl\n\nEvery shard reads all records, since levels, samples and orders are those of the whole; of\nwhat comes out, it writes its own part. An order holds the records that it writes in memory."
)]
pub(crate) struct StratifyArguments {
    /// JSONL, JSONL.zst or Parquet of records, which is read twice
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// Take the difficulty from how often a model is right, where there are replies to a
    /// record: what `limbeck generate` or `limbeck evaluate` wrote, a line for each reply
    /// with the record's `id` and the whole reply as `text`
    #[arg(long, value_name = "FILE")]
    pub(crate) replies: Option<PathBuf>,
    /// Take so many records, balanced over domain, level and Bloom level
    #[arg(long, value_name = "N")]
    pub(crate) sample: Option<usize>,
    /// Put them in an order from easy to hard [default: as they are]
    #[arg(long)]
    pub(crate) curriculum: Option<CurriculumName>,
    /// Seeds sampling and shuffling
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) part: PartOptions,
    /// The file to write: .jsonl, .jsonl.zst or .parquet
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck data negatives --input train.jsonl --mistake off_by_one sign --output wrong.jsonl"
)]
pub(crate) struct NegativesArguments {
    /// JSONL, JSONL.zst or Parquet of records whose chains are right
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// The mistakes to make, in turn [default: all]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub(crate) mistake: Vec<String>,
    /// Take a model's own wrong chains instead: what `limbeck generate` or `limbeck evaluate`
    /// wrote, a line for each record with its `id` and the whole reply as `text`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mistake", "seed"])]
    pub(crate) replies: Option<PathBuf>,
    /// Write records whose own chain is right and that keep the wrong one with its correction
    #[arg(long)]
    pub(crate) corrected: bool,
    /// Seeds which place goes wrong
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) part: PartOptions,
    /// The file to write: .jsonl, .jsonl.zst or .parquet
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck data variants --input test.jsonl --kind distractor number_swap --output hard.jsonl"
)]
pub(crate) struct VariantsArguments {
    /// JSONL, JSONL.zst or Parquet of records
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// rename, paraphrase, `shuffled_items` and distractor keep the problem; `number_swap`,
    /// `added_item` and `dropped_item` make another of it [default: all that can be made]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub(crate) kind: Vec<String>,
    /// Seeds what is changed
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) part: PartOptions,
    /// The file to write: .jsonl, .jsonl.zst or .parquet
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck data augment --input questions.jsonl --url http://127.0.0.1:8000/v1 --model deepseek-r1 --set num_samples=8 --output chains.jsonl\n\nEvery reply is kept in the journal: the same command after a crash, or with other\nsettings of what is kept, asks for nothing twice. A shard is of the questions; give each one\na journal of its own."
)]
pub(crate) struct AugmentArguments {
    /// Records, or objects with a `question` and perhaps an `answer`; JSONL, JSONL.zst or
    /// Parquet
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// The endpoint up to its version
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// The model, as the endpoint names it
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// The `[augment]` table, as TOML
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Override a key of the table, such as `templates=["direct","self_check"]`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Where replies are kept [default: journal.jsonl beside the output]
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// Say what is missing and what it will cost, ask for nothing and write nothing
    #[arg(long)]
    pub(crate) plan: bool,
    #[command(flatten)]
    pub(crate) part: PartOptions,
    /// The file to write: .jsonl, .jsonl.zst or .parquet
    #[arg(long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Where to list the replies that were not kept [default: rejected.jsonl beside the output]
    #[arg(long, value_name = "FILE")]
    pub(crate) rejected: Option<PathBuf>,
}
