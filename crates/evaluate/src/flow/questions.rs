//! The questions of a run: each problem of each task, as often as it is asked, in tokens.

use std::collections::HashSet;

use limbeck_core::Tokenizer;
use limbeck_infer::SamplingParams;
use limbeck_infer::reasoning::opens_reasoning;
use limbeck_run::sha256_bytes;

use super::replies::Replies;
use crate::config::EvaluateConfig;
use crate::task::{Ask, Problem, Style, Task};
use crate::{Error, Result};

/// A problem put to a model once.
#[derive(Debug)]
pub(crate) struct Question<'t> {
    pub(crate) task: &'t Task,
    pub(crate) problem: &'t Problem,
    /// Which of several times the problem is asked, from 0.
    pub(crate) repeat: usize,
    pub(crate) style: Style,
    pub(crate) text: String,
    pub(crate) tokens: Vec<i64>,
    /// Whether the prompt ends inside a think block.
    pub(crate) opened: bool,
    pub(crate) params: SamplingParams,
    /// The stream that its draws come from.
    pub(crate) stream: u64,
    /// What its answer is kept under.
    pub(crate) key: String,
}

/// All questions, task by task, problem by problem.
///
/// # Errors
/// No problem at all; two of one task with the same id; a chat without a template.
pub(crate) fn questions<'t>(
    tasks: &'t [Task],
    tokenizer: &Tokenizer,
    config: &EvaluateConfig,
) -> Result<Vec<Question<'t>>> {
    let mut questions = Vec::new();
    for task in tasks {
        check_ids(task)?;
        let style = config.style.unwrap_or(task.style);
        let template = match style {
            Style::Chat => Some(tokenizer.require_chat_template()?),
            Style::Raw => None,
        };
        let params = SamplingParams {
            max_new_tokens: task.max_new_tokens.unwrap_or(config.max_new_tokens),
            temperature: task.temperature.unwrap_or(config.temperature),
            top_p: task.top_p.unwrap_or(config.top_p),
            ..config.sampling(tokenizer.eos_token_ids())
        };
        let repeats = match task.ask {
            Ask::Reply => task.repeats.unwrap_or(config.repeats).max(1),
            Ask::Choose => 1,
        };
        for problem in &task.problems {
            let text = problem.prompt.render(style, template)?;
            let tokens = match style {
                Style::Chat => tokenizer.encode(&text)?,
                Style::Raw => tokenizer.encode_document(&text)?,
            };
            let opened = style == Style::Chat && opens_reasoning(&text);
            for repeat in 0..repeats {
                let identity = format!(
                    "{:?} {tokens:?} {:?} {} {} {} {repeat}",
                    problem.choices,
                    task.until,
                    params.max_new_tokens,
                    params.temperature,
                    params.top_p,
                );
                questions.push(Question {
                    task,
                    problem,
                    repeat,
                    style,
                    text: text.clone(),
                    tokens: tokens.clone(),
                    opened,
                    params: params.clone(),
                    stream: questions.len() as u64,
                    key: sha256_bytes(identity.as_bytes()),
                });
            }
        }
    }
    if questions.is_empty() { Err(Error::NoRecords) } else { Ok(questions) }
}

/// The questions that `replies` answer; a problem without a reply is asked once.
///
/// # Errors
/// As [`questions`].
pub(crate) fn given<'t>(tasks: &'t [Task], replies: &Replies) -> Result<Vec<Question<'t>>> {
    let mut questions = Vec::new();
    for task in tasks {
        check_ids(task)?;
        for problem in &task.problems {
            for repeat in 0..replies.count(problem).max(1) {
                questions.push(Question {
                    task,
                    problem,
                    repeat,
                    style: task.style,
                    text: String::new(),
                    tokens: Vec::new(),
                    opened: false,
                    params: SamplingParams::default(),
                    stream: 0,
                    key: String::new(),
                });
            }
        }
    }
    if questions.is_empty() { Err(Error::NoRecords) } else { Ok(questions) }
}

/// Two problems with one id could not be paired between models.
fn check_ids(task: &Task) -> Result<()> {
    let mut seen = HashSet::new();
    match task.problems.iter().find(|problem| !seen.insert(problem.record.id.as_str())) {
        Some(problem) => Err(Error::DuplicateId { id: problem.record.id.clone() }),
        None => Ok(()),
    }
}
