//! Alpaca: `{"instruction", "input", "output", "system"?, "history"?}`. The question is
//! the instruction, an empty line and the input. The format has no data set of its own.

use serde_json::{Map, Value, json};

use super::conversation;
use super::converted::{ALPACA_FIELD, Converted, NO_LICENSE, Origin, Refusal, keep, list, scalar};
use crate::field;

const ORIGIN: Origin =
    Origin { name: "alpaca", license: NO_LICENSE, teacher: None, domain: "general" };

pub(super) fn convert(mut object: Map<String, Value>) -> Result<Converted, Refusal> {
    let instruction = field::filled_text(&mut object, "", "instruction")?;
    let input = scalar(&mut object, "", "input")?;
    let output = field::filled_text(&mut object, "", "output")?;
    let system = scalar(&mut object, "", "system")?;
    let mut turns = Vec::new();
    for pair in list(&mut object, "history")? {
        let texts = pair.as_array().map(Vec::as_slice);
        let Some([Value::String(asked), Value::String(said)]) = texts else {
            let problem = field::mismatch("", "history", "pairs of texts", Some(&pair));
            return Err(problem.into());
        };
        turns.push(json!({"role": "user", "content": asked}));
        turns.push(json!({"role": "assistant", "content": said}));
    }
    let question = asked(&instruction, input.as_deref().unwrap_or_default());
    turns.push(json!({"role": "user", "content": question}));
    turns.push(json!({"role": "assistant", "content": output}));
    let mut record = conversation::record(&ORIGIN, "output", turns, system, &mut object)?;
    if let Some(input) = input {
        let parts = json!({"instruction": instruction, "input": input});
        record.extra.insert(ALPACA_FIELD.to_owned(), parts);
    }
    keep(&mut record, object);
    Ok(Converted::one(record))
}

/// Instruction and input as one text.
pub(crate) fn asked(instruction: &str, input: &str) -> String {
    if input.is_empty() { instruction.to_owned() } else { format!("{instruction}\n\n{input}") }
}
