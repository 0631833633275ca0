//! Chains of thought from a model behind an OpenAI-compatible endpoint, several for each
//! question, of which only those are kept that hold.
//!
//! [`Augmentation::plan`] says what is missing and what it will cost; [`Augmentation::sample`]
//! asks for it, and writes every sample to an append-only [`Journal`] before it asks for the
//! next, so that what was paid for is never lost and is never asked for again;
//! [`Augmentation::select`] verifies the samples of the journal, takes a vote where a question
//! has no answer, leaves out what is nearly said already, and gives records.

mod config;
mod cost;
mod endpoint;
mod journal;
mod limit;
mod prompt;
mod question;
mod sampler;
mod select;
mod similar;

pub use config::{AugmentConfig, Template};
pub use cost::{Account, Plan};
pub use journal::{Journal, Sample};
pub use question::Question;
pub use sampler::SampleProgress;
pub use select::{Outcome, SelectReport};

use std::collections::HashSet;
use std::path::Path;

use crate::error::Result;
use crate::record::CotRecord;

use endpoint::Endpoint;
use question::Request;

/// Questions, what is asked about them, and what was answered so far.
pub struct Augmentation {
    config: AugmentConfig,
    questions: Vec<Question>,
    journal: Journal,
}

impl Augmentation {
    /// Reads the questions of a file: records, or any objects with a `question`, and perhaps
    /// an `answer`. Opens the journal, which is made where it does not exist.
    ///
    /// # Errors
    /// An impossible configuration, a line that has no question, a damaged journal, or one
    /// that another process writes to.
    pub fn open(config: AugmentConfig, questions: &Path, journal: &Path) -> Result<Self> {
        config.validate()?;
        let read = question::read(questions)?;
        Ok(Self { config, questions: read, journal: Journal::open(journal)? })
    }

    /// What is missing, and what it will cost.
    pub fn plan(&self) -> Plan {
        Plan::of(&self.config, &self.journal, self.requests())
    }

    /// Asks for all that is missing; `progress` is called after each reply, from several
    /// threads.
    ///
    /// # Errors
    /// An endpoint that refuses the key, the model or every attempt, and what the system
    /// refused. What was answered until then is in the journal.
    pub fn sample(&mut self, progress: impl Fn(SampleProgress) + Sync) -> Result<Account> {
        // A question that the file has twice is asked for once.
        let mut wanted = HashSet::new();
        let missing: Vec<Request> = self
            .requests()
            .filter(|request| !self.journal.contains(&request.key))
            .filter(|request| wanted.insert(request.key.clone()))
            .collect();
        let endpoint = Endpoint::new(&self.config);
        sampler::sample(&self.config, &endpoint, &mut self.journal, &missing, progress)
    }

    /// Gives the records that the samples of the journal make, in the order of the
    /// questions, and says what became of each sample.
    ///
    /// # Errors
    /// What `take` refuses, and a journal that cannot be read.
    pub fn select(
        &self,
        mut take: impl FnMut(CotRecord) -> Result<()>,
        mut rejected: impl FnMut(&Sample, Outcome) -> Result<()>,
    ) -> Result<SelectReport> {
        let mut report = SelectReport::default();
        for question in &self.questions {
            let mut samples = Vec::new();
            for request in question.requests(&self.config) {
                samples.extend(self.journal.get(&request.key)?);
            }
            select::select(&self.config, question, samples, &mut report, &mut take, &mut rejected)?;
        }
        Ok(report)
    }

    fn requests(&self) -> impl Iterator<Item = Request> {
        self.questions.iter().flat_map(|question| question.requests(&self.config))
    }
}
