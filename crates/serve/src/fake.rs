//! An engine without a model, for tests and for trying the server out: what it says depends
//! on the prompt alone.
//!
//! A choice replies with the prompt's tokens backwards (or with a fixed text), turned by the
//! choice's number, and then ends with a stop token if it may, else begins anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use limbeck_infer::{Error, FinishReason, Result};
use limbeck_run::config::Invalid;

use crate::backend::{Backend, BackendFactory};
use limbeck_infer::{Output, Request, RequestId, Stats, TokenLogprobs};

/// How a [`FakeBackend`] behaves.
#[derive(Debug, Clone)]
pub struct FakeConfig {
    /// Ids are below this.
    pub vocab_size: i64,
    /// Most sequences computed in a step; others wait.
    pub max_running: usize,
    /// Tokens that a step gives each of them.
    pub tokens_per_step: usize,
    /// Steps that give nothing before one that does.
    pub idle_steps: usize,
    /// How long a step takes.
    pub step_time: Duration,
    /// What every choice says; empty for the prompt backwards.
    pub reply: Vec<i64>,
    /// Tokens after which a choice says nothing more and does not end either.
    pub hang_after: Option<usize>,
    /// A request with this token in its prompt fails.
    pub failing_token: Option<i64>,
    /// The engine panics on a request with this token in its prompt.
    pub panicking_token: Option<i64>,
    /// Longest prompt and reply together; longer ones are refused at submission.
    pub capacity: usize,
}

impl Default for FakeConfig {
    fn default() -> Self {
        Self {
            vocab_size: 640,
            max_running: 8,
            tokens_per_step: 1,
            idle_steps: 0,
            step_time: Duration::ZERO,
            reply: Vec::new(),
            hang_after: None,
            failing_token: None,
            panicking_token: None,
            capacity: 4096,
        }
    }
}

/// What a test sees and holds of a running fake.
#[derive(Debug, Default)]
pub struct FakeControl {
    /// Steps give nothing while this is set.
    pub paused: AtomicBool,
    /// Requests taken.
    pub submitted: AtomicUsize,
    /// Requests cancelled before their end.
    pub cancelled: AtomicUsize,
    /// Choices cancelled before their end.
    pub choices_cancelled: AtomicUsize,
    /// Requests not ended.
    pub live: AtomicUsize,
    /// Steps made.
    pub steps: AtomicU64,
}

/// An engine without a model.
#[derive(Debug)]
pub struct FakeBackend {
    config: FakeConfig,
    control: Arc<FakeControl>,
    requests: BTreeMap<(i32, RequestId), Live>,
    next_id: u64,
    stats: Stats,
}

#[derive(Debug)]
struct Live {
    request: Request,
    prompt_told: bool,
    idle_steps: usize,
    /// By choice: tokens so far, `None` after the end.
    choices: Vec<Option<usize>>,
}

impl FakeBackend {
    /// An idle engine.
    pub fn new(config: FakeConfig, control: Arc<FakeControl>) -> Self {
        let stats = Stats { total_blocks: 64, free_blocks: 64, ..Stats::default() };
        Self { config, control, requests: BTreeMap::new(), next_id: 0, stats }
    }

    /// Makes it on the engine's thread.
    pub fn factory(config: FakeConfig, control: Arc<FakeControl>) -> Box<dyn BackendFactory> {
        Box::new(move |run: &mut dyn FnMut(&mut dyn Backend)| {
            run(&mut Self::new(config, control));
            Ok(())
        })
    }

    fn step_request(
        config: &FakeConfig,
        live: &mut Live,
        id: RequestId,
        outputs: &mut Vec<Output>,
    ) {
        let Live { request, choices, .. } = live;
        if let Some(top) = request.prompt_logprobs.filter(|_| !live.prompt_told) {
            let known = |(place, token): (usize, &i64)| {
                (place > 0).then(|| logprobs(*token, place, top, config.vocab_size))
            };
            let logprobs = request.prompt.iter().enumerate().map(known).collect();
            outputs.push(Output::Prompt { request: id, logprobs });
        }
        live.prompt_told = true;
        if live.idle_steps > 0 {
            live.idle_steps -= 1;
            return;
        }
        live.idle_steps = config.idle_steps;
        let params = &request.params;
        for _ in 0..config.tokens_per_step {
            for (choice, state) in choices.iter_mut().enumerate() {
                let Some(said) = *state else { continue };
                if config.hang_after.is_some_and(|most| said >= most) {
                    continue;
                }
                let stop = params.stop_token_ids.first().copied();
                let reply = reply(config, &request.prompt, choice);
                let finished = if said >= reply.len() && said >= params.min_tokens && stop.is_some()
                {
                    Some((FinishReason::Stop, stop))
                } else {
                    let token = reply.get(said % reply.len().max(1)).copied().unwrap_or(0);
                    let place = request.prompt.len() + said;
                    let logprobs =
                        params.logprobs.map(|top| logprobs(token, place, top, config.vocab_size));
                    outputs.push(Output::Token { request: id, choice, token, logprobs });
                    *state = Some(said + 1);
                    (said + 1 >= params.max_new_tokens).then_some((FinishReason::Length, None))
                };
                if let Some((reason, stop_token)) = finished {
                    *state = None;
                    let cached_tokens = request.prompt.len() / 16 * 16;
                    outputs.push(Output::Finished {
                        request: id,
                        choice,
                        reason,
                        stop_token,
                        cached_tokens,
                    });
                }
            }
        }
    }
}

