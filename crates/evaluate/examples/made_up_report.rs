//! Writes a report of made-up evaluations into a folder, to look at the page without
//! training anything: `cargo run --release -p limbeck-evaluate --example made_up_report DIR`.

#[path = "../tests/made_up/mod.rs"]
mod made_up;
#[path = "../tests/made_up_tree/mod.rs"]
mod made_up_tree;

use std::path::{Path, PathBuf};

use limbeck_evaluate::ablation::{Selection, Tree};
use limbeck_evaluate::history::Entry;
use limbeck_evaluate::report::RunComparison;
use limbeck_evaluate::{Ablation, History, Report};
use limbeck_run::Manifest;

/// Ways of training and how much a student trained that way solves.
const VARIANTS: [(&str, f64); 11] = [
    ("labels", 0.66),
    ("sequence", 0.65),
    ("kl", 0.66),
    ("kl-hidden", 0.68),
    ("kl-hidden-attention", 0.83),
    ("cot-weights", 0.82),
    ("key-heads", 0.80),
    ("relations", 0.84),
    ("on-policy", 0.78),
    ("width-sliced", 0.60),
    ("captured", 0.67),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let output: std::path::PathBuf = std::env::args_os().nth(1).ok_or("expected a folder")?.into();
    let records = made_up::records(20);
    let mut folders = Vec::new();
    for model in 0..made_up::MODELS.len() {
        let folder = output.join(made_up::MODELS[model].0);
        std::fs::create_dir_all(&folder)?;
        made_up::evaluation(model, &records).write(&folder)?;
        let manifest = Manifest {
            stage: "evaluate".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            device: "cpu".to_owned(),
            hardware: limbeck_run::hardware(),
            seed: 7,
            commit: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
            inputs: ["model", "task"]
                .map(|name| (name.to_owned(), limbeck_run::sha256_bytes(name.as_bytes())))
                .into(),
            nondeterministic: vec!["time, speed and memory".to_owned()],
            ..Manifest::default()
        };
        manifest.write(&folder)?;
        if model % 2 == 0 {
            let maps: Vec<_> = [0, 21]
                .map(|place| made_up::attention(made_up::MODELS[model].0, &records[place]))
                .to_vec();
            std::fs::write(folder.join("attention.json"), serde_json::to_string(&maps)?)?;
        }
        folders.push(folder);
    }
    let tree = output.join("tree");
    made_up_tree::write(&tree, &records, &VARIANTS);
    let variants = VARIANTS.map(|(name, _)| name.to_owned()).to_vec();
    let tree = Tree::open(&tree, &Selection { variants, ..Selection::default() })?;
    let ablation = Ablation::of(&tree, 0)?;
    ablation.write(&output)?;
    print!("{}", ablation.table());
    let domains = ["medical", "legal", "finance"].map(|name| made_up::domain(&output, name));
    let report = Report::read(&folders)?
        .with_domains(&domains)?
        .with_ablation(&output.join("ablation.json"))?;
    report.write(&output)?;
    print!("{}", report.table());
    changes(&output)?;
    Ok(())
}

/// Some runs of growing models, two of them compared and all of them in a history.
fn changes(output: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let records = made_up::records(20);
    let file = output.join("history.sqlite");
    let mut history = History::open(&file)?;
    let runs: Vec<PathBuf> = (0..5).map(|run| output.join(format!("run-{run}"))).collect();
    for (index, run) in runs.iter().enumerate() {
        for model in 0..made_up::MODELS.len() {
            let folder = run.join("evaluate").join(made_up::MODELS[model].0);
            std::fs::create_dir_all(&folder)?;
            // A model of one kind takes the place of another: what it is called stays.
            let kind = if model > 0 && index % 2 == 1 { 1 + (model + index) % 4 } else { model };
            let mut evaluation = made_up::evaluation(kind, &records);
            made_up::MODELS[model].0.clone_into(&mut evaluation.model);
            evaluation.cost.tokens_per_second *= 1.0 + 0.1 * index as f64;
            evaluation.write(&folder)?;
        }
        history.add(&Entry::of_run(run)?)?;
    }
    std::fs::write(output.join("history.html"), history.page()?)?;
    let comparison = RunComparison::read(&runs[1], &runs[2], 0)?;
    let folder = output.join("changes");
    std::fs::create_dir_all(&folder)?;
    comparison.write(&folder)?;
    print!("{}", comparison.table());
    Ok(())
}
