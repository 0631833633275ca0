//! The record that every stage reads and writes: a question, a chain of thought, an
//! answer, and where they come from.
//!
//! Serialisation is by hand: serde's `flatten` and `untagged` would give errors that
//! name no field, and fields unknown to us must survive a round trip in their order.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::FieldError;
use crate::field;
use crate::label::Label;

/// Where a record comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Source {
    /// Name of the data set or tool.
    pub name: String,
    /// SPDX expression of its licence.
    pub license: String,
    /// The model that wrote the chain, if one did.
    pub teacher: Option<String>,
    /// The generator and kind, such as `arithmetic/story`.
    pub generator: Option<String>,
    /// Seed of the generator.
    pub seed: Option<u64>,
    /// Fields unknown to us, in their order.
    pub extra: Map<String, Value>,
}

/// What a checker said of the record when it was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checks {
    /// `verified`, or another word of the tool that filled it in; empty if unchecked.
    pub answer: String,
    /// One entry for each step: whether it was verified.
    pub steps: Vec<bool>,
    /// Fields unknown to us, in their order.
    pub extra: Map<String, Value>,
}

/// A chain-of-thought record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CotRecord {
    /// Name of the record, unique in its data set.
    pub id: String,
    /// The problem; never empty.
    pub question: String,
    /// The steps, one line each; empty for an answer-only record.
    pub thought_process: Vec<String>,
    /// The answer; never empty.
    pub answer: String,
    /// Field of knowledge: `arithmetic`, `logic`, `spatial`, `medical`, …
    pub domain: String,
    /// Difficulty, from 1 (easy); 0 where it is not known.
    pub difficulty: u8,
    /// Level of Bloom's taxonomy, such as `apply`; empty where it is not known.
    pub bloom: String,
    /// Whether the chain is right.
    pub label: Label,
    /// Where the record comes from.
    pub source: Source,
    /// What was checked.
    pub checks: Checks,
    /// Fields unknown to us, in their order.
    pub extra: Map<String, Value>,
}

/// A record as a test writes it down.
#[cfg(test)]
pub(crate) fn hand_written(question: &str, steps: &[&str], answer: &str) -> CotRecord {
    CotRecord {
        id: "r".to_owned(),
        question: question.to_owned(),
        thought_process: steps.iter().map(|&step| step.to_owned()).collect(),
        answer: answer.to_owned(),
        ..CotRecord::default()
    }
}

impl CotRecord {
    /// The assistant's turn: `<think>`, the steps, `</think>`, an empty line, the answer.
    pub fn completion(&self) -> String {
        format!("<think>\n{}\n</think>\n\n{}", self.reasoning(), self.answer)
    }

    /// The steps, one a line.
    pub fn reasoning(&self) -> String {
        self.thought_process.join("\n")
    }

    /// The record of a JSON object.
    ///
    /// # Errors
    /// Names the first field that is missing, empty or of the wrong type.
    pub fn from_map(mut map: Map<String, Value>) -> Result<Self, FieldError> {
        let map = &mut map;
        let id = field::filled_text(map, "", "id")?;
        let question = field::filled_text(map, "", "question")?;
        let thought_process = field::texts(map, "", "thought_process")?;
        let answer = field::filled_text(map, "", "answer")?;
        let domain = field::filled_text(map, "", "domain")?;
        let level = field::index(map, "", "difficulty")?;
        let difficulty = u8::try_from(level).map_err(|_| {
            field::mismatch("", "difficulty", "an integer up to 255", Some(&level.into()))
        })?;
        let bloom = field::optional_text(map, "", "bloom")?.unwrap_or_default();
        let label = Label::from_map(field::object(map, "", "label")?)?;
        check_step_index(&label, thought_process.len())?;
        let source = source_from(field::object(map, "", "source")?)?;
        let checks = match map.get("checks") {
            None | Some(Value::Null) => {
                map.shift_remove("checks");
                Checks::default()
            }
            Some(_) => checks_from(field::object(map, "", "checks")?, thought_process.len())?,
        };
        let extra = std::mem::take(map);
        Ok(Self {
            id,
            question,
            thought_process,
            answer,
            domain,
            difficulty,
            bloom,
            label,
            source,
            checks,
            extra,
        })
    }

