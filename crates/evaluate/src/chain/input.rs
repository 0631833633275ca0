//! Chains from files of several makes: our records, evaluation samples, GSM8K's model solutions,
//! ProcessBench, and any object with a question and a chain.

use std::ops::Range;

use limbeck_cot_data::negatives::RIGHT_ANSWER_FIELD;
use limbeck_cot_data::{
    AnswerMark, CotRecord, Equivalence, Label, answers_equal, equivalence, extract_answer,
};
use limbeck_infer::{FinishReason, split_reasoning};
use serde_json::{Map, Value};

use super::split::split;
use super::text::{Chain, ChainReport, analyze_steps};
use crate::sample::Sample;

/// Names under which files hold the problem.
const QUESTION: [&str; 5] = ["question", "problem", "prompt", "instruction", "query"];
/// Names of the chain, as a text or a list of steps.
const CHAIN: [&str; 9] = [
    "steps",
    "reasoning",
    "thought_process",
    "solution",
    "response",
    "text",
    "reply",
    "output",
    "completion",
];
/// Names of what the chain's author answers.
const ANSWER: [&str; 2] = ["answer", "prediction"];
/// Names of the right answer.
const EXPECTED: [&str; 6] =
    ["expected", "ground_truth", "reference_answer", "gold", "target", RIGHT_ANSWER_FIELD];
/// Names of whether the answer is right.
const CORRECT: [&str; 3] = ["is_correct", "correct", "final_answer_correct"];

/// A chain of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: String,
    /// Its field of knowledge; empty where it is not known.
    pub domain: String,
    /// The problem.
    pub question: String,
    /// The chain of thought, without its marks.
    pub reasoning: String,
    /// The places of its steps.
    pub places: Vec<Range<usize>>,
    /// What it answers; empty where it marks no answer.
    pub answer: String,
    /// The right answer, where the file has it.
    pub expected: Option<String>,
    /// Whether its answer is right, as the file says or the right answer shows.
    pub correct: Option<bool>,
    /// Whether the chain was closed.
    pub closed: bool,
    /// Why it ended.
    pub finish: FinishReason,
    /// The first wrong step, or none of a right chain, where the file has labels.
    pub label: Option<Option<usize>>,
}

impl Entry {
    /// The chains of an object; `name` is for those that have no id.
    ///
    /// # Errors
    /// What was expected and is not there, in words.
    pub fn read(object: Map<String, Value>, name: &str) -> Result<Vec<Self>, String> {
        let is_list = object.get("thought_process").is_some_and(Value::is_array);
        if is_list && object.get("label").is_some_and(Value::is_object) {
            let record = CotRecord::from_map(object).map_err(|error| error.to_string())?;
            return of_record(&record);
        }
        if ["reply", "finish_reason", "expected", "steps"]
            .iter()
            .all(|key| object.contains_key(*key))
        {
            let sample: Sample = serde_json::from_value(Value::Object(object))
                .map_err(|error| format!("expected a sample of an evaluation: {error}"))?;
            return Ok(vec![of_sample(sample)]);
        }
        let solutions: Vec<(&String, &Map<String, Value>)> = object
            .iter()
            .filter_map(|(key, value)| Some((key, value.as_object()?)))
            .filter(|(_, value)| value.contains_key("solution"))
            .collect();
        if solutions.is_empty() {
            return Ok(vec![of_object(&object, &object, name)?]);
        }
        solutions
            .into_iter()
            .map(|(key, solution)| of_object(&object, solution, &format!("{name}/{key}")))
            .collect()
    }

    /// What is known of it when it is analysed. Where the steps have labels, the chain is judged
    /// without regard to its answer, as ProcessBench does; `blind` does so with all.
    pub fn chain(&self, blind: bool) -> Chain<'_> {
        Chain {
            question: &self.question,
            reasoning: &self.reasoning,
            answer: &self.answer,
            correct: self.correct.filter(|_| !blind && self.label.is_none()),
            closed: self.closed,
            finish: self.finish,
        }
    }

    /// Analyses it.
    pub fn analyze(&self, blind: bool) -> ChainReport {
        analyze_steps(&self.chain(blind), self.places.clone())
    }
}

