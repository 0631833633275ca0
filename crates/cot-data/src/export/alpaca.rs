//! `{"instruction", "input", "output", "system"?, "history"?}`.

use serde_json::{Map, Value, json};

use crate::import::{ALPACA_FIELD, alpaca_question};
use crate::record::CotRecord;

pub(super) fn object(record: &CotRecord) -> Map<String, Value> {
    let mut turns = super::turns(record);
    let system = turns.first().is_some_and(|(role, _)| *role == "system").then(|| turns.remove(0));
    let output = turns.pop().map(|(_, text)| text).unwrap_or_default();
    let mut history = Vec::new();
    let mut asked = record.question.clone();
    // Only turns that alternate fit; others stay a transcript in the instruction.
    let alternate = turns
        .iter()
        .enumerate()
        .all(|(place, (role, _))| *role == if place % 2 == 0 { "user" } else { "assistant" });
    if alternate && turns.len() % 2 == 1 {
        asked = turns.pop().map(|(_, text)| text).unwrap_or_default();
        history = turns.chunks(2).map(|pair| json!([pair[0].1, pair[1].1])).collect();
    }
    let part = |name: &str| record.extra.get(ALPACA_FIELD)?.get(name)?.as_str().map(str::to_owned);
    let (instruction, input) = part("instruction")
        .zip(part("input"))
        .filter(|(instruction, input)| alpaca_question(instruction, input) == asked)
        .unwrap_or((asked, String::new()));
    let mut object = Map::new();
    object.insert("instruction".to_owned(), instruction.into());
    object.insert("input".to_owned(), input.into());
    object.insert("output".to_owned(), output.into());
    if let Some((_, system)) = system {
        object.insert("system".to_owned(), system.into());
    }
    if !history.is_empty() {
        object.insert("history".to_owned(), Value::Array(history));
    }
    object
}