    /// The record as a JSON object: our fields in the order of the design, then the rest.
    pub fn to_map(&self) -> Map<String, Value> {
        let mut map = Map::new();
        let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
        put("id", self.id.as_str().into());
        put("question", self.question.as_str().into());
        put("thought_process", self.thought_process.as_slice().into());
        put("answer", self.answer.as_str().into());
        put("domain", self.domain.as_str().into());
        put("difficulty", self.difficulty.into());
        put("bloom", self.bloom.as_str().into());
        put("label", Value::Object(self.label.to_map()));
        put("source", Value::Object(source_map(&self.source)));
        put("checks", Value::Object(checks_map(&self.checks)));
        map.extend(self.extra.iter().map(|(key, value)| (key.clone(), value.clone())));
        map
    }
}

fn check_step_index(label: &Label, num_steps: usize) -> Result<(), FieldError> {
    let (first, length) = match label {
        Label::Correct => return Ok(()),
        Label::Wrong { first_wrong_step, .. } => (*first_wrong_step, num_steps),
        Label::Corrected { first_wrong_step, wrong_thought_process, .. } => {
            (*first_wrong_step, wrong_thought_process.len())
        }
    };
    if first < length {
        return Ok(());
    }
    Err(FieldError {
        field: "label.first_wrong_step".to_owned(),
        expected: format!("an index below the chain's {length} steps"),
        got: first.to_string(),
    })
}

fn source_from(mut map: Map<String, Value>) -> Result<Source, FieldError> {
    let name = field::filled_text(&mut map, "source", "name")?;
    let license = field::text(&mut map, "source", "license")?;
    let teacher = field::optional_text(&mut map, "source", "teacher")?;
    let generator = field::optional_text(&mut map, "source", "generator")?;
    let seed =
        match map.shift_remove("seed") {
            None | Some(Value::Null) => None,
            Some(value) => Some(value.as_u64().ok_or_else(|| {
                field::mismatch("source", "seed", "an integer from 0", Some(&value))
            })?),
        };
    Ok(Source { name, license, teacher, generator, seed, extra: map })
}

fn source_map(source: &Source) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("name".to_owned(), source.name.as_str().into());
    map.insert("license".to_owned(), source.license.as_str().into());
    if let Some(teacher) = &source.teacher {
        map.insert("teacher".to_owned(), teacher.as_str().into());
    }
    if let Some(generator) = &source.generator {
        map.insert("generator".to_owned(), generator.as_str().into());
    }
    if let Some(seed) = source.seed {
        map.insert("seed".to_owned(), seed.into());
    }
    map.extend(source.extra.iter().map(|(key, value)| (key.clone(), value.clone())));
    map
}

fn checks_from(mut map: Map<String, Value>, num_steps: usize) -> Result<Checks, FieldError> {
    let answer = field::optional_text(&mut map, "checks", "answer")?.unwrap_or_default();
    let steps = match map.shift_remove("steps") {
        None | Some(Value::Null) => Vec::new(),
        Some(value) => value
            .as_array()
            .and_then(|items| items.iter().map(Value::as_bool).collect::<Option<Vec<_>>>())
            .filter(|steps| steps.is_empty() || steps.len() == num_steps)
            .ok_or_else(|| {
                field::mismatch("checks", "steps", "a boolean for each step", Some(&value))
            })?,
    };
    Ok(Checks { answer, steps, extra: map })
}

fn checks_map(checks: &Checks) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("answer".to_owned(), checks.answer.as_str().into());
    map.insert("steps".to_owned(), checks.steps.as_slice().into());
    map.extend(checks.extra.iter().map(|(key, value)| (key.clone(), value.clone())));
    map
}

impl Serialize for CotRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_map().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for CotRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_map(Map::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
