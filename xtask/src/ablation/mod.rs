//! `ablation`: one student trained in several ways, with several seeds each, and what each
//! way is worth. Data and the teacher's evaluation are made once; a variant's stages are
//! those of the pipeline, and run again only where something that decides them changed.

mod jobs;
mod plan;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result};
use limbeck_run::format_duration;
use serde_json::Value;

use crate::ablation::jobs::Job;
use crate::ablation::plan::{Plan, Variant};
use crate::commands::{ABLATION_LABELS, ABLATION_SHARED, ABLATION_VARIANT};
use crate::pipeline::graph::{self, Context};
use crate::pipeline::program::Program;
use crate::pipeline::runner::Runner;
use crate::pipeline::settings::Settings;
use crate::pipeline::{self, runner};
use crate::workspace::Workspace;
use crate::{child, stdout};

/// Options of `ablation`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file that names the variants
    #[arg(long, value_name = "FILE", default_value = "configs/ablation.toml")]
    config: PathBuf,
    /// Overrides a key of the base as table.key=value, or of the file itself as
    /// ablation.key=value; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// How many students train at once; they share the cores
    #[arg(long, value_name = "N", default_value = "1")]
    jobs: NonZeroUsize,
    /// Only these variants
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
}

/// Trains and evaluates what is not there yet, and prints the table.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    let started = Instant::now();
    let (plan, overrides) =
        Plan::read(&pipeline::config_file(workspace, &args.config), &args.overrides)?;
    let variants = plan.select(&args.only)?;
    let base = pipeline::config_file(workspace, Path::new(&plan.base));
    let settings = pipeline::settings(&base, &overrides)?;

    let shared = shared(workspace, &plan, &settings);
    let shared_stages = graph::stages(ABLATION_SHARED, &shared);
    runner::check_teacher(&shared_stages)?;
    let program = Program::build(workspace)?;
    // All configurations are checked before any work.
    let shared_config = program.check_config(&base, &overrides)?;
    let mut configs = Vec::with_capacity(variants.len());
    for &variant in &variants {
        let overrides = [overrides.as_slice(), variant.set.as_slice()].concat();
        let config = program.check_config(&base, &overrides);
        let config = config.with_context(|| format!("variant {}", variant.name))?;
        configs.push((variant, config));
    }

    let _lock = pipeline::lock(&shared.run())?;
    pipeline::write_config(&shared, &shared_config)?;
    program.runner(shared_config).run(&shared_stages)?;
    let jobs = jobs(&plan, &shared, &configs, |config| Runner {
        threads: threads(args.jobs),
        ..program.runner(config)
    });
    jobs::run_all(&jobs, args.jobs.get(), |job| job.run(args.jobs.get() > 1))?;

    let output = format!("{}/ablation", plan.output);
    let mut command = program.command();
    command.args(["ablation", "--input", &plan.output, "--output", &output, "--variants"]);
    command.args(variants.iter().map(|variant| variant.name.as_str()));
    command.arg("--seeds").args(plan.seeds.iter().map(u64::to_string));
    child::run("limbeck ablation", &mut command)?;
    stdout::line(format!("table: {}", workspace.path(&output).join("ablation.md").display()));
    eprintln!("ablation finished in {}", format_duration(started.elapsed()));
    Ok(())
}

/// What data and the teacher's evaluation are made with.
fn shared(workspace: &Workspace, plan: &Plan, settings: &Settings) -> Context {
    let settings = Settings { output: plan.output.clone(), ..settings.clone() };
    Context::new(workspace.root(), settings)
}

/// Every variant with the first seed, then with the next: a run that is cut short can
/// still be looked at.
fn jobs(
    plan: &Plan,
    shared: &Context,
    configs: &[(&Variant, Value)],
    runner: impl Fn(Value) -> Runner,
) -> Vec<Job> {
    let mut jobs = Vec::with_capacity(plan.seeds.len() * configs.len());
    for &seed in &plan.seeds {
        for (variant, config) in configs {
            let settings = Settings {
                name: variant.name.clone(),
                output: format!("{}/{}/seed-{seed}", plan.output, variant.name),
                seed,
                ..shared.settings.clone()
            };
            let context =
                Context { data: shared.data.clone(), ..Context::new(&shared.root, settings) };
            let rows = if variant.without_teacher { ABLATION_LABELS } else { ABLATION_VARIANT };
            jobs.push(Job {
                title: format!("{} seed {seed}", variant.name),
                stages: graph::stages(rows, &context),
                runner: runner(config.clone()),
                context,
            });
        }
    }
    jobs
}

/// The cores of each of the processes that run at once; `None` for one, which takes all.
fn threads(jobs: NonZeroUsize) -> Option<usize> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    (jobs.get() > 1).then(|| (cores / jobs.get()).max(1))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn variant(name: &str, without_teacher: bool) -> Variant {
        Variant { name: name.to_owned(), without_teacher, ..Variant::default() }
    }

    #[test]
    fn variants_share_data_and_teacher_and_have_their_own_folders_and_seeds() {
        let plan = Plan {
            output: "o".to_owned(),
            seeds: vec![3, 4],
            variant: vec![variant("labels", true), variant("kl", false)],
            ..Plan::default()
        };
        let base = Settings { seed: 42, output: "runs/x".to_owned(), ..Settings::default() };
        let shared = shared(&Workspace::at(Path::new("/repo")), &plan, &base);
        let data = graph::stages(ABLATION_SHARED, &shared);
        assert!(data[0].argv.join(" ").ends_with("--seed 42 --output o/data"));
        assert_eq!(data[1].output, Path::new("/repo/o/teacher/evaluation"));

        let configs: Vec<(&Variant, Value)> =
            plan.variant.iter().map(|variant| (variant, json!({ "name": variant.name }))).collect();
        let runner = |config| Runner {
            program: "limbeck".into(),
            version: String::new(),
            folder: "/repo".into(),
            config,
            commit: None,
            threads: None,
            log: None,
        };
        let jobs = jobs(&plan, &shared, &configs, runner);
        let titles: Vec<&str> = jobs.iter().map(|job| job.title.as_str()).collect();
        assert_eq!(titles, ["labels seed 3", "kl seed 3", "labels seed 4", "kl seed 4"]);
        let kl = &jobs[3];
        assert_eq!(kl.runner.config["name"], "kl");
        let commands: Vec<String> = kl.stages.iter().map(|stage| stage.argv.join(" ")).collect();
        let expected = [
            "distill --config o/kl/seed-4/config/distill.toml --teacher fixtures/teacher \
             --data o/data --seed 4 --device cpu --output o/kl/seed-4/student",
            "evaluate --config o/kl/seed-4/config/evaluate.toml --model o/kl/seed-4/student \
             --name kl --task o/data/test.jsonl --seed 4 --device cpu --dtype float32 \
             --output o/kl/seed-4/evaluation",
        ];
        assert_eq!(commands, expected);
        let without = |job: &Job| job.stages[0].argv.contains(&"--without-teacher".to_owned());
        assert!(without(&jobs[0]) && !without(kl));
    }

    #[test]
    fn cores_are_shared_and_one_job_has_them_all() {
        let of = |jobs: usize| threads(NonZeroUsize::new(jobs).unwrap());
        assert_eq!(of(1), None);
        assert_eq!(of(100_000), Some(1));
    }
}
