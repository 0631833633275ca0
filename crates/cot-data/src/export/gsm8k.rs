//! `{"question", "answer"}`: the chain, a line with `####` and the answer.

use serde_json::{Map, Value};

use crate::import::{GSM8K_ANSWER_FIELD, strip_annotations};
use crate::record::CotRecord;

pub(super) fn object(record: &CotRecord) -> Map<String, Value> {
    let kept = record
        .extra
        .get(GSM8K_ANSWER_FIELD)
        .and_then(Value::as_str)
        .filter(|kept| still_says(kept, record));
    let answer = kept.map_or_else(|| answer_text(record), str::to_owned);
    let mut object = Map::new();
    object.insert("question".to_owned(), record.question.as_str().into());
    object.insert("answer".to_owned(), answer.into());
    object
}

/// Chain and answer as GSM8K writes them.
pub(crate) fn answer_text(record: &CotRecord) -> String {
    if record.thought_process.is_empty() {
        return format!("#### {}", record.answer);
    }
    format!("{}\n#### {}", record.reasoning(), record.answer)
}

/// Whether a text that was kept at import still says what the record says.
fn still_says(kept: &str, record: &CotRecord) -> bool {
    let Some((chain, answer)) = kept.rsplit_once("####") else { return false };
    let same = |chain: &str| {
        let lines = chain.lines().filter(|line| !line.trim().is_empty());
        lines.eq(record.thought_process.iter().map(String::as_str))
    };
    answer.trim() == record.answer && (same(&strip_annotations(chain)) || same(chain))
}
