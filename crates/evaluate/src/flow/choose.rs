//! How a model rates the choices of a question: the log-probability of each after the prompt.

use limbeck_core::Tokenizer;
use limbeck_infer::Engine;

use super::journal::{Answer, Journal};
use super::questions::Question;
use crate::task::Style;

/// Questions rated at a time: what a killed run has to rate again.
const CHUNK: usize = 32;

/// Rates the choices of the questions at `places`.
///
/// Prompt and choice are encoded together and split where the prompt alone ends, white space at
/// the prompt's end counting for the choice, as lm-eval does.
///
/// # Errors
/// What concerns all: the device, the journal's disk.
pub(crate) fn choose(
    engine: &Engine<'_>,
    tokenizer: &Tokenizer,
    questions: &[Question<'_>],
    places: &[usize],
    deterministic: bool,
    journal: &mut Journal,
    mut done: impl FnMut(),
) -> Result<Vec<(usize, Answer)>> {
    let mut answers = Vec::with_capacity(places.len());
    // What is rated together is padded to one length, which shows in the last bits.
    let chunk = if deterministic { 1 } else { CHUNK };
    for places in places.chunks(chunk) {
        let mut sequences = Vec::new();
        let mut starts = Vec::new();
        for &place in places {
            for (start, sequence) in encoded(tokenizer, &questions[place])? {
                starts.push(start);
                sequences.push(sequence);
            }
        }
        let scores = score(engine, &sequences, deterministic);
        let mut rated = starts.iter().zip(&scores).map(|(&start, score)| match score {
            Ok(logprobs) => Ok(logprobs[start.min(logprobs.len())..]
                .iter()
                .map(|logprob| logprob.map_or(0.0, f64::from))
                .sum::<f64>()),
            Err(reason) => Err(reason.clone()),
        });
        for &place in places {
            let question = &questions[place];
            let of_choices: Vec<Result<f64, String>> =
                rated.by_ref().take(question.problem.choices.len()).collect();
            let answer = match of_choices.into_iter().collect::<Result<Vec<f64>, String>>() {
                Ok(logprobs) if logprobs.iter().all(|value| value.is_finite()) => {
                    Answer::Rated { logprobs }
                }
                Ok(_) => Answer::Failed { reason: "the logits are not finite".to_owned() },
                Err(reason) => Answer::Failed { reason },
            };
            journal.keep(&question.key, &answer)?;
            answers.push((place, answer));
            done();
        }
        journal.flush()?;
    }
    Ok(answers)
}

type Result<T, E = crate::Error> = std::result::Result<T, E>;

/// The log-probabilities of each sequence, or why it has none.
fn score(
    engine: &Engine<'_>,
    sequences: &[Vec<i64>],
    one_by_one: bool,
) -> Vec<Result<Vec<Option<f32>>, String>> {
    if !one_by_one && let Ok(scores) = engine.score(sequences) {
        return scores.into_iter().map(Ok).collect();
    }
    // One of them may be too long: the others are rated all the same.
    sequences
        .iter()
        .map(|sequence| match engine.score(std::slice::from_ref(sequence)) {
            Ok(mut scores) => Ok(scores.pop().unwrap_or_default()),
            Err(error) => Err(error.to_string()),
        })
        .collect()
}

/// Each choice after the prompt, and the token at which it begins.
fn encoded(tokenizer: &Tokenizer, question: &Question<'_>) -> Result<Vec<(usize, Vec<i64>)>> {
    let encode = |text: &str| match question.style {
        Style::Chat => tokenizer.encode(text),
        Style::Raw => tokenizer.encode_document(text),
    };
    let context = question.text.trim_end();
    let start = encode(context)?.len();
    let delimiter = match question.style {
        Style::Chat => "",
        Style::Raw => question.task.target_delimiter.as_str(),
    };
    let choice = |choice: &String| {
        let whole = encode(&format!("{}{delimiter}{choice}", question.text))?;
        Ok((start.min(whole.len()), whole))
    };
    question.problem.choices.iter().map(choice).collect()
}
