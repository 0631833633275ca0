//! `limbeck generate`: completions of prompts and conversations.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use limbeck_core::Message;
use limbeck_infer::reasoning::opens_reasoning;
use limbeck_infer::{Engine, EngineConfig, SamplingParams, Speculative, split_reasoning};
use limbeck_lora::tiers::StackRouter;
use limbeck_model::{CacheDtype, Decoder};
use limbeck_run::Progress;
use serde::Deserialize;
use serde_json::json;

use super::check_unique;
use crate::adapter_source;
use crate::cli::{GenerateArguments, UsageError};
use crate::model_folder::ModelFolder;
use crate::request_adapters::{AdapterArguments, Gates};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    prompt: Option<String>,
    messages: Option<Vec<Message>>,
    /// Adapters of `--adapter NAME=DIR` that this line uses.
    adapters: Option<Gates>,
}

/// The engine's limits, with the cache in 8 bits if asked.
pub(super) fn engine_config(int8_cache: bool) -> EngineConfig {
    let cache_dtype = if int8_cache { CacheDtype::Int8 } else { CacheDtype::Compute };
    EngineConfig { cache_dtype, ..EngineConfig::default() }
}

pub(crate) fn run(arguments: &GenerateArguments, json: bool) -> Result<()> {
    let model = &arguments.model;
    let adapters =
        adapter_source::folders(&model.model, &model.adapter, model.registry.as_deref())?;
    let adapters = AdapterArguments::parse(&adapters)?;
    let mut opened = ModelFolder::open_asked(model, &adapters.everywhere, arguments.device)?;
    let adapters = adapters.load(&mut opened.decoder)?;
    let tokenizer = &opened.tokenizer;
    let lines: Vec<Line> = super::read_lines(&arguments.input)?;
    check_unique(lines.iter().map(|line| line.id.as_str()), &arguments.input)?;
    let mut texts = Vec::with_capacity(lines.len());
    let mut prompts = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        match (&line.prompt, &line.messages) {
            (Some(prompt), None) => {
                prompts.push(tokenizer.encode_document(prompt)?);
                texts.push(prompt.clone());
            }
            (None, Some(messages)) => {
                let text = tokenizer.require_chat_template()?.render(messages, true, None)?;
                prompts.push(tokenizer.encode(&text)?);
                texts.push(text);
            }
            (given, _) => {
                let found = if given.is_some() { "both" } else { "neither" };
                return Err(super::line_error(
                    &arguments.input,
                    index,
                    "either prompt or messages",
                    found,
                ));
            }
        }
    }
    let stacks =
        adapters.stacks(lines.iter().map(|line| line.adapters.as_ref()), &arguments.input)?;
    let params = SamplingParams {
        max_new_tokens: arguments.max_new_tokens,
        temperature: arguments.temperature,
        top_p: arguments.top_p,
        seed: arguments.seed,
        stop_token_ids: tokenizer.eos_token_ids().to_vec(),
        ..SamplingParams::default()
    };
    let router = adapters.tiers.as_ref().map(|tiers| StackRouter::new(tiers, &stacks));
    let mut engine = Engine::new(&opened.decoder, engine_config(arguments.int8_cache))?;
    if let Some(router) = &router {
        engine = engine.with_router(router);
    }
    let draft = arguments.draft.as_deref().map(|path| open_draft(path, &opened, arguments));
    let draft = draft.transpose()?;
    let progress = Progress::new("generate", prompts.len() as u64, "prompts");
    let started = Instant::now();
    let mut on_done = |done| progress.inc(done as u64);
    let (generations, guesses) = match &draft {
        None => (engine.generate(&prompts, &params, &mut on_done)?, None),
        Some(draft) => {
            let pair = Speculative::new(&engine, draft, arguments.draft_tokens)?;
            let (generations, stats) = pair.generate(&prompts, &params, &mut on_done)?;
            (generations, Some(stats))
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    progress.finish();

    let mut output = String::new();
    let mut num_tokens = 0;
    for ((line, prompt), generation) in lines.iter().zip(&texts).zip(&generations) {
        num_tokens += generation.tokens.len();
        let text = tokenizer.decode(&generation.tokens, true)?;
        let reply = split_reasoning(&text, opens_reasoning(prompt));
        let value = json!({
            "id": line.id,
            "text": text,
            "reasoning": reply.reasoning,
            "tokens": generation.tokens,
            "finish_reason": generation.finish_reason,
        });
        writeln!(output, "{value}")?;
    }
    limbeck_run::write_file(&arguments.output, output.as_bytes())?;
    let rate = num_tokens as f64 / seconds.max(1e-9);
    if json {
        let mut summary =
            json!({ "prompts": lines.len(), "tokens": num_tokens, "tokens_per_second": rate });
        if let Some(stats) = guesses {
            summary["draft"] = json!({ "proposed": stats.proposed, "accepted": stats.accepted });
        }
        println!("{summary}");
    } else {
        tracing::info!("{num_tokens} tokens in {seconds:.1} s, {rate:.0} tokens/s");
        if let Some(stats) = guesses {
            let share = 100.0 * stats.accepted as f64 / stats.proposed.max(1) as f64;
            tracing::info!("{share:.0} % of {} guesses were right", stats.proposed);
        }
    }
    Ok(())
}

/// Opens the model that proposes, whose tokens must be those of the other.
fn open_draft(path: &Path, model: &ModelFolder, arguments: &GenerateArguments) -> Result<Decoder> {
    let options = &arguments.model;
    let draft =
        ModelFolder::open_with(path, &[], arguments.device, options.dtype, options.products)?;
    match model.tokenizer.first_difference(&draft.tokenizer) {
        None => Ok(draft.decoder),
        Some((id, ours, theirs)) => Err(UsageError {
            message: format!(
                "draft {}: token {id} is {theirs:?}, and {ours:?} in the model",
                path.display()
            ),
            hint: "take a draft with the model's tokenizer, such as one distilled from it"
                .to_owned(),
        }
        .into()),
    }
}
