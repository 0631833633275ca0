//! `limbeck score`: log-probabilities of given texts or tokens.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use limbeck_core::{Tokenizer, write_tensors};
use limbeck_infer::{Engine, EngineConfig};
use limbeck_lora::tiers::StackRouter;
use limbeck_run::Progress;
use serde::Deserialize;
use serde_json::json;

use super::check_unique;
use crate::adapter_source;
use crate::cli::ScoreArguments;
use crate::model_folder::ModelFolder;
use crate::request_adapters::{AdapterArguments, Gates};

/// A line to score.
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) tokens: Vec<i64>,
    /// Adapters of `--adapter NAME=DIR` that it is scored with.
    pub(crate) adapters: Option<Gates>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    tokens: Option<Vec<i64>>,
    text: Option<String>,
    adapters: Option<Gates>,
}

/// Reads lines `{"id","tokens"}` or `{"id","text"}`.
pub(crate) fn read_requests(tokenizer: &Tokenizer, path: &Path) -> Result<Vec<Request>> {
    let lines: Vec<Line> = super::read_lines(path)?;
    let mut requests = Vec::with_capacity(lines.len());
    for (index, line) in lines.into_iter().enumerate() {
        let tokens = match (line.tokens, line.text) {
            (Some(tokens), None) => tokens,
            (None, Some(text)) => tokenizer.encode_document(&text)?,
            (given, _) => {
                return Err(super::line_error(
                    path,
                    index,
                    "either tokens or text",
                    if given.is_some() { "both" } else { "neither" },
                ));
            }
        };
        if tokens.is_empty() {
            return Err(super::line_error(path, index, "at least one token", "none"));
        }
        requests.push(Request { id: line.id, tokens, adapters: line.adapters });
    }
    check_unique(requests.iter().map(|request| request.id.as_str()), path)?;
    Ok(requests)
}

pub(crate) fn run(arguments: &ScoreArguments, json: bool) -> Result<()> {
    let model = &arguments.model;
    let adapters =
        adapter_source::folders(&model.model, &model.adapter, model.registry.as_deref())?;
    let adapters = AdapterArguments::parse(&adapters)?;
    let mut opened = ModelFolder::open_asked(model, &adapters.everywhere, arguments.device)?;
    let adapters = adapters.load(&mut opened.decoder)?;
    let requests = read_requests(&opened.tokenizer, &arguments.input)?;
    let sequences: Vec<Vec<i64>> = requests.iter().map(|request| request.tokens.clone()).collect();
    let chosen = requests.iter().map(|request| request.adapters.as_ref());
    let stacks = adapters.stacks(chosen, &arguments.input)?;
    let router = adapters.tiers.as_ref().map(|tiers| StackRouter::new(tiers, &stacks));
    let mut engine = Engine::new(&opened.decoder, EngineConfig::default())?;
    if let Some(router) = &router {
        engine = engine.with_router(router);
    }
    let progress = Progress::new("score", requests.len() as u64, "sequences");
    let scores = engine.score_with(&sequences, arguments.logits.is_some(), &mut |done| {
        progress.inc(done as u64);
    })?;
    progress.finish();

    let mut text = String::new();
    let mut logits = Vec::new();
    let mut num_tokens = 0;
    for (request, score) in requests.into_iter().zip(scores) {
        num_tokens += request.tokens.len();
        let line =
            json!({ "id": request.id, "tokens": request.tokens, "logprobs": score.logprobs });
        writeln!(text, "{line}")?;
        if let Some(tensor) = score.logits {
            logits.push((request.id, tensor));
        }
    }
    if let Some(path) = &arguments.logits {
        write_tensors(path, &logits, &[("format", "pt")])?;
    }
    limbeck_run::write_file(&arguments.output, text.as_bytes())?;
    if json {
        println!("{}", json!({ "sequences": sequences.len(), "tokens": num_tokens }));
    }
    Ok(())
}
