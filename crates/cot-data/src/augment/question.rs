//! A question, and the requests that it makes.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::config::{AugmentConfig, Template};
use super::prompt::prompt;
use crate::error::{Error, FieldError, Result};
use crate::field;
use crate::generate::Shard;
use crate::import::as_written;
use crate::input::{Fault, InputOptions, Item, items_of};
use crate::record::CotRecord;
use crate::rejects::{Reason, Reject};
use crate::rng::stable_hash;

/// A question, perhaps with its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Name of the question.
    pub id: String,
    /// The question.
    pub text: String,
    /// The right answer, where one is known.
    pub answer: Option<String>,
    /// The record that the question comes from, where it comes from one.
    pub record: Option<CotRecord>,
}

/// One sample that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    /// Equal for two requests that ask for the same.
    pub(super) key: String,
    pub(super) question_id: String,
    pub(super) template: Template,
    /// Number of the sample among those of the question and template.
    pub(super) index: u32,
    /// Shared by the samples of a question and template.
    pub(super) prompt: Arc<str>,
    /// The seed that is sent.
    pub(super) seed: u64,
}

/// A file of questions, read anew each time, so that it need not fit in memory.
#[derive(Clone, Debug)]
pub(super) struct QuestionFile {
    pub(super) path: PathBuf,
    /// The questions that count.
    pub(super) shard: Shard,
}

impl QuestionFile {
    /// The questions, one after another; the first thing that has none, with its place, ends
    /// them.
    ///
    /// # Errors
    /// A file that does not open.
    pub(super) fn questions(
        &self,
    ) -> Result<impl Iterator<Item = Result<Question>> + Send + use<>> {
        let shard = self.shard;
        let items = items_of(&self.path, &InputOptions::default())?;
        let numbered = (0..).zip(items).filter(move |(number, item)| {
            // A file that breaks off is everybody's concern.
            shard.has(*number) || item.is_err()
        });
        Ok(numbered.map(|(_, item)| {
            let Item { place, content } = item?;
            let question = content.and_then(|object| {
                Question::from_map(as_written(object, &place.at)).map_err(|problem| Fault {
                    reason: Reason::BadField,
                    detail: problem.to_string(),
                    excerpt: String::new(),
                })
            });
            question.map_err(|Fault { reason, detail, excerpt }| Error::Reject {
                reject: Box::new(Reject { place, reason, detail, excerpt }),
            })
        }))
    }

    /// What is asked for about the questions.
    ///
    /// # Errors
    /// As [`Self::questions`].
    pub(super) fn requests<'config>(
        &self,
        config: &'config AugmentConfig,
    ) -> Result<impl Iterator<Item = Result<Request>> + Send + use<'config>> {
        Ok(self.questions()?.flat_map(|question| match question {
            Ok(question) => question.requests(config).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        }))
    }
}

impl Question {
    /// The question of a record, or of any other object with a `question` and perhaps an
    /// `id` and an `answer`.
    ///
    /// # Errors
    /// No question.
    fn from_map(mut map: Map<String, Value>) -> std::result::Result<Self, FieldError> {
        if let Ok(record) = CotRecord::from_map(map.clone()) {
            return Ok(Self {
                id: record.id.clone(),
                text: record.question.clone(),
                answer: Some(record.answer.clone()),
                record: Some(record),
            });
        }
        let text = field::filled_text(&mut map, "", "question")?;
        let answer = field::optional_text(&mut map, "", "answer")?.filter(|text| !text.is_empty());
        let id = field::optional_text(&mut map, "", "id")?.filter(|text| !text.is_empty());
        let id = id.unwrap_or_else(|| format!("q-{:016x}", stable_hash(text.as_bytes())));
        Ok(Self { id, text, answer, record: None })
    }

    /// What is asked for about it.
    pub(super) fn requests(&self, config: &AugmentConfig) -> Vec<Request> {
        let mut requests = Vec::with_capacity(config.templates.len() * config.num_samples as usize);
        for &template in &config.templates {
            let prompt: Arc<str> = prompt(template, &self.text).into();
            for index in 0..config.num_samples {
                // Endpoints differ in the width of a seed; 31 bits fit all.
                let seeded = format!("{}/{}/{}/{index}", config.seed, self.id, template.name());
                let seed = stable_hash(seeded.as_bytes()) >> 33;
                let asked = format!(
                    "{}\0{}\0{}\0{}\0{}\0{seed}\0{prompt}",
                    config.model, self.id, config.temperature, config.top_p, config.max_tokens
                );
                requests.push(Request {
                    key: format!("{:032x}", xxhash_rust::xxh3::xxh3_128(asked.as_bytes())),
                    question_id: self.id.clone(),
                    template,
                    index,
                    prompt: Arc::clone(&prompt),
                    seed,
                });
            }
        }
        requests
    }
}
