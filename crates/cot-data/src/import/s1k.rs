//! s1K and s1K-1.1: a question with the trajectory (a list of parts, or one text) and
//! attempt of one model or two, and grades.

use serde_json::{Map, Value};

use super::ImportOptions;
use super::chain::{answer_of, lines};
use super::converted::{Converted, Origin, REPLY_FIELD, Refusal, keep, scalar};
use super::openr1::mark_wrong;
use crate::field;
use crate::rejects::Reason;

/// The model that wrote s1K's trajectories.
const GEMINI: &str = "google/gemini-2.0-flash-thinking-exp";

const FIRST: Origin = Origin {
    name: "simplescaling/s1K",
    license: "Apache-2.0",
    teacher: Some(GEMINI),
    domain: "math",
};

const SECOND: Origin =
    Origin { name: "simplescaling/s1K-1.1", license: "MIT", teacher: None, domain: "math" };

pub(super) fn convert(
    mut object: Map<String, Value>,
    options: &ImportOptions,
) -> Result<Converted, Refusal> {
    let question = field::filled_text(&mut object, "", "question")?;
    let mut tries = Vec::new();
    for (prefix, teacher) in [("deepseek_", "deepseek-ai/DeepSeek-R1"), ("gemini_", GEMINI)] {
        let name = format!("{prefix}thinking_trajectory");
        if let Some(value) = object.shift_remove(&name) {
            let grade = scalar(&mut object, "", &format!("{prefix}grade"))?;
            let attempt = scalar(&mut object, "", &format!("{prefix}attempt"))?;
            let origin = Origin { teacher: Some(teacher), ..SECOND };
            tries.push((origin, name, value, attempt, grade));
        }
    }
    if let Some(value) = object.shift_remove("thinking_trajectories") {
        let attempt = scalar(&mut object, "", "attempt")?;
        tries.push((FIRST, "thinking_trajectories".to_owned(), value, attempt, None));
    }
    if tries.is_empty() {
        let detail = "expected `thinking_trajectories` or `deepseek_thinking_trajectory`, found \
                      neither";
        return Err(Refusal::new(Reason::MissingChain, detail));
    }
    let domain = object.get("cot_type").and_then(Value::as_str).unwrap_or("math").to_owned();
    let mut converted = Converted::default();
    let num_tries = tries.len();
    for (place, (origin, name, value, attempt, grade)) in tries.into_iter().enumerate() {
        let variant = (num_tries > 1).then_some(place);
        let chain = trajectory(&name, value)?;
        // A model's failed try leaves nulls.
        let Some(attempt) = attempt else {
            let detail = format!("expected an attempt beside `{name}`, found nothing");
            converted.refusals.push(Refusal::new(Reason::MissingAnswer, detail));
            continue;
        };
        let (answer, is_part) = answer_of(&attempt);
        let mut record = origin.record(question.clone(), lines(&chain), answer);
        record.domain.clone_from(&domain);
        if is_part {
            record.extra.insert(REPLY_FIELD.to_owned(), attempt.into());
        }
        let mut unused = object.clone();
        if let Some(grade) = grade {
            let is_wrong = grade.eq_ignore_ascii_case("no");
            let said = if is_wrong { "graded_wrong" } else { "graded" };
            said.clone_into(&mut record.checks.answer);
            unused.insert("grade".to_owned(), grade.into());
            if is_wrong && !(options.keep_wrong && mark_wrong(&mut record)) {
                let detail = format!("expected a right attempt, found `{name}` graded wrong");
                converted.refusals.push(Refusal::new(Reason::WrongAnswer, detail));
                continue;
            }
        }
        keep(&mut record, unused);
        converted.records.push((variant, record));
    }
    Ok(converted)
}

fn trajectory(name: &str, value: Value) -> Result<String, Refusal> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text),
        Value::Array(parts) if parts.iter().all(Value::is_string) => {
            Ok(parts.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"))
        }
        other => Err(field::mismatch("", name, "a text or a list of texts", Some(&other)).into()),
    }
}
