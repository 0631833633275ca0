//! The events of one prompt made into pieces of text: detokenised, cut at stop strings,
//! counted.

use std::collections::VecDeque;

use limbeck_core::Tokenizer;
use limbeck_infer::FinishReason;
use serde_json::{Value, json};

use crate::metrics::Outcome;
use crate::worker::{Event, EventStream};
use limbeck_infer::TokenLogprobs;
use limbeck_infer::{Delta, TextStream};

use super::error::{ApiError, ApiResult};

/// What comes of a prompt, in order.
#[derive(Debug)]
pub(super) enum Step {
    /// The prompt's log-probabilities, before any piece.
    Prompt(Vec<Option<TokenLogprobs>>),
    /// More of a choice.
    Piece(Piece),
}

/// More of a choice. Its text may be behind its tokens, never ahead.
#[derive(Debug)]
pub(super) struct Piece {
    /// Which choice, from 0.
    pub(super) choice: usize,
    pub(super) text: String,
    pub(super) tokens: Vec<(i64, Option<TokenLogprobs>)>,
    /// In a choice's last piece.
    pub(super) finish: Option<Finish>,
}

/// How a choice ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Finish {
    /// `stop` or `length`.
    pub(super) reason: &'static str,
    /// The stop string, or the stop token that is not the model's own.
    pub(super) stop_reason: Value,
}

/// How a prompt's choices are made of events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape<'t> {
    pub(super) tokenizer: &'t Tokenizer,
    pub(super) stop: &'t [String],
    pub(super) skip_special: bool,
    pub(super) eos_token_ids: &'t [i64],
    pub(super) choices: usize,
    /// Whether only the prompt was asked about; the engine generates a token all the same.
    pub(super) prompt_only: bool,
}

/// The growing choices of one prompt. Dropping it cancels what is not done.
#[derive(Debug)]
pub(super) struct Generation<'t> {
    events: EventStream,
    shape: Shape<'t>,
    choices: Vec<Choice<'t>>,
    ready: VecDeque<Step>,
    /// Tokens generated, stop tokens included.
    pub(super) completion_tokens: usize,
    /// Prompt tokens from the prefix cache.
    pub(super) cached_tokens: usize,
}

#[derive(Debug)]
struct Choice<'t> {
    text: TextStream<&'t Tokenizer>,
    ended: bool,
}

/// Waits until the engine has taken a request, so that a refusal is still a status.
pub(crate) async fn accepted(events: &mut EventStream) -> ApiResult<()> {
    match events.next().await {
        Some(Event::Accepted) => Ok(()),
        Some(Event::Failed(error)) => Err(error),
        _ => Err(stopped()),
    }
}

fn stopped() -> ApiError {
    ApiError::unavailable("the engine has stopped")
}

impl<'t> Generation<'t> {
    /// The choices of a request that was accepted.
    pub(super) fn new(events: EventStream, shape: Shape<'t>) -> Self {
        let choice = |_| Choice {
            text: TextStream::new(shape.tokenizer, shape.stop, shape.skip_special),
            ended: false,
        };
        Self {
            events,
            choices: (0..shape.choices).map(choice).collect(),
            shape,
            ready: VecDeque::new(),
            completion_tokens: 0,
            cached_tokens: 0,
        }
    }

    /// What comes next; `None` once all choices have ended.
    ///
    /// # Errors
    /// What the client is to hear; nothing comes after it.
    pub(super) async fn next(&mut self) -> ApiResult<Option<Step>> {
        loop {
            if let Some(step) = self.ready.pop_front() {
                return Ok(Some(step));
            }
            if self.choices.iter().all(|choice| choice.ended) {
                return Ok(None);
            }
            let event = self.events.next().await.ok_or_else(stopped)?;
            self.take(event)?;
        }
    }

    fn take(&mut self, event: Event) -> ApiResult<()> {
        match event {
            Event::Accepted => {}
            Event::Failed(error) => return Err(error),
            Event::Prompt(logprobs) => {
                self.ready.push_back(Step::Prompt(logprobs));
                if self.shape.prompt_only {
                    self.end_all();
                }
            }
            // Nothing was asked of the token, which may come without the prompt before it.
            _ if self.shape.prompt_only => self.end_all(),
            Event::Token { choice, token, logprobs } => self.token(choice, token, logprobs)?,
            Event::Finished { choice, reason, stop_token, cached_tokens } => {
                self.cached_tokens = self.cached_tokens.max(cached_tokens);
                self.finished(choice, reason, stop_token)?;
            }
        }
        Ok(())
    }

    fn token(
        &mut self,
        choice: usize,
        token: i64,
        logprobs: Option<TokenLogprobs>,
    ) -> ApiResult<()> {
        let Some(state) = self.choices.get_mut(choice).filter(|state| !state.ended) else {
            return Ok(());
        };
        self.completion_tokens += 1;
        let Delta { text, stopped } =
            state.text.push(token).map_err(|error| undecodable(&error))?;
        let finish = stopped
            .map(|stop| Finish { reason: "stop", stop_reason: json!(self.shape.stop.get(stop)) });
        state.ended = finish.is_some();
        self.ready.push_back(Step::Piece(Piece {
            choice,
            text,
            tokens: vec![(token, logprobs)],
            finish,
        }));
        if self.choices.iter().all(|choice| choice.ended) {
            self.events.done(Outcome::Stop);
        } else if self.choices[choice].ended {
            self.events.enough(choice);
        }
        Ok(())
    }