/// Steps joined to a text, one a line, and their places.
fn joined(steps: &[String]) -> (String, Vec<Range<usize>>) {
    let mut places = Vec::with_capacity(steps.len());
    let mut text = String::new();
    for step in steps {
        if !text.is_empty() {
            text.push('\n');
        }
        places.push(text.len()..text.len() + step.len());
        text.push_str(step);
    }
    (text, places)
}

/// A record, and where it corrects a wrong chain, that one too.
fn of_record(record: &CotRecord) -> Result<Vec<Entry>, String> {
    if record.thought_process.is_empty() {
        return Err("expected a chain, found an empty thought_process".to_owned());
    }
    let right = record.extra.get(RIGHT_ANSWER_FIELD).and_then(Value::as_str).map(str::to_owned);
    let entry = |id: String, steps: &[String], answer: &str, label: Option<usize>| {
        let (reasoning, places) = joined(steps);
        Entry {
            id,
            domain: record.domain.clone(),
            question: record.question.clone(),
            reasoning,
            places,
            answer: answer.to_owned(),
            expected: match &right {
                None if label.is_some() && answer == record.answer => None,
                None => Some(record.answer.clone()),
                right => right.clone(),
            },
            correct: None,
            closed: true,
            finish: FinishReason::Stop,
            label: Some(label),
        }
    };
    let own = |label| entry(record.id.clone(), &record.thought_process, &record.answer, label);
    Ok(match &record.label {
        Label::Correct => vec![own(None)],
        Label::Wrong { first_wrong_step, .. } => vec![own(Some(*first_wrong_step))],
        Label::Corrected { wrong_thought_process, first_wrong_step, .. } => {
            let id = format!("{}/wrong", record.id);
            vec![own(None), entry(id, wrong_thought_process, "", Some(*first_wrong_step))]
        }
    })
}

fn of_sample(sample: Sample) -> Entry {
    let reasoning = sample.reasoning.unwrap_or_default();
    Entry {
        places: split(&reasoning),
        id: sample.id,
        domain: sample.family,
        question: sample.question,
        reasoning,
        answer: sample.answer,
        expected: Some(sample.expected),
        correct: Some(sample.correct),
        closed: sample.closed,
        finish: sample.finish_reason,
        label: None,
    }
}

/// Any object: what is the problem's in `outer`, what is the chain's in `inner`.
fn of_object(
    outer: &Map<String, Value>,
    inner: &Map<String, Value>,
    name: &str,
) -> Result<Entry, String> {
    let first = |object: &Map<String, Value>, keys: &[&str]| -> Option<Value> {
        keys.iter().find_map(|key| object.get(*key)).filter(|value| !value.is_null()).cloned()
    };
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let question = first(outer, &QUESTION).and_then(text).filter(|text| !text.trim().is_empty());
    let question = question.ok_or_else(|| format!("expected a text in {}", QUESTION.join(", ")))?;
    let chain =
        first(inner, &CHAIN).ok_or_else(|| format!("expected a chain in {}", CHAIN.join(", ")))?;
    let finish = match inner.get("finish_reason").and_then(Value::as_str) {
        Some("length") => FinishReason::Length,
        _ => FinishReason::Stop,
    };
    let parts = match chain {
        Value::String(text) => Parts::of(&text),
        Value::Array(steps) => {
            let steps: Option<Vec<String>> =
                steps.iter().map(|step| step.as_str().map(str::to_owned)).collect();
            let steps = steps.ok_or("expected texts as steps")?;
            let (reasoning, places) = joined(&steps);
            let answer = marked(&reasoning).unwrap_or_default().to_owned();
            Parts { last: answer.clone(), reasoning, places, answer, closed: true }
        }
        _ => return Err("expected the chain as a text or a list of texts".to_owned()),
    };
    if parts.places.is_empty() {
        return Err("expected a chain, found an empty text".to_owned());
    }
    let expected = first(outer, &EXPECTED).and_then(text).map(|text| bare(&text));
    let given = first(inner, &ANSWER).and_then(text);
    let answer = given.clone().unwrap_or(parts.answer);
    let found = given.unwrap_or(parts.last);
    let told = first(inner, &CORRECT).and_then(|value| value.as_bool());
    let correct = told.or_else(|| expected.as_deref().map(|expected| is_same(expected, &found)));
    let label = inner.get("label").or_else(|| inner.get("first_wrong_step"));
    let label = match label.and_then(Value::as_i64) {
        None => None,
        Some(index) if index < 0 => Some(None),
        Some(index) if (index as usize) < parts.places.len() => Some(Some(index as usize)),
        Some(index) => {
            return Err(format!("expected a label below {}, found {index}", parts.places.len()));
        }
    };
    Ok(Entry {
        id: first(inner, &["id"])
            .or_else(|| first(outer, &["id"]).filter(|_| inner.len() == outer.len()))
            .and_then(text)
            .unwrap_or_else(|| name.to_owned()),
        domain: first(outer, &["domain", "family", "subject"]).and_then(text).unwrap_or_default(),
        question,
        reasoning: parts.reasoning,
        places: parts.places,
        answer,
        expected,
        correct,
        closed: parts.closed && finish == FinishReason::Stop,
        finish,
        label,
    })
}

