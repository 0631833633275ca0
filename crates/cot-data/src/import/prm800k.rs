//! PRM800K: solutions whose steps people rated -1, 0 or 1, with other completions of a
//! step beside the one that was chosen.
//!
//! The chain is made of the chosen completions, or of what a person wrote instead. A
//! completion rated -1 with a right one in its place gives a corrected record if the
//! solution was finished; a solution that ends at a step rated -1 gives a wrong one. A
//! finished solution without such steps gives a correct one. A step may have several
//! lines; each is a line of the chain. The ratings as they were are kept with the first
//! record of a row. The answer is the problem's true one, for wrong chains too.

use serde_json::{Map, Value};

use super::chain::lines;
use super::converted::{Converted, Origin, Refusal, keep, list, scalar};
use crate::check::{answers_equal, number};
use crate::error::FieldError;
use crate::field;
use crate::label::Label;
use crate::record::CotRecord;
use crate::rejects::Reason;

const ORIGIN: Origin =
    Origin { name: "openai/prm800k", license: "MIT", teacher: None, domain: "math" };

/// The mark before the answer in the last step.
const ANSWER_MARK: &str = "# Answer";

/// A completion of a step.
struct Completion {
    lines: Vec<String>,
    rating: Option<i64>,
}

/// A step: what the chain goes on with, and the first completion rated -1.
struct Step {
    chosen: Option<Completion>,
    wrong: Option<Completion>,
}

pub(super) fn convert(mut object: Map<String, Value>) -> Result<Converted, Refusal> {
    let mut question = field::object(&mut object, "", "question")?;
    let problem = field::filled_text(&mut question, "question", "problem")?;
    let answer = scalar(&mut question, "question", "ground_truth_answer")?.ok_or_else(|| {
        let detail = "field `question.ground_truth_answer`: expected an answer, found nothing";
        Refusal::new(Reason::MissingAnswer, detail)
    })?;
    let mut label = field::object(&mut object, "", "label")?;
    let whole_label = Value::Object(label.clone());
    let finish = scalar(&mut label, "label", "finish_reason")?.unwrap_or_default();
    if finish == "bad_problem" {
        let detail = "expected a sound problem, found it called bad by its rater";
        return Err(Refusal::new(Reason::BadProblem, detail));
    }
    let mut steps = Vec::new();
    for (index, value) in list(&mut label, "steps")?.into_iter().enumerate() {
        steps.push(step(index, value)?);
    }
    let mut converted = Converted::default();
    for record in records(&problem, &answer, steps, finish == "solution")? {
        let place = converted.records.len();
        converted.records.push((Some(place), record));
    }
    for (place, (_, record)) in converted.records.iter_mut().enumerate() {
        let mut unused = object.clone();
        if !question.is_empty() {
            unused.insert("question".to_owned(), Value::Object(question.clone()));
        }
        if place == 0 {
            unused.insert("label".to_owned(), whole_label.clone());
        }
        keep(record, unused);
    }
    Ok(converted)
}

