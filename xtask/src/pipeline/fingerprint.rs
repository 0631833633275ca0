//! What decides a stage's output, as one hash: a stage whose manifest carries it need not
//! run again.
//!
//! It covers the stage's name, its table of the resolved configuration, its command line
//! (with seed, device and dtype, and with placeholders for paths), the content of its
//! inputs, and the program's version. Where the run is, and what it is called, is not part
//! of it.

use std::path::Path;

use anyhow::Result;
use limbeck_run::{Manifest, digest, sha256_bytes, sha256_path};
use serde_json::{Map, Value, json};

use crate::pipeline::graph::Stage;

/// The fingerprint of a stage whose inputs are all there.
pub(crate) fn fingerprint(
    stage: &Stage,
    config: &Value,
    version: &str,
    root: &Path,
) -> Result<String> {
    let table = stage.table.and_then(|name| config.get(name)).unwrap_or(&Value::Null);
    let mut inputs = Map::new();
    for input in &stage.inputs {
        inputs.insert(input.word.clone(), content_hash(&input.path)?.into());
    }
    for name in files_named_by(table) {
        inputs.insert(format!("file {name}"), content_hash(&root.join(name))?.into());
    }
    let everything = json!({
        "stage": stage.label,
        "config": sorted(table),
        "command": stage.words,
        "inputs": sorted(&Value::Object(inputs)),
        "version": version,
    });
    Ok(sha256_bytes(everything.to_string().as_bytes()))
}

/// The files that a stage's table names: the sources and benchmarks of the data, the folder
/// that a student starts from.
fn files_named_by(table: &Value) -> impl Iterator<Item = &str> {
    let lists = ["/sources", "/clean/benchmarks"]
        .into_iter()
        .filter_map(|place| table.pointer(place)?.as_array())
        .flatten();
    let start = table.pointer("/student/path").filter(|path| *path != "");
    lists.chain(start).filter_map(Value::as_str)
}

/// The hash of an input's content. A stage's own record of its output saves reading
/// gigabytes again; what a manifest does not cover is hashed.
fn content_hash(path: &Path) -> Result<String> {
    if let Some(manifest) = Manifest::read(path)?
        && !manifest.outputs.is_empty()
    {
        return Ok(digest(&manifest.outputs));
    }
    if let (Some(folder), Some(name)) = (path.parent(), path.file_name())
        && let Some(manifest) = Manifest::read(folder)?
        && let Some(hash) = manifest.outputs.get(name.to_string_lossy().as_ref())
    {
        return Ok(hash.clone());
    }
    Ok(sha256_path(path)?)
}

/// The same value with the keys of every object in order: how a file was written is not
/// part of what it says.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut entries: Vec<(&String, &Value)> = object.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            Value::Object(
                entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::commands::Row;
    use crate::pipeline::graph::{Context, stages};
    use crate::pipeline::settings::Settings;

    const ROWS: &[Row] = &[Row {
        stage: "lora",
        label: "lora",
        table: Some("lora"),
        line: "lora train --config {config} --model {run}/distilled --seed {seed} --output {run}/adapter",
    }];

    fn of(run: &Path, config: &Value, settings: &Settings) -> String {
        let output = run.to_string_lossy().into_owned();
        let settings = Settings { output, ..settings.clone() };
        let context = Context::new("/repo", settings);
        fingerprint(&stages(ROWS, &context)[0], config, "limbeck 0.1.0", run).unwrap()
    }

    fn model(run: &Path, content: &str) {
        fs::create_dir_all(run.join("distilled")).unwrap();
        fs::write(run.join("distilled/model.safetensors"), content).unwrap();
    }

    #[test]
    fn only_what_decides_the_output_changes_it() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (here, there) = (here.path(), there.path());
        model(here, "weights");
        model(there, "weights");
        let config = json!({ "lora": { "rank": 8, "alpha": 16 }, "quantize": { "bits": 4 } });
        let settings = Settings::default();
        let first = of(here, &config, &settings);

        let renamed = Settings { name: "other".into(), teacher: "t".into(), ..settings.clone() };
        assert_eq!(of(here, &config, &renamed), first);
        assert_eq!(of(there, &config, &settings), first);
        let reordered = json!({ "quantize": { "bits": 8 }, "lora": { "alpha": 16, "rank": 8 } });
        assert_eq!(of(here, &reordered, &settings), first);

        let deeper = json!({ "lora": { "rank": 16, "alpha": 16 } });
        assert_ne!(of(here, &deeper, &settings), first);
        let reseeded = Settings { seed: 1, ..settings.clone() };
        assert_ne!(of(here, &config, &reseeded), first);
        model(here, "other weights");
        assert_ne!(of(here, &config, &settings), first);
    }

    #[test]
    fn a_file_that_the_table_names_counts_by_its_content() {
        let run = tempfile::tempdir().unwrap();
        let run = run.path();
        model(run, "weights");
        let of = |config: &Value| of(run, config, &Settings::default());
        let config = json!({ "lora": { "sources": ["a.jsonl"], "clean": { "benchmarks": [] } } });
        fs::write(run.join("a.jsonl"), "one").unwrap();
        let first = of(&config);
        assert_eq!(of(&config), first);
        fs::write(run.join("a.jsonl"), "two").unwrap();
        assert_ne!(of(&config), first);
        let config = json!({ "lora": { "student": { "path": "a.jsonl" } } });
        let second = of(&config);
        fs::write(run.join("a.jsonl"), "three").unwrap();
        assert_ne!(of(&config), second);
    }

    #[test]
    fn a_manifest_stands_for_the_files_it_lists() {
        let run = tempfile::tempdir().unwrap();
        let run = run.path();
        model(run, "weights");
        let config = json!({});
        let hashed = of(run, &config, &Settings::default());
        let mut manifest = Manifest::default();
        let name = "model.safetensors".to_owned();
        manifest.outputs.insert(name.clone(), sha256_bytes(b"weights"));
        manifest.write(&run.join("distilled")).unwrap();
        assert_eq!(of(run, &config, &Settings::default()), hashed);
        // The file need not be read: the listed hash counts.
        manifest.outputs.insert(name, sha256_bytes(b"retrained"));
        manifest.write(&run.join("distilled")).unwrap();
        assert_ne!(of(run, &config, &Settings::default()), hashed);
    }
}