    fn finished(
        &mut self,
        choice: usize,
        reason: FinishReason,
        stop_token: Option<i64>,
    ) -> ApiResult<()> {
        let Some(state) = self.choices.get_mut(choice).filter(|state| !state.ended) else {
            return Ok(());
        };
        state.ended = true;
        self.completion_tokens += usize::from(stop_token.is_some());
        let Delta { text, stopped } = state.text.finish().map_err(|error| undecodable(&error))?;
        let own = |token: &i64| !self.shape.eos_token_ids.contains(token);
        let finish = match (stopped, reason) {
            (Some(stop), _) => {
                Finish { reason: "stop", stop_reason: json!(self.shape.stop.get(stop)) }
            }
            (None, FinishReason::Stop) => {
                Finish { reason: "stop", stop_reason: json!(stop_token.filter(own)) }
            }
            (None, FinishReason::Length) => Finish { reason: "length", stop_reason: Value::Null },
        };
        let finish = Some(finish);
        self.ready.push_back(Step::Piece(Piece { choice, text, tokens: Vec::new(), finish }));
        Ok(())
    }

    fn end_all(&mut self) {
        for (index, choice) in self.choices.iter_mut().enumerate() {
            if !choice.ended {
                choice.ended = true;
                self.ready.push_back(Step::Piece(Piece {
                    choice: index,
                    text: String::new(),
                    tokens: Vec::new(),
                    finish: Some(Finish { reason: "length", stop_reason: Value::Null }),
                }));
            }
        }
        self.events.done(Outcome::Length);
    }

    /// Waits for everything.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(super) async fn collect(mut self) -> ApiResult<Whole> {
        let mut whole = Whole {
            prompt: Vec::new(),
            choices: (0..self.choices.len()).map(|_| WholeChoice::default()).collect(),
            completion_tokens: 0,
            cached_tokens: 0,
        };
        while let Some(step) = self.next().await? {
            match step {
                Step::Prompt(logprobs) => whole.prompt = logprobs,
                Step::Piece(piece) => {
                    if let Some(choice) = whole.choices.get_mut(piece.choice) {
                        choice.pieces.push(piece);
                    }
                }
            }
        }
        whole.completion_tokens = self.completion_tokens;
        whole.cached_tokens = self.cached_tokens;
        Ok(whole)
    }
}

fn undecodable(error: &limbeck_infer::Error) -> ApiError {
    tracing::error!(%error, "the tokenizer cannot decode what the model generated");
    ApiError::internal("the model's tokens could not be decoded")
}

/// All that came of a prompt.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) prompt: Vec<Option<TokenLogprobs>>,
    pub(super) choices: Vec<WholeChoice>,
    pub(super) completion_tokens: usize,
    pub(super) cached_tokens: usize,
}

/// A choice in pieces.
#[derive(Debug, Default)]
pub(super) struct WholeChoice {
    pub(super) pieces: Vec<Piece>,
}

impl WholeChoice {
    /// Its text.
    pub(super) fn text(&self) -> String {
        self.pieces.iter().map(|piece| piece.text.as_str()).collect()
    }

    /// Its tokens with what is known of them.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &(i64, Option<TokenLogprobs>)> {
        self.pieces.iter().flat_map(|piece| &piece.tokens)
    }

    /// How it ended.
    pub(super) fn finish(&self) -> Option<&Finish> {
        self.pieces.iter().find_map(|piece| piece.finish.as_ref())
    }

    /// Mean log-probability of its tokens, by which choices are ranked.
    pub(super) fn mean_logprob(&self) -> f64 {
        let known = |(_, logprobs): &(i64, Option<TokenLogprobs>)| {
            logprobs.as_ref().map(|logprobs| f64::from(logprobs.logprob))
        };
        let (sum, count) = self
            .tokens()
            .filter_map(known)
            .fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
        if count == 0.0 { f64::NEG_INFINITY } else { sum / count }
    }
}

/// Counts of tokens, as `usage` shows them.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_field_names, reason = "the names of the reply")]
pub(super) struct Usage {
    pub(super) prompt_tokens: usize,
    pub(super) completion_tokens: usize,
    pub(super) cached_tokens: usize,
    /// Of chats alone.
    pub(super) reasoning_tokens: Option<usize>,
}

impl Usage {
    pub(super) fn json(&self) -> Value {
        let mut usage = json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": { "cached_tokens": self.cached_tokens },
        });
        if let Some(reasoning_tokens) = self.reasoning_tokens {
            usage["completion_tokens_details"] = json!({ "reasoning_tokens": reasoning_tokens });
        }
        usage
    }
}
