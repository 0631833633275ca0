//! `{"messages": [{"role", "content"}]}`.

use serde_json::{Map, Value, json};

use crate::record::CotRecord;

pub(super) fn object(record: &CotRecord) -> Map<String, Value> {
    let messages: Value = super::turns(record)
        .into_iter()
        .map(|(role, content)| json!({"role": role, "content": content}))
        .collect();
    Map::from_iter([("messages".to_owned(), messages)])
}
