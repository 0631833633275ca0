//! `POST /v1/chat/completions`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::adapters::Selection;
use crate::app::{App, blocking, json_response};
use crate::model_info::unix_seconds;
use crate::recent::{RecentReply, Reply};
use crate::worker::EventStream;
use limbeck_infer::{Grammar, Request};

use super::error::{ApiError, ApiResult};
use super::fields::Fields;
use super::generation::{Finish, Generation, Piece, Shape, Step, Usage};
use super::ids::new_id;
use super::logprobs::ChatLogprobs;
use super::messages::{ChatPrompt, take_conversation};
use super::params::{Bounds, MAX_LOGPROBS, Params};
use super::reasoning_stream::{Parts, ReasoningStream};
use super::stream::{EventSender, respond};

/// A request as it was understood.
#[derive(Debug)]
struct Asked {
    selection: Selection,
    prompt: ChatPrompt,
    params: Params,
    form: Option<Arc<Grammar>>,
    max_tokens: usize,
    /// How many rivals to show beside each token's log-probability.
    top_logprobs: Option<usize>,
}

/// What all parts of a reply begin with.
#[derive(Debug)]
struct Head {
    id: String,
    created: u64,
    model: String,
}

/// Answers a request.
pub(crate) async fn chat(app: Arc<App>, body: Bytes) -> ApiResult<Response> {
    let asked = {
        let app = Arc::clone(&app);
        blocking(move || Asked::parse(&body, &app)).await??
    };
    let mut events = app.submit_all(vec![asked.request()]).await?;
    let events = events.pop().ok_or_else(|| ApiError::internal("the engine took no request"))?;
    let model = asked.selection.model.clone();
    let head = Head { id: new_id("chatcmpl"), created: unix_seconds(), model };
    let limited = Arc::clone(&app);
    if asked.params.stream {
        let keep_alive = app.config.limits.keep_alive();
        return Ok(respond(keep_alive, move |sender| async move {
            limited.within_limits(stream(app, asked, events, head, sender)).await?
        }));
    }
    limited.within_limits(whole(app, asked, events, head)).await?
}

impl Asked {
    fn parse(body: &[u8], app: &App) -> ApiResult<Self> {
        let mut fields = Fields::parse(body)?;
        let model = fields.string("model")?;
        let selection = app.adapters.select(model, fields.take("adapters"))?;
        refuse_tools(&mut fields)?;
        let prompt = take_conversation(&mut fields, &app.model)?;
        let eos_token_ids = app.model.tokenizer.eos_token_ids();
        let max_choices = app.config.limits.max_choices;
        let bounds = Bounds { vocab_size: app.model.vocab_size, max_choices, eos_token_ids };
        let params = Params::take(&mut fields, bounds)?;
        let shown = fields.boolean("logprobs")?.unwrap_or(false);
        let top = fields.count("top_logprobs", 0..=MAX_LOGPROBS)?;
        if top.is_some() && !shown {
            let message = "`top_logprobs` goes with `logprobs`: true only";
            return Err(ApiError::parameter("top_logprobs", message));
        }
        let older = fields.count("max_tokens", 1..=1 << 24)?;
        let asked = fields.count("max_completion_tokens", 1..=1 << 24)?.or(older);
        app.check_length("messages", prompt.tokens.len(), asked.unwrap_or(1))?;
        let room = app.model.max_model_len.saturating_sub(prompt.tokens.len());
        let max_tokens = asked.unwrap_or(room);
        if params.sampling.min_tokens > max_tokens {
            let message = "`min_tokens` is expected to be at most the tokens asked for";
            return Err(ApiError::parameter("min_tokens", message));
        }
        fields.finish();
        let form = params.form.as_ref();
        let compile = |form| app.forms.compile(form, &app.model, prompt.thinks);
        let form = form.map(compile).transpose()?;
        let top_logprobs = shown.then(|| top.unwrap_or(0));
        Ok(Self { selection, prompt, params, form, max_tokens, top_logprobs })
    }

