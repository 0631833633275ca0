//! `PubMedQA`'s labelled questions: `{"<pmid>": {"QUESTION", "CONTEXTS", …}}`.
//!
//! The question is the abstract's sections, each after its label, and then the question
//! itself. The data has no chain: the records are answer-only. The abstract's conclusion
//! (`LONG_ANSWER`), which gives the answer away, is kept among the unused fields.

use serde_json::{Map, Value};

use super::converted::{Converted, Origin, Refusal, keep};
use crate::field;
use crate::input::At;
use crate::rejects::Reason;

const ORIGIN: Origin =
    Origin { name: "qiaojin/PubMedQA", license: "MIT", teacher: None, domain: "medical" };

pub(super) fn convert(mut object: Map<String, Value>, at: &At) -> Result<Converted, Refusal> {
    let asked = field::filled_text(&mut object, "", "QUESTION")?;
    let contexts = field::texts(&mut object, "", "CONTEXTS")?;
    let answer = field::optional_text(&mut object, "", "final_decision")?.unwrap_or_default();
    match answer.as_str() {
        "yes" | "no" | "maybe" => {}
        "" => {
            let detail = "field `final_decision`: expected yes, no or maybe, found nothing";
            return Err(Refusal::new(Reason::MissingAnswer, detail));
        }
        other => {
            let detail =
                format!("field `final_decision`: expected yes, no or maybe, found {other:?}");
            return Err(Refusal::new(Reason::BadField, detail));
        }
    }
    let labels: Vec<&str> = object
        .get("LABELS")
        .and_then(Value::as_array)
        .map(|labels| labels.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let mut question = String::new();
    for (index, context) in contexts.iter().enumerate() {
        if let Some(label) = labels.get(index).filter(|_| labels.len() == contexts.len()) {
            question.push_str(label);
            question.push_str(": ");
        }
        question.push_str(context);
        question.push_str("\n\n");
    }
    question.push_str(&asked);
    let mut record = ORIGIN.record(question, Vec::new(), answer);
    object.insert("QUESTION".to_owned(), asked.into());
    let mut key = None;
    if let At::Entry { key: Some(pmid), .. } = at {
        object.insert("pmid".to_owned(), pmid.as_str().into());
        key = Some(pmid.clone());
    }
    keep(&mut record, object);
    Ok(Converted { key, ..Converted::one(record) })
}
