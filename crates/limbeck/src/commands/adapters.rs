//! `limbeck adapters`: the registry of adapters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use limbeck_core::DeviceSpec;
use limbeck_evaluate::{Evaluation, Scores};
use limbeck_lora::AdapterConfig;
use limbeck_lora::registry::{
    AdapterManifest, Address, Changed, ContentHash, Publication, RefName, Reference, Registry,
    Verified,
};
use limbeck_run::write_file;
use serde_json::json;

use crate::cli::{AdaptersArguments, AdaptersCommand, PublishArguments, StageOptions, UsageError};
use crate::stage::Stage;

pub(crate) fn run(arguments: &AdaptersArguments, json: bool) -> Result<()> {
    let root = &arguments.registry;
    let open = || Registry::open(root);
    match &arguments.command {
        AdaptersCommand::List { tier } => {
            let mut names = open()?.references()?;
            names.retain(|(name, _)| tier.is_none_or(|tier| name.tier() == tier));
            list(&names, json)
        }
        AdaptersCommand::Show { address } if address.contains('@') => {
            show_version(&open()?, &address.parse()?, json)
        }
        AdaptersCommand::Show { address } => show_name(&open()?, &address.parse()?, json),
        AdaptersCommand::Publish(arguments) => publish(root, arguments, json),
        AdaptersCommand::Promote(change) => {
            say(&open()?.promote(&change.name, change.expect_generation)?, "champion", json)
        }
        AdaptersCommand::Rollback { change, steps } => {
            let changed = open()?.rollback(&change.name, *steps, change.expect_generation)?;
            say(&changed, "champion again", json)
        }
        AdaptersCommand::Pin { address } => {
            let (registry, hash) = version(root, address)?;
            say(&registry.pin(&address.name, hash)?, "pinned", json)
        }
        AdaptersCommand::Unpin { address } => {
            let (registry, hash) = version(root, address)?;
            say(&registry.unpin(&address.name, hash)?, "no longer pinned", json)
        }
        AdaptersCommand::Gc { keep, dry_run } => collect(&open()?, *keep, *dry_run, json),
        AdaptersCommand::Verify => verify(&open()?, json),
    }
}

/// A version by its hash. Its files need not be there: an entry that is gone can be
/// unpinned.
fn version(root: &Path, address: &Address) -> Result<(Registry, ContentHash)> {
    let registry = Registry::open(root)?;
    let hash = registry.reference(&address.name)?.select(&address.name, &address.selector)?;
    Ok((registry, hash))
}

fn publish(root: &Path, arguments: &PublishArguments, json: bool) -> Result<()> {
    let name = RefName::new(arguments.tier, &arguments.name)?;
    let model = base_folder(arguments)?;
    let mut scores = BTreeMap::new();
    for evaluation in &arguments.evaluation {
        add_scores(evaluation, &mut scores)?;
    }
    let registry = Registry::create(root)?;
    let parent = arguments.parent.as_ref();
    let parent = parent.map(|address| registry.resolve(address)).transpose()?;
    let publication = Publication {
        adapter: &arguments.adapter,
        model: &model,
        scores,
        parent: parent.map(|version| version.hash),
        pin: arguments.pin,
    };
    let mut role = "candidate";
    let mut changed = registry.publish(&name, &publication, arguments.expect_generation)?;
    if arguments.promote {
        role = "champion";
        changed = registry.promote(&name, None)?;
    }
    if let Some(output) = &arguments.output {
        leave_receipt(output, arguments, &model, &changed)?;
    }
    say(&changed, role, json)
}

/// Leaves a folder as a stage does, so that a pipeline knows that this was done.
fn leave_receipt(
    output: &Path,
    arguments: &PublishArguments,
    model: &Path,
    changed: &Changed,
) -> Result<()> {
    let options = StageOptions {
        config: None,
        set: Vec::new(),
        output: output.to_owned(),
        device: DeviceSpec::Cpu,
        seed: 0,
        fingerprint: arguments.fingerprint.clone(),
    };
    let inputs = [("model", model), ("adapter", arguments.adapter.as_path())];
    let config = json!({ "ref": changed.name });
    let mut stage = Stage::begin("publish", &options, config, &inputs)?;
    let path = stage.folder().join("published.json");
    write_file(&path, serde_json::to_string_pretty(changed)?.as_bytes())?;
    stage.metric("generation", changed.state.generation);
    stage.finish()?;
    Ok(())
}

/// The base's folder: as given, or as the adapter's configuration has it.
fn base_folder(arguments: &PublishArguments) -> Result<PathBuf> {
    if let Some(model) = &arguments.model {
        return Ok(model.clone());
    }
    let named = AdapterConfig::read(&arguments.adapter)?.base_model;
    match named.as_deref().map(Path::new) {
        Some(folder) if folder.is_dir() => Ok(folder.to_owned()),
        named => Err(UsageError {
            message: match named {
                Some(named) => format!(
                    "{} names the base {}, which is no folder here",
                    arguments.adapter.display(),
                    named.display()
                ),
                None => format!("{} does not say what its base is", arguments.adapter.display()),
            },
            hint: "add --model DIR: the registry keeps hashes of the base".to_owned(),
        }
        .into()),
    }
}