    fn request(&self) -> Request {
        let mut sampling = self.params.sampling.clone();
        sampling.max_new_tokens = self.max_tokens;
        sampling.logprobs = self.top_logprobs;
        Request {
            prompt: self.prompt.tokens.clone(),
            params: sampling,
            adapters: self.selection.key,
            salt: self.params.salt.clone(),
            priority: self.params.priority,
            prompt_logprobs: None,
            constraint: self.form.clone().map(|form| Box::new(form) as _),
        }
    }

    fn shape<'a>(&'a self, app: &'a App) -> Shape<'a> {
        Shape {
            tokenizer: &app.model.tokenizer,
            stop: &self.params.stop,
            skip_special: self.params.skip_special,
            eos_token_ids: app.model.tokenizer.eos_token_ids(),
            choices: self.params.sampling.n,
            prompt_only: false,
        }
    }
}

/// Tools change what a reply is; a request that offers none of them is no different.
fn refuse_tools(fields: &mut Fields) -> ApiResult<()> {
    let tools = fields.take("tools").or_else(|| fields.take("functions"));
    let offered = tools.is_some_and(|tools| tools.as_array().is_none_or(|tools| !tools.is_empty()));
    // A client that lists tools and wants none called gets what it wants.
    let none = fields.take("tool_choice").is_some_and(|choice| choice == "none");
    if offered && !none {
        return Err(ApiError::unsupported("tools", "calling tools"));
    }
    Ok(())
}

/// A choice as it grows.
struct Choice<'t> {
    split: ReasoningStream,
    logprobs: Option<ChatLogprobs<'t>>,
    reasoning_tokens: usize,
    so_far: Reply,
}

impl<'t> Choice<'t> {
    fn new(app: &'t App, asked: &Asked) -> Self {
        let previous = asked.prompt.tokens.last().copied();
        let start = |top| ChatLogprobs::new(&app.model.tokenizer, previous, top);
        Self {
            split: ReasoningStream::new(asked.prompt.opens_reasoning),
            logprobs: asked.top_logprobs.map(start),
            reasoning_tokens: 0,
            so_far: Reply::default(),
        }
    }

    /// Splits a piece's text, with what was held back if it is the last.
    fn take(&mut self, piece: &Piece) -> Parts {
        let began = self.split.is_reasoning();
        let mut parts = self.split.push(&piece.text);
        if began || self.split.is_reasoning() {
            self.reasoning_tokens += piece.tokens.len();
        }
        if piece.finish.is_some() {
            let Parts { reasoning, answer } = self.split.finish();
            parts.reasoning += &reasoning;
            parts.answer += &answer;
        }
        if let Some(logprobs) = &mut self.logprobs {
            for known in piece.tokens.iter().filter_map(|(_, known)| known.as_ref()) {
                logprobs.push(known);
            }
        }
        if self.split.has_reasoning() {
            *self.so_far.reasoning.get_or_insert_default() += &parts.reasoning;
        }
        self.so_far.text += &parts.answer;
        parts
    }
}

fn finish_json(finish: Option<&Finish>) -> (Value, Value) {
    match finish {
        Some(finish) => (json!(finish.reason), finish.stop_reason.clone()),
        None => (Value::Null, Value::Null),
    }
}

