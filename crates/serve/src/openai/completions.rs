//! `POST /v1/completions`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::response::Response;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::adapters::Selection;
use crate::app::{App, blocking, json_response};
use crate::model_info::unix_seconds;
use crate::recent::{RecentReply, Reply};
use crate::worker::EventStream;
use limbeck_infer::{Grammar, Request, TokenLogprobs};

use super::error::{ApiError, ApiResult};
use super::fields::Fields;
use super::generation::{Finish, Generation, Shape, Step, Usage, Whole, WholeChoice};
use super::ids::new_id;
use super::logprobs::CompletionLogprobs;
use super::params::{Bounds, MAX_LOGPROBS, Params};
use super::prompts::{Prompt, prompts};
use super::stream::{EventSender, respond};

/// OpenAI's own default.
const DEFAULT_MAX_TOKENS: usize = 16;

/// A request as it was understood.
#[derive(Debug)]
struct Asked {
    selection: Selection,
    prompts: Vec<Prompt>,
    params: Params,
    form: Option<Arc<Grammar>>,
    /// Tokens to generate, 0 where only the prompt is asked about.
    max_tokens: usize,
    /// Choices to generate for a prompt; `params.sampling.n` of them are shown.
    best_of: usize,
    logprobs: Option<usize>,
    echo: bool,
}

/// Answers a request.
pub(crate) async fn completions(app: Arc<App>, body: Bytes) -> ApiResult<Response> {
    let asked = {
        let app = Arc::clone(&app);
        blocking(move || Asked::parse(&body, &app)).await??
    };
    let events = asked.submit(&app).await?;
    let id = new_id("cmpl");
    let head = Head { id, created: unix_seconds(), model: asked.selection.model.clone() };
    let asked = Arc::new(asked);
    if asked.params.stream {
        let keep_alive = app.config.limits.keep_alive();
        return Ok(respond(keep_alive, move |sender| async move {
            let limited = Arc::clone(&app);
            limited.within_limits(stream(app, asked, events, head, sender)).await?
        }));
    }
    let limited = Arc::clone(&app);
    limited.within_limits(whole(app, asked, events, head)).await?
}

impl Asked {
    fn parse(body: &[u8], app: &App) -> ApiResult<Self> {
        let mut fields = Fields::parse(body)?;
        let model = fields.string("model")?;
        let selection = app.adapters.select(model, fields.take("adapters"))?;
        let prompts =
            prompts(&fields.require("prompt")?, &app.model, app.config.limits.max_prompts)?;
        let eos_token_ids = app.model.tokenizer.eos_token_ids();
        let max_choices = app.config.limits.max_choices;
        let bounds = Bounds { vocab_size: app.model.vocab_size, max_choices, eos_token_ids };
        let params = Params::take(&mut fields, bounds)?;
        let n = params.sampling.n;
        let best_of = fields.count("best_of", 1..=max_choices)?.unwrap_or(n);
        if best_of < n {
            let message = format!("`best_of` is expected to be at least `n`, {n}, found {best_of}");
            return Err(ApiError::parameter("best_of", message));
        }
        if best_of > n && params.stream {
            let message = "`best_of` above `n` cannot be streamed: the best is known at the end";
            return Err(ApiError::parameter("best_of", message));
        }
        let echo = fields.boolean("echo")?.unwrap_or(false);
        if fields.string("suffix")?.is_some_and(|suffix| !suffix.is_empty()) {
            return Err(ApiError::unsupported("suffix", "filling in before a suffix"));
        }
        let logprobs = fields.count("logprobs", 0..=MAX_LOGPROBS)?;
        let max_tokens = fields.count("max_tokens", 0..=1 << 24)?.unwrap_or(DEFAULT_MAX_TOKENS);
        if max_tokens == 0 && !echo {
            let message = "`max_tokens` of 0 leaves nothing to answer without `echo`";
            return Err(ApiError::parameter("max_tokens", message));
        }
        if params.sampling.min_tokens > max_tokens {
            let message = "`min_tokens` is expected to be at most `max_tokens`";
            return Err(ApiError::parameter("min_tokens", message));
        }
        for prompt in &prompts {
            app.check_length("prompt", prompt.tokens.len(), max_tokens)?;
        }
        fields.finish();
        let form = params.form.as_ref().map(|form| app.forms.compile(form, &app.model, false));
        let form = form.transpose()?;
        Ok(Self { selection, prompts, params, form, max_tokens, best_of, logprobs, echo })
    }

