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

use std::path::Path;

use crate::error::Result;
use crate::generate::Shard;
use crate::record::CotRecord;

use endpoint::Endpoint;
use journal::Index;
use question::QuestionFile;

/// Questions, what is asked about them, and what was answered so far.
///
/// The questions stay in their file, which is read anew for each step: of what was answered,
/// only the places in the journal are held in memory.
pub struct Augmentation {
    config: AugmentConfig,
    questions: QuestionFile,
    journal: Journal,
}

impl Augmentation {
    /// The questions of a file's shard: records, or any objects with a `question`, and perhaps
    /// an `answer`. Opens the journal, which is made where it does not exist.
    ///
    /// # Errors
    /// An impossible configuration, a damaged journal, or one that another process writes to.
    pub fn open(
        config: AugmentConfig,
        questions: &Path,
        shard: Shard,
        journal: &Path,
    ) -> Result<Self> {
        config.validate()?;
        let questions = QuestionFile { path: questions.to_owned(), shard };
        Ok(Self { config, questions, journal: Journal::open(journal)? })
    }

    /// What is missing, and what it will cost.
    ///
    /// # Errors
    /// A line that has no question.
    pub fn plan(&self) -> Result<Plan> {
        let requests = self.questions.requests(&self.config)?;
        Plan::of(&self.config, self.journal.index(), requests)
    }

    /// What is missing, and what it will cost, without a journal: one that does not exist is
    /// not made, and one that another process writes to is only read.
    ///
    /// # Errors
    /// An impossible configuration, a line that has no question, or a damaged journal.
    pub fn preview(
        config: &AugmentConfig,
        questions: &Path,
        shard: Shard,
        journal: &Path,
    ) -> Result<Plan> {
        config.validate()?;
        let questions = QuestionFile { path: questions.to_owned(), shard };
        Plan::of(config, &Index::of(journal)?, questions.requests(config)?)
    }

    /// Asks for all that is missing; `progress` is called after each reply, from several
    /// threads. Call [`Self::plan`] first: it reads all questions, so that one that is amiss
    /// is found before the others are paid for.
    ///
    /// # Errors
    /// An endpoint that refuses the key, the model or every attempt, a line that has no
    /// question, and what the system refused. What was answered until then is in the journal.
    pub fn sample(&mut self, progress: impl Fn(SampleProgress) + Sync) -> Result<Account> {
        let requests = self.questions.requests(&self.config)?;
        let endpoint = Endpoint::new(&self.config);
        sampler::sample(&self.config, &endpoint, &mut self.journal, requests, progress)
    }

    /// Gives the records that the samples of the journal make, in the order of the
    /// questions, and says what became of each sample.
    ///
    /// # Errors
    /// What `take` refuses, a line that has no question, and a journal that cannot be read.
    pub fn select(
        &self,
        mut take: impl FnMut(CotRecord) -> Result<()>,
        mut rejected: impl FnMut(&Sample, Outcome) -> Result<()>,
    ) -> Result<SelectReport> {
        let mut report = SelectReport::default();
        for question in self.questions.questions()? {
            let question = question?;
            let mut samples = Vec::new();
            for request in question.requests(&self.config) {
                if let Some(sample) = self.journal.get(&request.key)? {
                    samples.push(sample);
                } else {
                    *report.samples.entry(Outcome::Unanswered).or_default() += 1;
                    rejected(&Sample::unanswered(request, &self.config), Outcome::Unanswered)?;
                }
            }
            select::select(
                &self.config,
                &question,
                samples,
                &mut report,
                &mut take,
                &mut rejected,
            )?;
        }
        Ok(report)
    }
}