fn usage(asked: &Asked, generation: (usize, usize), choices: &[Choice<'_>]) -> Usage {
    let (completion_tokens, cached_tokens) = generation;
    Usage {
        prompt_tokens: asked.prompt.tokens.len(),
        completion_tokens,
        cached_tokens,
        reasoning_tokens: Some(choices.iter().map(|choice| choice.reasoning_tokens).sum()),
    }
}

fn remember(app: &App, asked: &Asked, head: &Head, choices: &[Choice<'_>]) {
    app.recent.remember(RecentReply {
        id: head.id.clone(),
        model: head.model.clone(),
        adapters: asked.selection.stack.clone(),
        prompt: asked.prompt.given.clone(),
        choices: choices.iter().map(|choice| choice.so_far.clone()).collect(),
    });
}

async fn whole(
    app: Arc<App>,
    asked: Asked,
    events: EventStream,
    head: Head,
) -> ApiResult<Response> {
    let made = Generation::new(events, asked.shape(&app)).collect().await?;
    let mut choices = Vec::new();
    let mut shown = Vec::new();
    for (index, whole) in made.choices.iter().enumerate() {
        let mut choice = Choice::new(&app, &asked);
        for piece in &whole.pieces {
            choice.take(piece);
        }
        let reasoning = &choice.so_far.reasoning;
        let (finish_reason, stop_reason) = finish_json(whole.finish());
        shown.push(json!({
            "index": index,
            "message": {
                "role": "assistant",
                "content": choice.so_far.text,
                // Clients look for either name.
                "reasoning_content": reasoning,
                "reasoning": reasoning,
                "refusal": null,
            },
            "logprobs": choice.logprobs.as_mut().map(ChatLogprobs::take),
            "finish_reason": finish_reason,
            "stop_reason": stop_reason,
        }));
        choices.push(choice);
    }
    remember(&app, &asked, &head, &choices);
    let usage = usage(&asked, (made.completion_tokens, made.cached_tokens), &choices);
    Ok(json_response(&json!({
        "id": head.id,
        "object": "chat.completion",
        "created": head.created,
        "model": head.model,
        "choices": shown,
        "usage": usage.json(),
    })))
}

impl Head {
    fn chunk(&self, choices: &Value) -> Value {
        json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }

    fn delta(
        &self,
        index: usize,
        delta: &Map<String, Value>,
        rest: (Option<Value>, Value, Value),
    ) -> Value {
        let (logprobs, finish_reason, stop_reason) = rest;
        self.chunk(&json!([{
            "index": index,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
            "stop_reason": stop_reason,
        }]))
    }
}

async fn stream(
    app: Arc<App>,
    asked: Asked,
    events: EventStream,
    head: Head,
    sender: EventSender,
) -> ApiResult<()> {
    let n = asked.params.sampling.n;
    let mut choices: Vec<Choice<'_>> = (0..n).map(|_| Choice::new(&app, &asked)).collect();
    let mut generation = Generation::new(events, asked.shape(&app));
    for index in 0..n {
        let mut delta = Map::new();
        delta.insert("role".to_owned(), json!("assistant"));
        delta.insert("content".to_owned(), json!(""));
        let chunk = head.delta(index, &delta, (None, Value::Null, Value::Null));
        if sender.send(&chunk).await.is_err() {
            return Ok(());
        }
    }
    while let Some(step) = generation.next().await? {
        let Step::Piece(piece) = step else { continue };
        let Some(choice) = choices.get_mut(piece.choice) else { continue };
        let Parts { reasoning, answer } = choice.take(&piece);
        let mut delta = Map::new();
        if !reasoning.is_empty() {
            // Clients look for either name.
            delta.insert("reasoning_content".to_owned(), json!(reasoning));
            delta.insert("reasoning".to_owned(), json!(reasoning));
        }
        if !answer.is_empty() {
            delta.insert("content".to_owned(), json!(answer));
        }
        if delta.is_empty() && piece.finish.is_none() {
            continue;
        }
        let logprobs = choice.logprobs.as_mut().map(ChatLogprobs::take);
        let (finish_reason, stop_reason) = finish_json(piece.finish.as_ref());
        let chunk = head.delta(piece.choice, &delta, (logprobs, finish_reason, stop_reason));
        if sender.send(&chunk).await.is_err() {
            return Ok(());
        }
    }
    remember(&app, &asked, &head, &choices);
    if asked.params.include_usage {
        let counts = (generation.completion_tokens, generation.cached_tokens);
        let mut chunk = head.chunk(&json!([]));
        chunk["usage"] = usage(&asked, counts, &choices).json();
        // A client that has gone needs no usage.
        let _ = sender.send(&chunk).await;
    }
    Ok(())
}