/// A text taken apart.
struct Parts {
    reasoning: String,
    places: Vec<Range<usize>>,
    /// What it marks as its answer.
    answer: String,
    /// That, or else its last number.
    last: String,
    closed: bool,
}

impl Parts {
    fn of(text: &str) -> Self {
        let reply = split_reasoning(text, false);
        let whole = text.trim();
        let (reasoning, answer, closed) = match reply.reasoning {
            Some(reasoning) => (reasoning, reply.answer, reply.closed),
            // A last line that only states the answer is no step.
            None => match whole.rsplit_once('\n') {
                Some((before, last)) if is_answer_line(last) => {
                    (before, marked(last).unwrap_or_default(), true)
                }
                _ => (whole, marked(whole).unwrap_or_default(), true),
            },
        };
        let number = extract_answer(whole).map_or("", |answer| answer.text);
        let last = match marked(answer) {
            Some(marked) => marked,
            None if answer.is_empty() => number,
            None => answer,
        };
        Self {
            places: split(reasoning),
            reasoning: reasoning.to_owned(),
            answer: answer.to_owned(),
            last: last.to_owned(),
            closed,
        }
    }
}

fn is_answer_line(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("A:") || line.starts_with("####")
}

/// The answer that a text marks.
fn marked(text: &str) -> Option<&str> {
    extract_answer(text)
        .filter(|answer| answer.mark != AnswerMark::LastNumber)
        .map(|answer| answer.text)
}

/// The answer of a reference, which may be a whole solution.
fn bare(reference: &str) -> String {
    marked(reference).unwrap_or(reference).trim().to_owned()
}

fn is_same(expected: &str, found: &str) -> bool {
    answers_equal(expected, found) || equivalence(expected, found) == Equivalence::Equal
}

#[cfg(test)]
mod tests {
    use limbeck_cot_data::{Family, Mistake, corrected_record, generate, wrong_record};
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Vec<Entry>, String> {
        let Value::Object(object) = value else { panic!("an object") };
        Entry::read(object, "file:3")
    }

    fn one(value: Value) -> Entry {
        let mut entries = read(value).unwrap();
        assert_eq!(entries.len(), 1);
        entries.remove(0)
    }

