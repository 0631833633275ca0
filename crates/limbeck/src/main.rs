//! `limbeck`: distil, tune, quantise, evaluate and run small reasoning models.
//!
//! Arguments in, library calls, tables out: each command is one file under `commands`.
//! Data goes to stdout, logs and progress to stderr; exit codes are those of
//! [`limbeck_run::Exit`].

mod adapter_source;
mod cli;
mod commands;
mod corrected;
mod dataset;
mod failure;
mod memory;
mod model_folder;
mod request_adapters;
mod stage;
mod threads;

use std::process::ExitCode;

use clap::Parser as _;
use limbeck_run::Exit;

fn main() -> ExitCode {
    let arguments = cli::Cli::parse();
    init_logging(arguments.verbose);
    memory::keep_freed();
    let threads = threads::chosen(&arguments);
    tch::set_num_threads(threads);
    // Fails only where a pool is there already, and none is.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1) as usize).build_global();
    match commands::run(arguments) {
        Ok(()) => Exit::Done.into(),
        Err(error) => failure::report(&error),
    }
}

fn init_logging(verbose: bool) {
    let default = if verbose { "debug" } else { "info" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("LIMBECK_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .init();
}
