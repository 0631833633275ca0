//! `FinQA`: a question on a page of a report, its text and its table, with the program of
//! arithmetic steps that answers it.
//!
//! The question is the text before the table, the table with `|` between cells, the text
//! after it and the question itself. The chain is the program, one operation a line; `#0`
//! is the first one's result. The answer is the program's result (`exe_ans`), which a
//! person's rounding or per cent sign in `qa.answer` would contradict.

use serde_json::{Map, Value};

use super::converted::{Converted, Origin, Refusal, keep, list, scalar};
use crate::field;
use crate::rejects::Reason;

const ORIGIN: Origin = Origin { name: "finqa", license: "MIT", teacher: None, domain: "finance" };

pub(super) fn convert(mut object: Map<String, Value>) -> Result<Converted, Refusal> {
    let mut qa = field::object(&mut object, "", "qa")?;
    let asked = field::filled_text(&mut qa, "qa", "question")?;
    let program = scalar(&mut qa, "qa", "program")?.unwrap_or_default();
    let answer = match scalar(&mut qa, "qa", "exe_ans")? {
        Some(result) => Some(result),
        None => scalar(&mut qa, "qa", "answer")?,
    };
    let answer = answer.ok_or_else(|| {
        let detail = "field `qa.exe_ans`: expected the program's result, found nothing";
        Refusal::new(Reason::MissingAnswer, detail)
    })?;
    let mut question = texts(list(&mut object, "pre_text")?, " ");
    let table: Vec<Value> = list(&mut object, "table")?
        .into_iter()
        .map(|row| match row {
            Value::Array(cells) => Value::from(texts(cells, " | ")),
            other => other,
        })
        .collect();
    for part in [texts(table, "\n"), texts(list(&mut object, "post_text")?, " "), asked] {
        if !question.is_empty() && !part.is_empty() {
            question.push_str("\n\n");
        }
        question.push_str(&part);
    }
    let mut record = ORIGIN.record(question, operations(&program), answer);
    let key = object.get("id").and_then(Value::as_str).map(str::to_owned);
    object.insert("qa".to_owned(), Value::Object(qa));
    keep(&mut record, object);
    Ok(Converted { key, ..Converted::one(record) })
}

fn texts(values: Vec<Value>, between: &str) -> String {
    let texts = values.into_iter().map(|value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    });
    // The page's text has lone full stops where figures were cut out.
    texts.filter(|text| !matches!(text.trim(), "" | ".")).collect::<Vec<_>>().join(between)
}

/// `subtract(5, 3), divide(#0, 3)` as two lines.
fn operations(program: &str) -> Vec<String> {
    let mut operations: Vec<String> =
        program.split("), ").map(|part| format!("{})", part.trim())).collect();
    if let Some(last) = operations.last_mut() {
        last.pop();
    }
    operations.retain(|operation| !operation.is_empty());
    operations
}
