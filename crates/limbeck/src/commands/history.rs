//! `limbeck history`: what was evaluated when, and how it went on.

use anyhow::Result;
use limbeck_evaluate::History;
use limbeck_evaluate::history::Entry;
use limbeck_run::write_file;
use serde_json::json;

use crate::cli::{HistoryArguments, HistoryCommand};

pub(crate) fn run(arguments: &HistoryArguments, json: bool) -> Result<()> {
    match &arguments.command {
        HistoryCommand::Add { database, runs } => {
            let mut entries = Vec::new();
            // All runs are read before the first is added.
            for run in runs {
                entries.extend(Entry::of_run(run)?);
            }
            let added = History::open(database)?.add(&entries)?;
            if json {
                println!("{}", json!({ "evaluations": entries.len(), "added": added }));
            } else {
                let known = entries.len() - added;
                tracing::info!("{added} evaluations added, {known} were there already");
            }
        }
        HistoryCommand::Show { database } => {
            let history = History::open_existing(database)?;
            if json {
                println!("{}", serde_json::to_string(&history.entries()?)?);
            } else {
                print!("{}", history.table()?);
            }
        }
        HistoryCommand::Page { database, output } => {
            let page = History::open_existing(database)?.page()?;
            write_file(output, page.as_bytes())?;
            tracing::info!("history: {}", output.display());
        }
    }
    Ok(())
}