    /// Hands all prompts to the engine and waits until it has taken them.
    async fn submit(&self, app: &App) -> ApiResult<Vec<EventStream>> {
        let requests = self.prompts.iter().enumerate().map(|(index, prompt)| {
            let mut sampling = self.params.sampling.clone();
            sampling.n = self.best_of;
            // A seed of the client's own would draw the same for equal prompts.
            sampling.seed = sampling.seed.wrapping_add(index as u64);
            sampling.max_new_tokens = self.max_tokens.max(1);
            sampling.logprobs = self.logprobs;
            if self.best_of > self.params.sampling.n {
                sampling.logprobs = Some(self.logprobs.unwrap_or(0));
            }
            Request {
                prompt: prompt.tokens.clone(),
                params: sampling,
                adapters: self.selection.key,
                salt: self.params.salt.clone(),
                priority: self.params.priority,
                // Without log-probabilities the engine says nothing of the prompt, and need
                // not compute what the prefix cache has.
                prompt_logprobs: self.logprobs.filter(|_| self.echo),
                constraint: self.form.clone().map(|form| Box::new(form) as _),
            }
        });
        app.submit_all(requests.collect()).await
    }

    fn shape<'a>(&'a self, app: &'a App) -> Shape<'a> {
        Shape {
            tokenizer: &app.model.tokenizer,
            stop: &self.params.stop,
            skip_special: self.params.skip_special,
            eos_token_ids: app.model.tokenizer.eos_token_ids(),
            choices: self.best_of,
            prompt_only: self.max_tokens == 0,
        }
    }

    fn prompt_tokens(&self) -> usize {
        self.prompts.iter().map(|prompt| prompt.tokens.len()).sum()
    }

    /// Lists of log-probabilities, if asked for, that begin with the prompt's where it is
    /// echoed.
    fn start_logprobs<'a>(&self, app: &'a App, prompt: &Prompt) -> Option<CompletionLogprobs<'a>> {
        let previous = if self.echo { None } else { prompt.tokens.last().copied() };
        self.logprobs.map(|_| CompletionLogprobs::new(&app.model.tokenizer, previous))
    }
}

/// What all parts of a reply begin with.
#[derive(Debug, Clone)]
struct Head {
    id: String,
    created: u64,
    model: String,
}

impl Head {
    fn chunk(&self, choices: &Value) -> Value {
        json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }
}

fn choice_json(
    index: usize,
    text: &str,
    logprobs: Option<&Value>,
    finish: Option<&Finish>,
) -> Value {
    json!({
        "index": index,
        "text": text,
        "logprobs": logprobs,
        "finish_reason": finish.map(|finish| finish.reason),
        "stop_reason": finish.map(|finish| finish.stop_reason.clone()),
    })
}

fn push_prompt(
    logprobs: &mut CompletionLogprobs<'_>,
    prompt: &Prompt,
    known: &[Option<TokenLogprobs>],
) {
    for (place, &token) in prompt.tokens.iter().enumerate() {
        logprobs.push(token, known.get(place).and_then(Option::as_ref));
    }
}

async fn whole(
    app: Arc<App>,
    asked: Arc<Asked>,
    events: Vec<EventStream>,
    head: Head,
) -> ApiResult<Response> {
    let mut choices = Vec::new();
    let mut replies = Vec::new();
    let mut usage = Usage { prompt_tokens: asked.prompt_tokens(), ..Usage::default() };
    for (prompt, events) in asked.prompts.iter().zip(events) {
        let Whole { prompt: known, choices: mut made, completion_tokens, cached_tokens } =
            Generation::new(events, asked.shape(&app)).collect().await?;
        usage.completion_tokens += completion_tokens;
        usage.cached_tokens += cached_tokens;
        let n = asked.params.sampling.n;
        if made.len() > n {
            let by_likelihood = |choice: &WholeChoice| -choice.mean_logprob();
            made.sort_by(|a, b| by_likelihood(a).total_cmp(&by_likelihood(b)));
            made.truncate(n);
        }
        let echoed = if asked.echo { prompt.text(&app.model.tokenizer)? } else { String::new() };
        for choice in &made {
            let logprobs = asked.start_logprobs(&app, prompt).map(|mut logprobs| {
                if asked.echo {
                    push_prompt(&mut logprobs, prompt, &known);
                }
                for (token, known) in choice.tokens() {
                    logprobs.push(*token, known.as_ref());
                }
                logprobs.take()
            });
            let reply = choice.text();
            let text = format!("{echoed}{reply}");
            choices.push(choice_json(choices.len(), &text, logprobs.as_ref(), choice.finish()));
            replies.push(Reply { reasoning: None, text: reply });
        }
    }
    remember(&app, &asked, &head, replies);
    let mut body = head.chunk(&Value::Array(choices));
    body["usage"] = usage.json();
    Ok(json_response(&body))
}