fn records(
    problem: &str,
    answer: &str,
    steps: Vec<Step>,
    is_finished: bool,
) -> Result<Vec<CotRecord>, Refusal> {
    let record =
        |chain: &[String]| ORIGIN.record(problem.to_owned(), chain.to_vec(), answer.to_owned());
    let mut chain: Vec<String> = Vec::new();
    let mut verified: Vec<bool> = Vec::new();
    let mut corrections: Vec<(Vec<String>, usize, String)> = Vec::new();
    let mut records = Vec::new();
    let mut is_open = true;
    for step in steps {
        let Step { chosen, wrong } = step;
        let is_right = chosen.as_ref().is_some_and(|chosen| chosen.rating != Some(-1));
        if let Some(wrong) = wrong.filter(|wrong| !wrong.lines.is_empty()) {
            let mut bad = chain.clone();
            bad.extend(without_answer(wrong.lines));
            if let Some(chosen) = chosen.as_ref().filter(|_| is_right) {
                let correction = without_answer(chosen.lines.clone()).join("\n");
                corrections.push((bad, chain.len(), correction));
            } else {
                let mut record = record(&bad);
                record.label =
                    Label::Wrong { first_wrong_step: chain.len(), error: "rated_wrong".to_owned() };
                record.checks.steps.clone_from(&verified);
                record.checks.steps.resize(bad.len(), false);
                records.push(record);
            }
        }
        let Some(chosen) = chosen.filter(|_| is_right) else {
            // What follows a step that is wrong or absent has no ground.
            is_open = false;
            break;
        };
        verified.resize(chain.len() + chosen.lines.len(), chosen.rating == Some(1));
        chain.extend(chosen.lines);
    }
    if !(is_finished && is_open && !chain.is_empty()) {
        if records.is_empty() {
            let detail =
                "expected a finished solution or a step rated -1 at its end, found neither";
            return Err(Refusal::new(Reason::IncompleteChain, detail));
        }
        return Ok(records);
    }
    check_stated(&take_answer(&mut chain), answer)?;
    verified.truncate(chain.len());
    for (bad, first, correction) in corrections {
        let mut corrected = record(&chain);
        corrected.label =
            Label::Corrected { wrong_thought_process: bad, first_wrong_step: first, correction };
        corrected.checks.steps.clone_from(&verified);
        records.push(corrected);
    }
    if records.is_empty() {
        let mut correct = record(&chain);
        correct.checks.steps = verified;
        records.push(correct);
    }
    Ok(records)
}

/// Takes `# Answer` and what follows off a chain, and gives what follows.
fn take_answer(chain: &mut Vec<String>) -> String {
    match chain.iter().position(|line| line.trim() == ANSWER_MARK) {
        Some(mark) => chain.split_off(mark)[1..].join("\n"),
        None => String::new(),
    }
}

/// A step's lines without the answer after them; a step that is nothing else stays.
fn without_answer(mut lines: Vec<String>) -> Vec<String> {
    let whole = lines.clone();
    take_answer(&mut lines);
    if lines.is_empty() { whole } else { lines }
}

fn check_stated(stated: &str, answer: &str) -> Result<(), Refusal> {
    let are_numbers = number(stated.trim()).is_some() && number(answer.trim()).is_some();
    if are_numbers && !answers_equal(stated, answer) {
        let detail = format!("expected the chain's answer {stated}, found {answer}");
        return Err(Refusal::new(Reason::AnswerContradictsChain, detail));
    }
    Ok(())
}

fn step(index: usize, value: Value) -> Result<Step, FieldError> {
    let parent = format!("label.steps[{index}]");
    let Value::Object(mut map) = value else {
        return Err(field::mismatch("", &parent, "an object", Some(&value)));
    };
    let mut completions = Vec::new();
    for value in list(&mut map, "completions")? {
        completions.push(completion(&parent, &value)?);
    }
    let place = match map.shift_remove("chosen_completion") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let place = value.as_u64().and_then(|place| usize::try_from(place).ok());
            Some(place.filter(|place| *place < completions.len()).ok_or_else(|| {
                let expected = "the number of one of the completions, or nothing";
                field::mismatch(&parent, "chosen_completion", expected, Some(&value))
            })?)
        }
    };
    let human = match map.shift_remove("human_completion") {
        None | Some(Value::Null) => None,
        Some(value) => Some(completion(&parent, &value)?),
    };
    let wrong =
        completions.iter().position(|completion| completion.rating == Some(-1)).map(|place| {
            Completion {
                lines: completions[place].lines.clone(),
                rating: completions[place].rating,
            }
        });
    let chosen = match place {
        Some(place) => Some(completions.swap_remove(place)),
        None => human.filter(|human| !human.lines.is_empty()),
    };
    Ok(Step { chosen, wrong })
}

/// A completion is an object with a text and a rating, or a text alone.
fn completion(parent: &str, value: &Value) -> Result<Completion, FieldError> {
    let text = value.as_str().or_else(|| value.get("text")?.as_str()).ok_or_else(|| {
        field::mismatch(parent, "completions", "completions with a `text`", Some(value))
    })?;
    Ok(Completion { lines: lines(text), rating: value.get("rating").and_then(Value::as_i64) })
}
