//! `limbeck ablation`: one student trained in several ways, compared over several seeds.

use std::path::{Path, PathBuf};

use anyhow::Result;
use limbeck_evaluate::Ablation;
use limbeck_evaluate::ablation::{Selection, Tree};
use limbeck_run::Manifest;

use super::announce;
use crate::cli::AblationArguments;
use crate::stage::Stage;

pub(crate) fn run(arguments: &AblationArguments, json: bool) -> Result<()> {
    let options = &arguments.stage;
    let selection = Selection {
        variants: arguments.variants.clone(),
        seeds: arguments.seeds.clone(),
        against: arguments.against.clone(),
    };
    let tree = Tree::open(&arguments.input, &selection)?;
    let named = inputs(&tree);
    let inputs: Vec<(&str, &Path)> =
        named.iter().map(|(name, path)| (name.as_str(), path.as_path())).collect();
    let config = serde_json::json!({
        "variants": tree.variants,
        "seeds": tree.seeds,
        "against": tree.against,
    });
    let mut stage = Stage::begin("ablation", options, config, &inputs)?;
    let ablation = Ablation::of(&tree, options.seed)?;
    ablation.write(stage.folder())?;
    stage.metric("variants", ablation.variants.len());
    stage.metric("problems", ablation.problems);
    let manifest = stage.finish()?;
    if !json {
        print!("{}", ablation.table());
    }
    announce(&manifest, &options.output, json)
}

/// The evaluations, and of the students' folders the manifests that are there: hashing the
/// models, of which nothing is read, would take longer than the rest.
fn inputs(tree: &Tree) -> Vec<(String, PathBuf)> {
    let mut inputs = tree.evaluations();
    for variant in &tree.variants {
        for &seed in &tree.seeds {
            let manifest = tree.student(variant, seed).join(Manifest::FILE);
            if manifest.is_file() {
                inputs.push((format!("{variant}/seed-{seed}/student"), manifest));
            }
        }
    }
    inputs
}