/// Remembers replies to a single prompt: feedback is about one.
fn remember(app: &App, asked: &Asked, head: &Head, choices: Vec<Reply>) {
    let [prompt] = asked.prompts.as_slice() else { return };
    let Ok(prompt) = prompt.text(&app.model.tokenizer) else { return };
    app.recent.remember(RecentReply {
        id: head.id.clone(),
        model: head.model.clone(),
        adapters: asked.selection.stack.clone(),
        prompt: Value::String(prompt),
        choices,
    });
}

async fn stream(
    app: Arc<App>,
    asked: Arc<Asked>,
    events: Vec<EventStream>,
    head: Head,
    sender: EventSender,
) -> ApiResult<()> {
    let mut prompts = JoinSet::new();
    for (place, events) in events.into_iter().enumerate() {
        let (app, asked, head) = (Arc::clone(&app), Arc::clone(&asked), head.clone());
        let sender = sender.clone();
        prompts
            .spawn(async move { stream_prompt(&app, &asked, place, events, &head, &sender).await });
    }
    let mut usage = Usage { prompt_tokens: asked.prompt_tokens(), ..Usage::default() };
    let mut replies = Vec::new();
    while let Some(joined) = prompts.join_next().await {
        let failed = || ApiError::internal("the server failed on this request");
        let (completion_tokens, cached_tokens, texts) = joined.map_err(|_| failed())??;
        usage.completion_tokens += completion_tokens;
        usage.cached_tokens += cached_tokens;
        replies.extend(texts);
    }
    remember(&app, &asked, &head, replies);
    if asked.params.include_usage {
        let mut chunk = head.chunk(&json!([]));
        chunk["usage"] = usage.json();
        // A client that has gone needs no usage.
        let _ = sender.send(&chunk).await;
    }
    Ok(())
}

async fn stream_prompt(
    app: &App,
    asked: &Asked,
    place: usize,
    events: EventStream,
    head: &Head,
    sender: &EventSender,
) -> ApiResult<(usize, usize, Vec<Reply>)> {
    let Some(prompt) = asked.prompts.get(place) else { return Ok((0, 0, Vec::new())) };
    let n = asked.params.sampling.n;
    let mut replies = vec![Reply::default(); n];
    let mut logprobs: Vec<Option<CompletionLogprobs<'_>>> =
        (0..n).map(|_| asked.start_logprobs(app, prompt)).collect();
    // Text of the prompt that a choice's first chunk begins with.
    let mut echoed = vec![asked.echo; n];
    let mut generation = Generation::new(events, asked.shape(app));
    while let Some(step) = generation.next().await? {
        let piece = match step {
            Step::Prompt(known) => {
                for logprobs in logprobs.iter_mut().flatten().filter(|_| asked.echo) {
                    push_prompt(logprobs, prompt, &known);
                }
                continue;
            }
            Step::Piece(piece) => piece,
        };
        let (Some(reply), Some(logprobs), Some(echo)) = (
            replies.get_mut(piece.choice),
            logprobs.get_mut(piece.choice),
            echoed.get_mut(piece.choice),
        ) else {
            continue;
        };
        reply.text += &piece.text;
        if let Some(logprobs) = logprobs {
            for (token, known) in &piece.tokens {
                logprobs.push(*token, known.as_ref());
            }
        }
        let mut text = piece.text;
        if std::mem::take(echo) {
            text = prompt.text(&app.model.tokenizer)? + &text;
        }
        // Text that is held back keeps its log-probabilities with it.
        if text.is_empty() && piece.finish.is_none() {
            continue;
        }
        let logprobs = logprobs.as_mut().map(CompletionLogprobs::take);
        let index = place * n + piece.choice;
        let choice = choice_json(index, &text, logprobs.as_ref(), piece.finish.as_ref());
        if sender.send(&head.chunk(&json!([choice]))).await.is_err() {
            break;
        }
    }
    Ok((generation.completion_tokens, generation.cached_tokens, replies))
}
