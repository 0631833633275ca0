//! `limbeck analyze`: where chains of thought go wrong.

use std::path::Path;

use anyhow::{Result, bail};
use limbeck_cot_data::{InputOptions, ObjectReader};
use limbeck_evaluate::chain::rollout::RolloutConfig;
use limbeck_evaluate::chain::summary::Analyzed;
use limbeck_evaluate::chain::{
    Chain, ChainReport, ChainSummary, Entry, ModelEvidence, ask_model, likelihood,
};
use limbeck_infer::{Engine, EngineConfig};
use limbeck_run::{AtomicFile, Progress};
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::cli::AnalyzeArguments;
use crate::model_folder::ModelFolder;

/// Bad lines that are named one by one; the others are only counted.
const NAMED: u64 = 20;

pub(crate) fn run(arguments: &AnalyzeArguments, json: bool) -> Result<()> {
    let (entries, bad) = read(&arguments.input)?;
    let mut reports: Vec<ChainReport> =
        entries.par_iter().map(|entry| entry.analyze(arguments.blind)).collect();
    let mut flagged: Vec<bool> =
        entries.par_iter().map(|entry| entry.analyze(true).breakpoint.is_some()).collect();
    if let Some(model) = &arguments.model {
        ask(model, arguments, &entries, &mut reports)?;
        // What the text flags, or the likelihoods: neither knows the answer. Rollouts do.
        for (flagged, report) in flagged.iter_mut().zip(&reports) {
            let drops: Vec<f64> =
                report.steps.iter().filter_map(|step| step.likelihood_drop).collect();
            *flagged |= likelihood::locate(&drops, arguments.drop).is_some();
        }
    }
    write(&arguments.output, &entries, &reports)?;
    let chains: Vec<Analyzed<'_>> = entries
        .iter()
        .zip(&reports)
        .zip(flagged)
        .map(|((entry, report), flagged_blind)| Analyzed { entry, report, flagged_blind })
        .collect();
    let summary = ChainSummary::of(&chains);
    if json {
        let mut value = serde_json::to_value(&summary)?;
        value["bad_lines"] = bad.into();
        println!("{value}");
    } else {
        for line in summary.lines() {
            println!("{line}");
        }
        if bad > 0 {
            println!("\n{bad} lines could not be read");
        }
    }
    Ok(())
}

/// The chains of a file and the number of objects that are none, which are named.
fn read(path: &Path) -> Result<(Vec<Entry>, u64)> {
    let mut reader = ObjectReader::open(path, &InputOptions::default())?;
    let total = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let progress = Progress::new("read", total, "B");
    let (mut entries, mut bad, mut read) = (Vec::new(), 0, 0);
    loop {
        let batch = reader.next_batch()?;
        if batch.is_empty() {
            break;
        }
        for item in batch {
            let place = item.place.to_string();
            let name = match path.file_name() {
                Some(name) => {
                    let at = place.rsplit_once(name.to_string_lossy().as_ref());
                    at.map_or("", |(_, at)| at).trim_start_matches([':', ' ']).to_owned()
                }
                None => place.clone(),
            };
            let found = match item.content {
                Ok(object) => Entry::read(object, &name),
                Err(fault) => Err(fault.detail),
            };
            match found {
                Ok(found) => entries.extend(found),
                Err(detail) => {
                    bad += 1;
                    if bad <= NAMED {
                        tracing::warn!("{place}: {detail}");
                    }
                }
            }
        }
        progress.inc(reader.bytes_read() - read);
        read = reader.bytes_read();
    }
    progress.finish();
    if bad > NAMED {
        tracing::warn!("{} more lines are no chains", bad - NAMED);
    }
    if entries.is_empty() {
        bail!(limbeck_core::Error::Json {
            path: path.to_owned(),
            expected: "chains of thought, one a line".to_owned(),
            found: match bad {
                0 => "an empty file".to_owned(),
                bad => format!("{bad} lines that are none"),
            },
        });
    }
    Ok((entries, bad))
}

fn ask(
    model: &Path,
    arguments: &AnalyzeArguments,
    entries: &[Entry],
    reports: &mut [ChainReport],
) -> Result<()> {
    let opened = ModelFolder::open(model, &[], arguments.device, arguments.dtype)?;
    let engine = Engine::new(&opened.decoder, EngineConfig::default())?;
    let evidence = ModelEvidence {
        least_drop: (arguments.drop > 0.0).then_some(arguments.drop),
        rollouts: RolloutConfig {
            samples: arguments.rollouts,
            temperature: arguments.temperature,
            max_new_tokens: arguments.max_new_tokens,
            seed: arguments.seed,
            ..RolloutConfig::default()
        },
    };
    let chains: Vec<(Chain<'_>, Option<&str>)> = entries
        .iter()
        .map(|entry| (entry.chain(arguments.blind), entry.expected.as_deref()))
        .collect();
    let max_tokens = opened.decoder.config().max_position_embeddings as usize;
    ask_model(&engine, &opened.tokenizer, max_tokens, &chains, reports, &evidence)?;
    Ok(())
}

/// A line for each chain: its id and what is thought of it.
fn write(path: &Path, entries: &[Entry], reports: &[ChainReport]) -> Result<()> {
    use std::io::Write as _;

    let mut file = AtomicFile::create(path)?;
    let mut text = Vec::new();
    for (entry, report) in entries.iter().zip(reports) {
        let mut line = json!({ "id": entry.id });
        if !entry.domain.is_empty() {
            line["domain"] = entry.domain.as_str().into();
        }
        if let Value::Object(report) = serde_json::to_value(report)? {
            for (key, value) in report {
                line[key] = value;
            }
        }
        line["complete"] = report.complete(&entry.answer).into();
        if let Some(label) = entry.label {
            line["label"] = label.map_or(json!(-1), |step| json!(step));
        }
        writeln!(text, "{line}")?;
    }
    file.write_all(&text)?;
    file.commit()?;
    Ok(())
}
