//! LIMO: `{"question", "solution", "answer"}`; the solution is the chain and ends with
//! its boxed answer.

use serde_json::{Map, Value};

use super::chain::{lines, split_reply};
use super::converted::{Converted, Origin, Refusal, keep, scalar};
use crate::field;
use crate::rejects::Reason;

const ORIGIN: Origin =
    Origin { name: "GAIR/LIMO", license: "Apache-2.0", teacher: None, domain: "math" };

pub(super) fn convert(mut object: Map<String, Value>) -> Result<Converted, Refusal> {
    let question = field::filled_text(&mut object, "", "question")?;
    let solution = field::text(&mut object, "", "solution")?;
    let answer = scalar(&mut object, "", "answer")?.ok_or_else(|| {
        Refusal::new(Reason::MissingAnswer, "field `answer`: expected an answer, found nothing")
    })?;
    let parts = split_reply(&solution)?;
    let steps = lines(parts.chain.as_deref().unwrap_or(&parts.rest));
    let mut record = ORIGIN.record(question, steps, answer);
    keep(&mut record, object);
    Ok(Converted::one(record))
}
