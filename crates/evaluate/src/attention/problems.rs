//! Attention over the problems of a run.

use super::{AttentionMap, MapOptions};
use crate::Result;
use crate::evaluation::Subject;
use crate::task::{Problem, Style, Task};

/// Single heads that are kept of each problem.
const HEADS: usize = 2;

/// A model's attention over `count` problems with the records' own chains, spread evenly over
/// those of the tasks that have chains: the same problems and chains for every model, so that
/// models stand side by side.
///
/// # Errors
/// As [`AttentionMap::of`]; a chain that is too long for the model is left out.
pub fn attention_of_tasks(
    subject: Subject<'_>,
    tasks: &[Task],
    count: usize,
) -> Result<Vec<AttentionMap>> {
    let Subject { decoder, tokenizer, .. } = subject;
    let problems: Vec<(&Problem, Style)> = tasks
        .iter()
        .flat_map(|task| task.problems.iter().map(|problem| (problem, task.style)))
        .filter(|(problem, _)| !problem.record.thought_process.is_empty())
        .collect();
    let count = count.min(problems.len());
    let options = MapOptions { heads: HEADS, raw: true, ..MapOptions::default() };
    let limit = decoder.config().max_position_embeddings as usize;
    let mut maps = Vec::with_capacity(count);
    for at in 0..count {
        let (problem, style) = problems[at * problems.len() / count];
        let template = tokenizer.chat_template();
        let prompt = problem.prompt.render(style, template)?;
        let reply = problem.record.completion();
        let tokens = tokenizer.encode(&prompt)?.len() + tokenizer.encode(&reply)?.len();
        if tokens <= limit {
            let id = &problem.record.id;
            maps.push(AttentionMap::of(decoder, tokenizer, id, &prompt, &reply, &options)?);
        }
    }
    Ok(maps)
}