fn reply(config: &FakeConfig, prompt: &[i64], choice: usize) -> Vec<i64> {
    let mut reply: Vec<i64> = if config.reply.is_empty() {
        prompt.iter().rev().copied().collect()
    } else {
        config.reply.clone()
    };
    let turn = choice % reply.len().max(1);
    reply.rotate_left(turn);
    reply
}

/// Some log-probabilities: on even places of the sequence the token is the likeliest, on odd
/// ones the second.
fn logprobs(token: i64, place: usize, top: usize, vocab_size: i64) -> TokenLogprobs {
    let rank = 1 + place % 2;
    let logprob = |rank: usize| -0.1 * rank as f32 - 0.01 * (place % 7) as f32;
    let mut tokens: Vec<i64> = (1..=top as i64).map(|other| (token + other) % vocab_size).collect();
    tokens.insert((rank - 1).min(tokens.len()), token);
    let top = tokens.iter().enumerate().map(|(place, id)| (*id, logprob(place + 1))).take(top);
    // With no rivals to show, the rank's own value still holds.
    TokenLogprobs { token, logprob: logprob(rank), rank, top: top.collect() }
}

impl Backend for FakeBackend {
    fn submit(&mut self, request: Request) -> Result<RequestId> {
        let (prompt_tokens, max_new_tokens) = (request.prompt.len(), request.params.max_new_tokens);
        if prompt_tokens == 0 {
            return Err(Error::Empty { index: 0 });
        }
        let vocab_size = self.config.vocab_size;
        if let Some(&token) = request.prompt.iter().find(|token| !(0..vocab_size).contains(*token))
        {
            return Err(Error::TokenOutOfRange { index: 0, token, vocab_size });
        }
        if prompt_tokens + max_new_tokens > self.config.capacity {
            let bytes = (prompt_tokens + max_new_tokens) as u64;
            let max_cache_bytes = self.config.capacity as u64;
            return Err(Error::OverBudget { index: 0, bytes, max_cache_bytes });
        }
        if request.params.n == 0 {
            return Err(Error::Setting(Invalid::new("n", "at least 1", 0)));
        }
        let id = RequestId(self.next_id);
        self.next_id += 1;
        self.stats.prompt_tokens += prompt_tokens as u64;
        let choices = vec![Some(0); request.params.n];
        let idle_steps = self.config.idle_steps;
        let key = (request.priority, id);
        self.requests.insert(key, Live { request, prompt_told: false, idle_steps, choices });
        self.control.submitted.fetch_add(1, Ordering::SeqCst);
        self.control.live.store(self.requests.len(), Ordering::SeqCst);
        Ok(id)
    }

    fn cancel(&mut self, request: RequestId) -> bool {
        let before = self.requests.len();
        self.requests.retain(|(_, id), _| *id != request);
        let found = self.requests.len() < before;
        if found {
            self.control.cancelled.fetch_add(1, Ordering::SeqCst);
        }
        self.control.live.store(self.requests.len(), Ordering::SeqCst);
        found
    }

    fn cancel_choice(&mut self, request: RequestId, choice: usize) -> bool {
        let mut all = self.requests.iter_mut();
        let Some((_, live)) = all.find(|((_, id), _)| *id == request) else { return false };
        let ended = live
            .choices
            .get_mut(choice)
            .filter(|said| said.is_some_and(|said| said > 0))
            .is_some_and(|said| said.take().is_some());
        self.control.choices_cancelled.fetch_add(usize::from(ended), Ordering::SeqCst);
        self.requests.retain(|_, live| live.choices.iter().any(Option::is_some));
        self.control.live.store(self.requests.len(), Ordering::SeqCst);
        ended
    }

    fn step(&mut self) -> Result<Vec<Output>> {
        self.stats.steps += 1;
        self.control.steps.fetch_add(1, Ordering::SeqCst);
        if self.control.paused.load(Ordering::SeqCst) {
            // As a model would, so that waiting does not take a whole core.
            std::thread::sleep(Duration::from_micros(200));
            return Ok(Vec::new());
        }
        std::thread::sleep(self.config.step_time);
        let mut outputs = Vec::new();
        for ((_, id), live) in self.requests.iter_mut().take(self.config.max_running) {
            let holds = |token: Option<i64>| {
                token.is_some_and(|token| live.request.prompt.contains(&token))
            };
            assert!(!holds(self.config.panicking_token), "the fake engine was told to panic");
            if holds(self.config.failing_token) {
                live.choices.fill(None);
                let position = live.request.prompt.len();
                outputs.push(Output::Failed {
                    request: *id,
                    error: Error::NotFinite { index: 0, position },
                });
                continue;
            }
            Self::step_request(&self.config, live, *id, &mut outputs);
        }
        self.requests.retain(|_, live| live.choices.iter().any(Option::is_some));
        let tokens = outputs.iter().filter(|output| matches!(output, Output::Token { .. })).count();
        self.stats.generated_tokens += tokens as u64;
        self.stats.last_step_tokens = tokens;
        self.control.live.store(self.requests.len(), Ordering::SeqCst);
        Ok(outputs)
    }

    fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    fn stats(&self) -> Stats {
        let sequences: usize = self.requests.values().map(|live| live.choices.len()).sum();
        let running = sequences.min(self.config.max_running);
        let free_blocks = self.stats.total_blocks - running.min(self.stats.total_blocks);
        Stats { running, waiting: sequences - running, free_blocks, ..self.stats }
    }
}
