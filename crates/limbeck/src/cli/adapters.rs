//! The arguments of `limbeck adapters`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use limbeck_lora::registry::{Address, RefName};
use limbeck_lora::tiers::Tier;

/// What `limbeck adapters --help` says of a registry.
const HELP: &str = "\
A registry is a folder that keeps adapters by the hash of their content, and names for
them in three tiers: base-task (long-lived), domain (loaded at run time), user (updated
live). Publishing makes an adapter the candidate of its name; promoting makes the
candidate the champion, rolling back the champion before. A version is called
  domain/medical             the champion
  domain/medical@candidate   the one published last
  domain/medical@7           the one that the change with generation 7 was about
  domain/medical@sha256:4f0c91d2
wherever --adapter is taken together with --registry.

Example:
  limbeck adapters publish --registry adapters --tier domain --name medical \\
    --adapter run/adapter --model run/distilled --evaluation run/evaluations/tuned
  limbeck adapters promote --registry adapters domain/medical
  limbeck generate --model run/distilled --registry adapters --adapter domain/medical \\
    --input prompts.jsonl --output replies.jsonl";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct AdaptersArguments {
    #[command(subcommand)]
    pub(crate) command: AdaptersCommand,
    /// The registry's folder
    #[arg(long, global = true, value_name = "DIR", default_value = "adapters")]
    pub(crate) registry: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AdaptersCommand {
    /// List names with their champions and candidates
    List {
        /// Only those of a tier: base-task, domain or user
        #[arg(long)]
        tier: Option<Tier>,
    },
    /// Show a name's versions and history, or where one version comes from
    #[command(
        after_help = "Examples:\n  limbeck adapters show --registry adapters domain/medical\n  limbeck adapters show --registry adapters domain/medical@candidate --json"
    )]
    Show {
        /// TIER/NAME, or TIER/NAME@VERSION for one version
        #[arg(value_name = "REF")]
        address: String,
    },
    /// Store an adapter and make it its name's candidate
    Publish(PublishArguments),
    /// Make a name's candidate its champion
    #[command(
        after_help = "Example:\n  limbeck adapters promote --registry adapters domain/medical --expect-generation 3"
    )]
    Promote(ChangeArguments),
    /// Make an earlier champion the champion again
    #[command(
        after_help = "Example:\n  limbeck adapters rollback --registry adapters domain/medical --steps 2"
    )]
    Rollback {
        #[command(flatten)]
        change: ChangeArguments,
        /// How many champions to go back
        #[arg(long, value_name = "N", default_value_t = 1)]
        steps: usize,
    },
    /// Keep a version from garbage collection
    #[command(after_help = "Example:\n  limbeck adapters pin --registry adapters domain/medical@4")]
    Pin {
        /// TIER/NAME@VERSION
        #[arg(value_name = "REF")]
        address: Address,
    },
    /// Leave a pinned version to garbage collection
    #[command(
        after_help = "Example:\n  limbeck adapters unpin --registry adapters domain/medical@4"
    )]
    Unpin {
        /// TIER/NAME@VERSION
        #[arg(value_name = "REF")]
        address: Address,
    },
    /// Remove what no name needs, and what killed processes left
    #[command(
        after_help = "Example:\n  limbeck adapters gc --registry adapters --keep 5 --dry-run\n\nChampions, candidates and pinned versions always stay."
    )]
    Gc {
        /// The latest versions and the latest earlier champions that each name keeps
        #[arg(long, value_name = "N", default_value_t = 3)]
        keep: usize,
        /// Only say what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// Compare every stored adapter with what was published, and read every name
    Verify,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck adapters publish --registry adapters --tier domain --name medical \\\n    --adapter run/adapter --model run/distilled --evaluation medical=run/evaluations/tuned"
)]
pub(crate) struct PublishArguments {
    /// base-task, domain or user
    #[arg(long)]
    pub(crate) tier: Tier,
    /// Its name within the tier
    #[arg(long)]
    pub(crate) name: String,
    /// The adapter's folder, as PEFT or `limbeck lora train` writes it
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: PathBuf,
    /// The folder of the base that it was trained on [default: what its configuration names]
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// Folders of `limbeck evaluate` whose scores to keep, as NAME/accuracy and so on
    #[arg(long, value_name = "[NAME=]DIR", num_args = 1..)]
    pub(crate) evaluation: Vec<String>,
    /// The version that its training went on from, of any name
    #[arg(long, value_name = "REF")]
    pub(crate) parent: Option<Address>,
    /// Publish only if the name is at this generation (0: not there yet)
    #[arg(long, value_name = "N")]
    pub(crate) expect_generation: Option<u64>,
    /// Keep it from garbage collection
    #[arg(long)]
    pub(crate) pin: bool,
    /// Make it the champion at once
    #[arg(long)]
    pub(crate) promote: bool,
    /// A folder to make with the name's new state, as a stage of a pipeline leaves one
    #[arg(long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,
    /// Identifies this stage in a pipeline
    #[arg(long, value_name = "HEX", hide = true, requires = "output")]
    pub(crate) fingerprint: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ChangeArguments {
    /// TIER/NAME
    #[arg(value_name = "REF")]
    pub(crate) name: RefName,
    /// Change it only if it is at this generation
    #[arg(long, value_name = "N")]
    pub(crate) expect_generation: Option<u64>,
}
