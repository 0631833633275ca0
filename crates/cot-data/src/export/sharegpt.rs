//! `{"conversations": [{"from", "value"}], "system"?}` with the names of roles that
//! training tools expect.

use serde_json::{Map, Value, json};

use crate::record::CotRecord;

pub(super) fn object(record: &CotRecord) -> Map<String, Value> {
    let mut turns = super::turns(record);
    let mut object = Map::new();
    // Most tools read the system turn from a field of its own.
    let system = turns.first().is_some_and(|(role, _)| *role == "system").then(|| turns.remove(0));
    let turns: Value = turns
        .into_iter()
        .map(|(role, value)| {
            let from = match role {
                "user" => "human",
                "assistant" => "gpt",
                other => other,
            };
            json!({"from": from, "value": value})
        })
        .collect();
    object.insert("conversations".to_owned(), turns);
    if let Some((_, system)) = system {
        object.insert("system".to_owned(), system.into());
    }
    object
}
