//! A subset of lm-eval's task files (YAML): `generate_until` and `multiple_choice`, examples,
//! filters, `exact_match`.
//!
//! What a file asks for beyond that is an error and never left out in silence. Data sets come
//! from files, as lm-eval's own `dataset_path: json` with `dataset_kwargs.data_files`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Task;
use super::build::build;
use super::definition::Definition;
use crate::{Error, Result};

/// Keys that say nothing about what is asked and how it is scored.
const WITHOUT_EFFECT: [&str; 13] = [
    "tag",
    "task_alias",
    "metadata",
    "should_decontaminate",
    "doc_to_decontamination_query",
    "dataset_name",
    "training_split",
    "validation_split",
    "test_split",
    "fewshot_split",
    "group",
    "group_alias",
    "unsafe_code",
];

/// Reads a task.
pub(super) fn read(path: &Path) -> Result<Task> {
    let mut seen = HashSet::new();
    let file = load(path, &mut seen)?;
    let definition = define(path, file)?;
    build(path, definition)
}

/// A file with those that it includes under it.
fn load(path: &Path, seen: &mut HashSet<PathBuf>) -> Result<Map<String, Value>> {
    let text =
        std::fs::read_to_string(path).map_err(|source| limbeck_run::Error::read(path, source))?;
    if !seen.insert(path.to_owned()) {
        return Err(Error::task(path, "files that do not include each other", "a circle".into()));
    }
    // Tags are dropped by the parser; this one stands for code.
    for (index, line) in text.lines().enumerate() {
        if line.split('#').next().is_some_and(|line| line.contains("!function")) {
            return Err(Error::Task {
                path: path.to_owned(),
                expected: "a task without Python".to_owned(),
                found: format!("`{}` in line {}", line.trim(), index + 1),
                hint: Some(
                    "write the function as a Jinja template, or the rows into a file".into(),
                ),
            });
        }
    }
    let mut file: Map<String, Value> = serde_saphyr::from_str(&text)
        .map_err(|error| Error::task(path, "YAML", first_line(&error.to_string())))?;
    if let Some(include) = file.remove("include") {
        let names = match include {
            Value::Array(names) => names,
            name => vec![name],
        };
        for name in names {
            let name = name.as_str().unwrap_or_default().to_owned();
            let base = path.parent().unwrap_or(Path::new("")).join(name);
            for (key, value) in load(&base, seen)? {
                file.entry(key).or_insert(value);
            }
        }
    }
    Ok(file)
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// The same in our own keys.
fn define(path: &Path, mut file: Map<String, Value>) -> Result<Definition> {
    let mut keys = Map::new();
    let split = take(&mut file, "test_split").or_else(|| take(&mut file, "validation_split"));
    let split = text(split.as_ref()).unwrap_or("test").to_owned();
    let shots = take(&mut file, "num_fewshot").unwrap_or(json!(0));
    let mut examples = match take(&mut file, "fewshot_config") {
        Some(Value::Object(examples)) => examples,
        _ => Map::new(),
    };
    let shot_split = take(&mut examples, "split")
        .or_else(|| take(&mut file, "fewshot_split"))
        .or_else(|| take(&mut file, "training_split"));
    let files = data_files(path, &mut file)?;
    let of_split = |split: &str| files.get(split).cloned();
    let data = of_split(&split).ok_or_else(|| no_split(path, &split, &files))?;
    keys.insert("data".to_owned(), data);
    let samples = take(&mut examples, "samples");
    if shots != json!(0) && samples.is_none() {
        let shot_split = text(shot_split.as_ref()).unwrap_or(&split).to_owned();
        if shot_split != split {
            let data = of_split(&shot_split);
            let data = data.ok_or_else(|| no_split(path, &shot_split, &files))?;
            keys.insert("shot_data".to_owned(), data);
        }
    }
    keys.insert("shots".to_owned(), shots);
    if let Some(samples) = samples {
        keys.insert("samples".to_owned(), samples);
    }
    for (theirs, ours) in [
        ("sampler", "sampler"),
        ("doc_to_text", "shot_prompt"),
        ("doc_to_target", "shot_target"),
        ("doc_to_choice", "shot_choices"),
    ] {
        if let Some(value) = take(&mut examples, theirs) {
            keys.insert(ours.to_owned(), value);
        }
    }
    if let Some((key, _)) = examples.iter().next() {
        return Err(beyond(path, &format!("fewshot_config.{key}")));
    }
    for (theirs, ours) in [
        ("task", "name"),
        ("doc_to_text", "prompt"),
        ("doc_to_choice", "choices"),
        ("description", "description"),
        ("target_delimiter", "target_delimiter"),
        ("fewshot_delimiter", "shot_delimiter"),
        ("repeats", "repeats"),
    ] {
        if let Some(value) = take(&mut file, theirs) {
            keys.insert(ours.to_owned(), value);
        }
    }
    let target = take(&mut file, "doc_to_target");
    // A number stands for a choice; a list for several answers.
    let target = match target {
        Some(Value::Number(number)) => Some(json!(number.to_string())),
        other => other,
    };
    keys.insert("target".to_owned(), target.unwrap_or(Value::Null));
    keys.retain(|_, value| !value.is_null());
    keys.insert("style".to_owned(), json!("raw"));
    keys.insert("judge".to_owned(), json!("filter"));
    let output = take(&mut file, "output_type");
    let chooses = match text(output.as_ref()).unwrap_or("generate_until") {
        "generate_until" => false,
        "multiple_choice" => true,
        other => return Err(beyond(path, &format!("output_type: {other}"))),
    };
    keys.insert("ask".to_owned(), json!(if chooses { "choose" } else { "reply" }));
    generation(path, &mut file, &mut keys)?;
    metrics(path, &mut file, &mut keys, chooses)?;
    let default_filter = json!([{ "name": "none", "filter": [{ "function": "take_first" }] }]);
    keys.insert("filters".to_owned(), take(&mut file, "filter_list").unwrap_or(default_filter));
    if let Some((key, _)) = file.iter().find(|(key, _)| !WITHOUT_EFFECT.contains(&key.as_str())) {
        return Err(beyond(path, key));
    }
    serde_json::from_value(Value::Object(keys))
        .map_err(|error| Error::task(path, "the keys of a task", error.to_string()))
}

fn take(file: &mut Map<String, Value>, key: &str) -> Option<Value> {
    file.shift_remove(key).filter(|value| !value.is_null())
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

/// The data files by split, as `load_dataset` takes them.
fn data_files(path: &Path, file: &mut Map<String, Value>) -> Result<Map<String, Value>> {
    let dataset = take(file, "dataset_path");
    let dataset = text(dataset.as_ref()).unwrap_or_default().to_owned();
    let arguments = take(file, "dataset_kwargs");
    let files = arguments.as_ref().and_then(|arguments| arguments.get("data_files")).cloned();
    match (dataset.as_str(), files) {
        ("json" | "parquet", Some(Value::Object(files))) => Ok(files),
        // Without a name for the split, the split is `train`.
        ("json" | "parquet", Some(files)) => {
            Ok(std::iter::once(("train".to_owned(), files)).collect())
        }
        _ => Err(Error::Task {
            path: path.to_owned(),
            expected: "dataset_path: json or parquet, with dataset_kwargs.data_files".to_owned(),
            found: format!("dataset_path: {dataset}"),
            hint: Some(
                "data sets of a hub are not fetched: save the splits as files and name them in \
                 dataset_kwargs.data_files, by split"
                    .to_owned(),
            ),
        }),
    }
}

fn no_split(path: &Path, split: &str, files: &Map<String, Value>) -> Error {
    let known: Vec<&str> = files.keys().map(String::as_str).collect();
    Error::task(path, format!("a file for the split {split}"), known.join(", "))
}

fn beyond(path: &Path, key: &str) -> Error {
    Error::Task {
        path: path.to_owned(),
        expected: "keys that can be followed".to_owned(),
        found: format!("`{key}`"),
        hint: Some("of lm-eval's task files, generate_until and multiple_choice are read".into()),
    }
}

/// `generation_kwargs`.
fn generation(
    path: &Path,
    file: &mut Map<String, Value>,
    keys: &mut Map<String, Value>,
) -> Result<()> {
    let Some(Value::Object(mut given)) = take(file, "generation_kwargs") else { return Ok(()) };
    if let Some(until) = take(&mut given, "until") {
        let until = if until.is_array() { until } else { json!([until]) };
        keys.insert("until".to_owned(), until);
    }
    let samples = take(&mut given, "do_sample").is_none_or(|value| value == json!(true));
    for (theirs, ours) in [
        ("max_gen_toks", "max_new_tokens"),
        ("max_new_tokens", "max_new_tokens"),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
    ] {
        if let Some(value) = take(&mut given, theirs) {
            keys.insert(ours.to_owned(), value);
        }
    }
    if !samples {
        keys.insert("temperature".to_owned(), json!(0.0));
    }
    match given.iter().next() {
        Some((key, _)) => Err(beyond(path, &format!("generation_kwargs.{key}"))),
        None => Ok(()),
    }
}

/// `metric_list`: `exact_match` of replies, `acc` and its kin of choices.
fn metrics(
    path: &Path,
    file: &mut Map<String, Value>,
    keys: &mut Map<String, Value>,
    chooses: bool,
) -> Result<()> {
    let Some(Value::Array(metrics)) = take(file, "metric_list") else { return Ok(()) };
    for metric in metrics {
        let Value::Object(mut metric) = metric else {
            return Err(beyond(path, "metric_list"));
        };
        let name = take(&mut metric, "metric");
        let name = text(name.as_ref()).unwrap_or_default().to_owned();
        for key in ["aggregation", "higher_is_better"] {
            metric.shift_remove(key);
        }
        match (name.as_str(), chooses) {
            ("exact_match", false) => {
                keys.insert("exact_match".to_owned(), Value::Object(metric));
            }
            ("acc" | "acc_norm", true) => {}
            _ => return Err(beyond(path, &format!("metric_list: {name}"))),
        }
    }
    Ok(())
}
