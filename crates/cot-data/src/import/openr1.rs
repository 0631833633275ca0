//! OpenR1-Math: a problem with several generations, and for each whether it is complete
//! and what two judges say of its answer. Each generation gives one record.

use serde_json::{Map, Value};

use super::ImportOptions;
use super::chain::{answer_of, lines, split_reply};
use super::converted::{Converted, Origin, REPLY_FIELD, Refusal, keep, list, scalar};
use crate::field;
use crate::label::Label;
use crate::record::CotRecord;
use crate::rejects::Reason;

const ORIGIN: Origin = Origin {
    name: "open-r1/OpenR1-Math-220k",
    license: "Apache-2.0",
    teacher: Some("deepseek-ai/DeepSeek-R1"),
    domain: "math",
};

/// Lists with one entry for each generation.
const JUDGES: [&str; 2] = ["correctness_math_verify", "correctness_llama"];

pub(super) fn convert(
    mut object: Map<String, Value>,
    options: &ImportOptions,
) -> Result<Converted, Refusal> {
    let problem = field::filled_text(&mut object, "", "problem")?;
    let answer = scalar(&mut object, "", "answer")?;
    let generations = field::texts(&mut object, "", "generations")?;
    let complete = list(&mut object, "is_reasoning_complete")?;
    let finish = list(&mut object, "finish_reasons")?;
    let mut verdicts = Vec::new();
    for judge in JUDGES {
        verdicts.push((judge, list(&mut object, judge)?));
    }
    forget_repeated_messages(&mut object, &problem, &generations);
    if generations.is_empty() {
        let detail = "field `generations`: expected at least one, found none";
        return Err(Refusal::new(Reason::MissingChain, detail));
    }
    let key = object.get("uuid").and_then(Value::as_str).map(str::to_owned);
    let mut converted = Converted { key, ..Converted::default() };
    for (place, generation) in generations.iter().enumerate() {
        let refuse =
            |reason, what: &str| Refusal::new(reason, format!("generation {place}: {what}"));
        let cut = finish.get(place).and_then(Value::as_str) == Some("length");
        if cut || complete.get(place).and_then(Value::as_bool) == Some(false) {
            let what = "expected complete reasoning, found it flagged as incomplete";
            converted.refusals.push(refuse(Reason::IncompleteChain, what));
            continue;
        }
        let parts = match split_reply(generation) {
            Ok(parts) => parts,
            Err(refusal) => {
                converted.refusals.push(refuse(refusal.reason, &refusal.detail));
                continue;
            }
        };
        let (stated, is_part) = answer_of(&parts.rest);
        let chain = parts.chain.as_deref().map(lines).unwrap_or_default();
        let mut record = ORIGIN.record(problem.clone(), chain, answer.clone().unwrap_or(stated));
        if is_part || answer.is_some() {
            record.extra.insert(REPLY_FIELD.to_owned(), parts.rest.into());
        }
        let mut unused = object.clone();
        unused.insert("generation".to_owned(), place.into());
        let (mut right, mut wrong) = (None, None);
        for (judge, flags) in &verdicts {
            let Some(flag) = flags.get(place).filter(|flag| !flag.is_null()) else { continue };
            unused.insert((*judge).to_owned(), flag.clone());
            let said = if flag.as_bool() == Some(true) { &mut right } else { &mut wrong };
            said.get_or_insert(*judge);
        }
        // The second judge was asked where the first, which reads only some forms of an
        // answer, said no: one yes is enough.
        match (right, wrong) {
            (Some(judge), _) => judge.clone_into(&mut record.checks.answer),
            (None, Some(judge)) => {
                "judged_wrong".clone_into(&mut record.checks.answer);
                if !(options.keep_wrong && mark_wrong(&mut record)) {
                    let what = format!("expected a right answer, found it wrong by `{judge}`");
                    converted.refusals.push(refuse(Reason::WrongAnswer, &what));
                    continue;
                }
            }
            (None, None) => {}
        }
        keep(&mut record, unused);
        converted.records.push((Some(place), record));
    }
    Ok(converted)
}

/// Labels a chain whose answer is known to be wrong. Where it went wrong is not known:
/// its last step, which concludes it, is the first that is known to be wrong. Without
/// steps there is nothing to label.
pub(super) fn mark_wrong(record: &mut CotRecord) -> bool {
    let Some(last) = record.thought_process.len().checked_sub(1) else { return false };
    record.label = Label::Wrong { first_wrong_step: last, error: "wrong_answer".to_owned() };
    true
}

/// `messages` repeats the problem and one generation; it is kept only if it says more.
fn forget_repeated_messages(
    object: &mut Map<String, Value>,
    problem: &str,
    generations: &[String],
) {
    let Some(Value::Array(messages)) = object.get("messages") else { return };
    let repeated = messages.iter().all(|message| {
        let text = message.get("content").and_then(Value::as_str).unwrap_or_default();
        text == problem || generations.iter().any(|generation| generation == text)
    });
    if repeated {
        object.shift_remove("messages");
    }
}
