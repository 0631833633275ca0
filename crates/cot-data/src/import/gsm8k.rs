//! GSM8K: `{"question", "answer"}`, the answer a chain with calculator marks
//! (`<<48/2=24>>`), then `#### 72`.
//!
//! The marks repeat what the words say and no reader wants them, so the chain goes
//! without them; the answer's text is kept where it cannot be made again from the record.

use serde_json::{Map, Value};

use super::ImportOptions;
use super::chain::{lines, strip_annotations};
use super::converted::{Converted, GSM8K_ANSWER_FIELD, Origin, Refusal, keep};
use crate::export::gsm8k_answer;
use crate::field;
use crate::rejects::Reason;

const ORIGIN: Origin =
    Origin { name: "openai/gsm8k", license: "MIT", teacher: None, domain: "math" };

pub(super) fn convert(
    mut object: Map<String, Value>,
    options: &ImportOptions,
) -> Result<Converted, Refusal> {
    let question = field::filled_text(&mut object, "", "question")?;
    let text = field::filled_text(&mut object, "", "answer")?;
    let Some((chain, answer)) = text.rsplit_once("####") else {
        let detail = "expected `####` and the answer at the end of `answer`, found neither";
        return Err(Refusal::new(Reason::MissingAnswer, detail));
    };
    let steps =
        if options.keep_annotations { lines(chain) } else { lines(&strip_annotations(chain)) };
    let mut record = ORIGIN.record(question, steps, answer.trim().to_owned());
    if gsm8k_answer(&record) != text {
        record.extra.insert(GSM8K_ANSWER_FIELD.to_owned(), text.into());
    }
    keep(&mut record, object);
    Ok(Converted::one(record))
}
