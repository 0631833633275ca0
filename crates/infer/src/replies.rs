//! What a step's logits bring: tokens of replies, log-probabilities, ends and failures.

use std::collections::BTreeMap;

use crate::Error;
use crate::engine::FinishReason;
use crate::logprobs::{TokenLogprobs, token_logprobs};
use crate::request::{Output, PromptLogprobs, RequestId};
use crate::sampler::{Place, Sampler};
use crate::sampling::SamplingParams;
use crate::session::Session;

/// A request under way.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) params: SamplingParams,
    pub(crate) prompt_tokens: usize,
    pub(crate) prompt_logprobs: Option<PromptLogprobs>,
    /// By choice; those that have ended are gone.
    pub(crate) choices: BTreeMap<usize, Choice>,
}

#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) sampler: Sampler,
    pub(crate) generated: usize,
}

/// Logits that a step has to give.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Row of the pass.
    pub(crate) row: i64,
    request: u64,
    purpose: Purpose,
}

#[derive(Debug, Clone, Copy)]
enum Purpose {
    /// To rate the token of the prompt that follows a position.
    Rate { position: usize, target: i64 },
    /// To choose the next token of a reply, or the first of several.
    Choose { choice: usize, replies: usize, cached_tokens: usize },
}

impl Session<'_> {
    /// What the rows of a pass are wanted for, in their order.
    pub(crate) fn wanted(&self, order: &[usize]) -> Vec<Wanted> {
        let mut wanted = Vec::with_capacity(order.len());
        let mut start = 0;
        for &place in order {
            let sequence = &self.scheduler.running()[place];
            let request = sequence.request;
            let live = self.requests.get(&request);
            let computed = sequence.computed..sequence.computed + sequence.planned;
            let row = |position: usize| (start + position - computed.start) as i64;
            if let Some(live) = live
                && let Some(logprobs) = &live.prompt_logprobs
                && !logprobs.is_reported()
            {
                let first = computed.start.max(logprobs.next_position());
                for position in first..computed.end.min(live.prompt_tokens - 1) {
                    let target = sequence.tokens[position + 1];
                    let purpose = Purpose::Rate { position, target };
                    wanted.push(Wanted { row: row(position), request, purpose });
                }
            }
            if sequence.is_read() {
                let purpose = Purpose::Choose {
                    choice: sequence.choice,
                    replies: sequence.replies,
                    cached_tokens: sequence.cached_tokens.unwrap_or(0),
                };
                wanted.push(Wanted { row: row(computed.end - 1), request, purpose });
            }
            start += computed.len();
        }
        wanted
    }

    /// Whether the likeliest token is all that is wanted.
    pub(crate) fn wants_likeliest(&self, wanted: &Wanted) -> bool {
        let Purpose::Choose { choice, replies: 1, .. } = wanted.purpose else { return false };
        self.requests.get(&wanted.request).is_some_and(|live| {
            let reported = live.params.logprobs.is_some() || live.prompt_logprobs.is_some();
            let choice = live.choices.get(&choice);
            let takes =
                |choice: &Choice| choice.sampler.takes_likeliest(&live.params, choice.generated);
            !reported && choice.is_some_and(takes)
        })
    }

    /// Reads the logits `[vocab]` of a row.
    pub(crate) fn read_logits(
        &mut self,
        wanted: &Wanted,
        logits: &[f32],
        outputs: &mut Vec<Output>,
    ) {
        let request = wanted.request;
        let Some(live) = self.requests.get_mut(&request) else { return };
        let index = request as usize;
        match wanted.purpose {
            Purpose::Rate { position, target } => {
                let read = live
                    .prompt_logprobs
                    .as_mut()
                    .map_or(Ok(()), |known| known.read(logits, index, position, target));
                if let Err(error) = read {
                    self.fail(request, error, outputs);
                }
            }
            Purpose::Choose { choice, replies, cached_tokens } => {
                if live.choices.get(&choice).is_some_and(|choice| choice.generated == 0) {
                    // Diverged weights show here; the highest of NaN would be some token.
                    if logits.iter().any(|logit| logit.is_nan()) {
                        let position = live.prompt_tokens;
                        let error = Error::NotFinite { index, position };
                        self.fail(request, error, outputs);
                        return;
                    }
                    if choice == 0 {
                        self.prompt_tokens += live.prompt_tokens as u64;
                    }
                }
                let report = live.prompt_logprobs.as_mut().and_then(PromptLogprobs::report);
                if let Some(logprobs) = report {
                    outputs.push(Output::Prompt { request: RequestId(request), logprobs });
                }
                if replies > 1 {
                    self.scheduler.fork(request);
                }
                for choice in choice..choice + replies {
                    self.choose(request, choice, logits, cached_tokens, outputs);
                }
            }
        }
    }

    fn choose(
        &mut self,
        request: u64,
        choice: usize,
        logits: &[f32],
        cached_tokens: usize,
        outputs: &mut Vec<Output>,
    ) {
        let Some(Live { params, prompt_tokens, choices, .. }) = self.requests.get_mut(&request)
        else {
            return;
        };
        let Some(Choice { sampler, generated }) = choices.get_mut(&choice) else { return };
        let position = *prompt_tokens + *generated;
        let place = Place { request: request as usize, position, generated: *generated };
        let chosen = sampler.choose(logits, params, place).and_then(|token| {
            let logprobs = match params.logprobs {
                None => None,
                Some(num_top) => Some(
                    token_logprobs(logits, token, num_top)
                        .ok_or(Error::NotFinite { index: place.request, position })?,
                ),
            };
            if !params.stop_token_ids.contains(&token) {
                sampler.accept(token, params)?;
            }
            Ok((token, logprobs))
        });
        match chosen {
            Ok((token, logprobs)) => {
                self.advance(request, choice, token, logprobs, cached_tokens, outputs);
            }
            Err(error) => self.fail(request, error, outputs),
        }
    }

    /// The likeliest token of a row for which that is all that is wanted, with its logit.
    pub(crate) fn read_likeliest(
        &mut self,
        wanted: &Wanted,
        (token, logit): (i64, f32),
        outputs: &mut Vec<Output>,
    ) {
        let Purpose::Choose { choice, cached_tokens, .. } = wanted.purpose else { return };
        let request = wanted.request;
        let Some(live) = self.requests.get(&request) else { return };
        let Some(Choice { generated, .. }) = live.choices.get(&choice) else { return };
        if !logit.is_finite() {
            let position = live.prompt_tokens + generated;
            let error = Error::NotFinite { index: request as usize, position };
            self.fail(request, error, outputs);
            return;
        }
        if *generated == 0 {
            self.prompt_tokens += live.prompt_tokens as u64;
        }
        self.advance(request, choice, token, None, cached_tokens, outputs);
    }

    /// A reply goes on with a token, or ends.
    fn advance(
        &mut self,
        request: u64,
        choice: usize,
        token: i64,
        logprobs: Option<TokenLogprobs>,
        cached_tokens: usize,
        outputs: &mut Vec<Output>,
    ) {
        let Some(live) = self.requests.get_mut(&request) else { return };
        let Some(reply) = live.choices.get_mut(&choice) else { return };
        self.generated_tokens += 1;
        let id = RequestId(request);
        let stop_token = live.params.stop_token_ids.contains(&token).then_some(token);
        let reason = if stop_token.is_some() {
            FinishReason::Stop
        } else {
            reply.generated += 1;
            outputs.push(Output::Token { request: id, choice, token, logprobs });
            if reply.generated < live.params.max_new_tokens {
                self.scheduler.push(request, choice, token);
                return;
            }
            FinishReason::Length
        };
        outputs.push(Output::Finished { request: id, choice, reason, stop_token, cached_tokens });
        live.choices.remove(&choice);
        if live.choices.is_empty() {
            self.requests.remove(&request);
        }
        self.scheduler.remove(request, Some(choice));
    }

    pub(crate) fn fail(&mut self, request: u64, error: Error, outputs: &mut Vec<Output>) {
        self.requests.remove(&request);
        self.scheduler.remove(request, None);
        outputs.push(Output::Failed { request: RequestId(request), error });
    }
}