    #[test]
    fn records_come_with_their_labels() {
        let record = generate(Family::Arith, 3, 5, 0).unwrap();
        let entry = one(record.to_map().into());
        assert_eq!((entry.label, entry.correct), (Some(None), None));
        assert_eq!(entry.places.len(), record.thought_process.len());

        let wrong = wrong_record(&record, Mistake::OffByOne, 1).unwrap();
        let entry = one(wrong.to_map().into());
        let Label::Wrong { first_wrong_step, .. } = wrong.label else { panic!("a label") };
        assert_eq!(entry.label, Some(Some(first_wrong_step)));
        assert_eq!(entry.expected.as_deref(), Some(record.answer.as_str()));
        assert_eq!(entry.analyze(false).breakpoint.unwrap().step, first_wrong_step);

        let corrected = corrected_record(&record, Mistake::OffByOne, 1).unwrap();
        let entries = read(corrected.to_map().into()).unwrap();
        assert_eq!(
            (entries[0].label, entries[1].label),
            (Some(None), Some(Some(first_wrong_step)))
        );
        assert_eq!(entries[1].analyze(false).breakpoint.unwrap().step, first_wrong_step);
    }

    #[test]
    fn solutions_of_several_models_are_chains_of_their_own() {
        let entries = read(json!({
            "question": "2 and 3, doubled?",
            "ground_truth": "2+3=5, doubled 5*2=10\nA: 10",
            "small": {"is_correct": false, "solution": "2+3=6\n6*2=12\nA: 12"},
            "large": {"is_correct": true, "solution": "2+3=5\n5*2=10\nA: 10"},
        }))
        .unwrap();
        let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
        assert_eq!(ids, ["file:3/small", "file:3/large"]);
        assert_eq!((entries[0].correct, entries[1].correct), (Some(false), Some(true)));
        assert_eq!((entries[0].answer.as_str(), entries[0].places.len()), ("12", 2));
        assert_eq!(entries[0].expected.as_deref(), Some("10"));
        assert_eq!(entries[0].analyze(false).breakpoint.unwrap().step, 0);
        assert_eq!(entries[1].analyze(true).breakpoint, None);
    }

    #[test]
    fn any_object_with_a_question_and_a_chain_will_do() {
        let entry =
            one(json!({"problem": "2+3?", "steps": ["2+3=5", "so 5"], "label": 1, "id": 7}));
        assert_eq!((entry.id.as_str(), entry.label), ("7", Some(Some(1))));
        let entry = one(json!({"question": "2+3?", "steps": ["2+3=5"], "label": -1}));
        assert_eq!((entry.id.as_str(), entry.label), ("file:3", Some(None)));
        let entry = one(json!({
            "question": "2+3?", "response": "<think>\n2+3=5\n\n5 it is\n</think>\nThe answer is 5.",
            "expected": "5.0",
        }));
        assert_eq!((entry.places.len(), entry.correct, entry.closed), (2, Some(true), true));
        let entry = one(json!({"question": "2+3?", "text": "<think>\n2+3=5", "expected": 5}));
        assert!(!entry.closed && entry.answer.is_empty());
        let entry = one(json!({
            "question": "2+3?", "solution": "We get 5. Then 6.", "answer": "5", "expected": "5",
            "finish_reason": "length",
        }));
        assert_eq!((entry.places.len(), entry.correct, entry.closed), (2, Some(true), false));
        // An answer that nothing marks counts as such, and contradicts nothing.
        let entry =
            one(json!({"question": "2+3?", "solution": "2+3=5 for 7 people", "expected": "5"}));
        assert_eq!((entry.answer.as_str(), entry.correct), ("", Some(false)));
        assert_eq!(entry.analyze(true).breakpoint, None);
    }

    #[test]
    fn what_is_missing_is_named() {
        for (value, said) in [
            (json!({"text": "a"}), "question"),
            (json!({"question": "a"}), "solution"),
            (json!({"question": "a", "text": " "}), "empty"),
            (json!({"question": "a", "text": 5.5, "steps": [5]}), "texts"),
            (json!({"question": "a", "steps": ["b"], "label": 1}), "label below 1"),
            (json!({"thought_process": [], "label": {}}), "id"),
            (json!({"reply": "", "finish_reason": "x", "expected": "", "steps": []}), "sample"),
        ] {
            let found = read(value).unwrap_err();
            assert!(found.contains(said), "{found}");
        }
    }
}
