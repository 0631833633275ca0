//! Replies to questions, from a session of the engine.

use std::collections::BTreeMap;

use limbeck_core::Tokenizer;
use limbeck_infer::text::TextStream;
use limbeck_infer::{Engine, FinishReason, Output, Request, RequestId};

use super::journal::{Answer, Journal};
use super::questions::Question;
use crate::Result;
use crate::task::Style;

/// A reply under way.
struct Pending<'t> {
    place: usize,
    stream: TextStream<&'t Tokenizer>,
    text: String,
    tokens: usize,
}

/// Tokens of what was generated, stop tokens included.
pub(crate) type Generated = u64;

/// Has the questions at `places` answered; what one of them cannot be is its [`Answer::Failed`].
///
/// `done` hears of each answer.
///
/// # Errors
/// What concerns all: the device, the journal's disk.
pub(crate) fn generate(
    engine: &Engine<'_>,
    tokenizer: &Tokenizer,
    questions: &[Question<'_>],
    places: &[usize],
    journal: &mut Journal,
    mut done: impl FnMut(),
) -> Result<(Vec<(usize, Answer)>, Generated)> {
    let length = |&place: &usize| {
        let question = &questions[place];
        question.tokens.len() + question.params.max_new_tokens
    };
    let lengths: Vec<usize> = places.iter().map(length).collect();
    let mut session = engine.session_for(&lengths)?;
    let mut answers = Vec::with_capacity(places.len());
    let mut pending: BTreeMap<RequestId, Pending<'_>> = BTreeMap::new();
    for &place in places {
        let question = &questions[place];
        let request = Request {
            prompt: question.tokens.clone(),
            params: question.params.clone(),
            ..Request::default()
        };
        match session.submit_stream(request, question.stream) {
            Ok(id) => {
                // A model that is trained to think may have marks for it that are special.
                let skip_special = question.style == Style::Raw;
                let stream = TextStream::new(tokenizer, &question.task.until, skip_special);
                let reply = Pending { place, stream, text: String::new(), tokens: 0 };
                pending.insert(id, reply);
            }
            Err(error) => {
                answers.push((place, Answer::Failed { reason: error.to_string() }));
                done();
            }
        }
    }
    while !session.is_idle() {
        let mut ended: Vec<(RequestId, Answer)> = Vec::new();
        for output in session.step()? {
            match output {
                Output::Token { request, token, .. } => {
                    let Some(reply) = pending.get_mut(&request) else { continue };
                    reply.tokens += 1;
                    let delta = reply.stream.push(token)?;
                    reply.text.push_str(&delta.text);
                    if delta.stopped.is_some() {
                        session.cancel(request);
                        ended.push((request, reply.answer(FinishReason::Stop)));
                    }
                }
                Output::Finished { request, reason, .. } => {
                    let Some(reply) = pending.get_mut(&request) else { continue };
                    let delta = reply.stream.finish()?;
                    reply.text.push_str(&delta.text);
                    ended.push((request, reply.answer(reason)));
                }
                Output::Failed { request, error } => {
                    ended.push((request, Answer::Failed { reason: error.to_string() }));
                }
                Output::Prompt { .. } => {}
            }
        }
        for (request, answer) in ended {
            // A stop string may come with the last token: then the reply has ended twice.
            let Some(reply) = pending.remove(&request) else { continue };
            journal.keep(&questions[reply.place].key, &answer)?;
            answers.push((reply.place, answer));
            done();
        }
        journal.flush()?;
    }
    Ok((answers, session.stats().generated_tokens))
}

impl Pending<'_> {
    fn answer(&mut self, finish_reason: FinishReason) -> Answer {
        Answer::Reply { text: std::mem::take(&mut self.text), tokens: self.tokens, finish_reason }
    }
}