/// Takes an evaluation's scores under its name: `[NAME=]DIR`.
fn add_scores(evaluation: &str, scores: &mut BTreeMap<String, f64>) -> Result<()> {
    let (name, folder) = match evaluation.split_once('=') {
        Some((name, folder)) if !Path::new(evaluation).exists() => {
            (name.to_owned(), Path::new(folder))
        }
        _ => {
            let folder = Path::new(evaluation);
            let name = folder.file_name().unwrap_or(folder.as_os_str());
            (name.to_string_lossy().into_owned(), folder)
        }
    };
    let read =
        Evaluation::read(folder).with_context(|| format!("evaluation {}", folder.display()))?;
    let mut add = |name: &str, of: &Scores| {
        scores.insert(format!("{name}/n"), of.n as f64);
        scores.insert(format!("{name}/accuracy"), of.accuracy.value);
        scores.insert(format!("{name}/completion"), of.cot_completion.value);
    };
    add(&name, &read.overall);
    for group in read.groups.iter().filter(|group| group.level.is_none()) {
        add(&format!("{name}/{}", group.family), &group.scores);
    }
    Ok(())
}

/// Says what a change led to.
fn say(changed: &Changed, role: &str, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(changed)?);
    } else {
        let Changed { name, hash, state, .. } = changed;
        let was = if changed.changed { "is" } else { "was already" };
        println!("{name} generation {}: {hash} {was} {role}", state.generation);
    }
    Ok(())
}

fn list(names: &[(RefName, Reference)], json: bool) -> Result<()> {
    if json {
        let names: Vec<_> =
            names.iter().map(|(name, state)| json!({ "ref": name, "state": state })).collect();
        println!("{}", serde_json::to_string(&names)?);
        return Ok(());
    }
    println!(
        "{:<28} {:>10} {:<12} {:<12} {:>6} {:<20}",
        "ref", "generation", "champion", "candidate", "pinned", "changed"
    );
    for (name, state) in names {
        let alias = |hash: &Option<ContentHash>| {
            hash.as_ref().map_or_else(|| "-".to_owned(), |hash| hash.short().to_owned())
        };
        println!(
            "{:<28} {:>10} {:<12} {:<12} {:>6} {:<20}",
            name.to_string(),
            state.generation,
            alias(&state.champion),
            alias(&state.candidate),
            state.pinned.len(),
            state.history.last().map(|change| change.at.to_string()).unwrap_or_default()
        );
    }
    Ok(())
}

fn show_name(registry: &Registry, name: &RefName, json: bool) -> Result<()> {
    let state = registry.reference(name)?;
    if json {
        println!("{}", json!({ "ref": name, "state": state }));
        return Ok(());
    }
    list(&[(name.clone(), state.clone())], false)?;
    println!("\n{:>10} {:<9} {:<12} {:<20}", "generation", "change", "version", "at");
    for change in state.history.iter().rev() {
        println!(
            "{:>10} {:<9} {:<12} {:<20}",
            change.generation,
            change.operation.as_str(),
            change.hash.short(),
            change.at.to_string()
        );
    }
    Ok(())
}

fn show_version(registry: &Registry, address: &Address, json: bool) -> Result<()> {
    let version = registry.resolve(address)?;
    let manifest = &version.manifest;
    if json {
        println!("{}", serde_json::to_string(manifest)?);
        return Ok(());
    }
    let AdapterManifest { hash, base, data, config, commit, parent, scores, created, .. } =
        manifest;
    let row = |key: &str, value: &str| println!("{key:<16} {value}");
    row("version", &hash.to_string());
    row("folder", &version.folder.display().to_string());
    row("published", &created.to_string());
    row("base weights", &base.weights);
    row("tokenizer", base.tokenizer.as_deref().unwrap_or("-"));
    row("parent", &parent.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string));
    row("commit", commit.as_deref().unwrap_or("-"));
    for (name, hash) in data {
        row(&format!("data {name}"), hash);
    }
    for (name, score) in scores {
        row("score", &format!("{name} {score}"));
    }
    if !config.is_null() {
        row("training", &config.to_string());
    }
    Ok(())
}

fn collect(registry: &Registry, keep: usize, dry_run: bool, json: bool) -> Result<()> {
    let collected = registry.collect_garbage(keep, dry_run)?;
    if json {
        println!("{}", serde_json::to_string(&collected)?);
        return Ok(());
    }
    let verb = if dry_run { "would go" } else { "removed" };
    for hash in &collected.removed {
        println!("{verb}: {hash}");
    }
    for path in &collected.debris {
        println!("{verb}: {}", path.display());
    }
    println!(
        "{} versions and {} left-overs {verb}, {} versions stay",
        collected.removed.len(),
        collected.debris.len(),
        collected.kept
    );
    Ok(())
}

/// Says everything that is wrong; the first of it decides the exit code.
fn verify(registry: &Registry, json: bool) -> Result<()> {
    let Verified { sound, unreferenced, damage } = registry.verify()?;
    let said: Vec<String> = damage.iter().map(described).collect();
    if json {
        println!("{}", json!({ "sound": sound, "unreferenced": unreferenced, "damage": said }));
    } else {
        for line in &said {
            println!("damaged: {line}");
        }
        println!(
            "{sound} names and versions are sound, {} damaged, {} versions without a name",
            said.len(),
            unreferenced.len()
        );
    }
    match damage.into_iter().next() {
        None => Ok(()),
        Some(first) => {
            let context = format!("{}: {} damaged", registry.root().display(), said.len());
            Err(anyhow::Error::new(first).context(context))
        }
    }
}

/// An error with its causes, in one line.
fn described(error: &limbeck_lora::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let said = inner.to_string();
        // A transparent wrapper repeats what it wraps.
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = inner.source();
    }
    text
}
