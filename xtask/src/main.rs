//! `cargo xtask VERB`: provisioning, the pipeline, tests, benches and checks.
//!
//! It runs before libtorch is there, so it never links it, and it runs the stages as
//! processes of the `limbeck` program. One file or folder per verb; `commands.rs` holds
//! the stages' command lines.

mod ablation;
mod bench;
mod check;
mod child;
mod ci;
mod commands;
mod compile;
mod cuda_test;
mod failure;
mod gpu;
mod pipeline;
mod setup;
mod stdout;
mod teacher;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Provisioning, the pipeline, tests, benches and checks of limbeck.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Finds or provisions libtorch and links it as .libtorch
    Setup(setup::Args),
    /// Builds limbeck and runs the stages from a teacher to an evaluated 4-bit student
    Pipeline(pipeline::Args),
    /// Trains one student in several ways, with several seeds, and compares them
    Ablation(ablation::Args),
    /// Runs all tests
    Test(test::Args),
    /// Runs the benches and compares them with a stored baseline
    Bench(bench::Args),
    /// Format, tidy, clippy and docs; reports everything it finds
    Check,
    /// Runs the device tests on CUDA
    CudaTest,
    /// Trains the fixture teacher again from its recipe
    Teacher(teacher::Args),
    /// check, test and the smoke pipeline
    Ci,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = Workspace::find().and_then(|workspace| match cli.verb {
        Verb::Setup(args) => setup::run(&workspace, &args),
        Verb::Pipeline(args) => pipeline::run(&workspace, &args),
        Verb::Ablation(args) => ablation::run(&workspace, &args),
        Verb::Test(args) => test::run(&workspace, &args),
        Verb::Bench(args) => bench::run(&workspace, &args),
        Verb::Check => check::run(&workspace),
        Verb::CudaTest => cuda_test::run(&workspace),
        Verb::Teacher(args) => teacher::run(&workspace, &args),
        Verb::Ci => ci::run(&workspace),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
