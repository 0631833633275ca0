//! The arguments of `limbeck history`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  limbeck history add --database runs/history.sqlite runs/default\n  limbeck history show --database runs/history.sqlite\n  limbeck history page --database runs/history.sqlite --output history.html"
)]
pub(crate) struct HistoryArguments {
    #[command(subcommand)]
    pub(crate) command: HistoryCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HistoryCommand {
    /// Add the evaluations of runs; those that are there already stay as they are
    Add {
        /// The database; made where there is none
        #[arg(long, value_name = "FILE")]
        database: PathBuf,
        /// Folders of runs, or of evaluations
        #[arg(value_name = "RUN", required = true)]
        runs: Vec<PathBuf>,
    },
    /// List the evaluations, the oldest first
    Show {
        /// The database
        #[arg(long, value_name = "FILE")]
        database: PathBuf,
    },
    /// Draw quality and resources over the runs
    Page {
        /// The database
        #[arg(long, value_name = "FILE")]
        database: PathBuf,
        /// The page
        #[arg(long, value_name = "HTML")]
        output: PathBuf,
    },
}
