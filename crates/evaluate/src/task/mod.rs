//! What a model is asked, and what the right answers are.
//!
//! A task is a file of records, a TOML file over any rows (`definition`), or one of lm-eval's
//! YAML files (`lm_eval`). All become a list of [`Problem`]s with their prompts.

mod build;
mod definition;
mod lm_eval;
pub mod presets;
mod prompt;
mod python_random;
mod rows;
mod template;

use std::path::{Path, PathBuf};

use limbeck_cot_data::{CotRecord, read_jsonl};

pub use definition::{Ask, Classes, Judge, NamedFilters, Sampler, Style};
pub use prompt::{Prompt, Turn};

use crate::Result;
use crate::scorer::exact_match::ExactMatch;

/// A set of problems of one kind.
#[derive(Debug, Clone)]
pub struct Task {
    /// What it is called.
    pub name: String,
    /// The data files that it was read from, beside its own.
    pub files: Vec<PathBuf>,
    /// Its problems.
    pub problems: Vec<Problem>,
    /// Rows that are no problem, each with its place and why: they count nowhere.
    pub skipped: Vec<String>,
    /// How prompts are put.
    pub style: Style,
    /// What is asked.
    pub ask: Ask,
    /// Between a prompt and a choice.
    pub target_delimiter: String,
    /// Strings that end a reply.
    pub until: Vec<String>,
    /// Most tokens of a reply, where the task says.
    pub max_new_tokens: Option<usize>,
    /// Sampling temperature, where the task says.
    pub temperature: Option<f64>,
    /// Nucleus of sampling, where the task says.
    pub top_p: Option<f64>,
    /// Replies to each problem, where the task says.
    pub repeats: Option<usize>,
    /// What says whether a reply is right.
    pub judge: Judge,
    /// Ways to take an answer from a reply.
    pub filters: Vec<NamedFilters>,
    /// How what they take is compared with the target.
    pub exact_match: ExactMatch,
    /// The two answers of a task that tells cases apart.
    pub classes: Option<Classes>,
}

/// A problem of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// Its place among the task's rows, from 0.
    pub place: usize,
    /// The problem, its answer and what is known of it; the chain is empty where there is none.
    pub record: CotRecord,
    /// What is put to the model.
    pub prompt: Prompt,
    /// All answers that are right; the first is the record's.
    pub targets: Vec<String>,
    /// The choices, where there are any.
    pub choices: Vec<String>,
    /// Which of them is right.
    pub gold: Option<usize>,
}

impl Task {
    /// Reads a task: `.toml`, lm-eval's `.yaml`, and anything else as records.
    ///
    /// # Errors
    /// A file that cannot be read, or a key that is missing, unknown or cannot be used; a task
    /// without a single problem. Rows without an answer are [`Self::skipped`].
    pub fn read(path: &Path) -> Result<Self> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        match extension.as_str() {
            "toml" => build::read(path),
            "yaml" | "yml" => lm_eval::read(path),
            _ => {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                Ok(Self::of_records(&name, read_jsonl(path)?))
            }
        }
    }

    /// Chain-of-thought records, judged as their makers do: the answer is what follows the chain
    /// and nothing else.
    pub fn of_records(name: &str, records: Vec<CotRecord>) -> Self {
        let problem = |(place, record): (usize, CotRecord)| Problem {
            place,
            prompt: Prompt::question(&record.question),
            targets: vec![record.answer.clone()],
            choices: Vec::new(),
            gold: None,
            record,
        };
        Self {
            name: name.to_owned(),
            files: Vec::new(),
            problems: records.into_iter().enumerate().map(problem).collect(),
            skipped: Vec::new(),
            style: Style::Chat,
            ask: Ask::Reply,
            target_delimiter: String::new(),
            until: Vec::new(),
            max_new_tokens: None,
            temperature: None,
            top_p: None,
            repeats: None,
            judge: Judge::Strict,
            filters: Vec::new(),
            exact_match: ExactMatch::default(),
            classes: None,
        }
    }

    /// Keeps `limit` problems, spread evenly over all; 0 keeps all.
    pub fn limit(&mut self, limit: usize) {
        let total = self.problems.len();
        if limit == 0 || limit >= total {
            return;
        }
        let mut place = 0;
        let mut kept = 0;
        self.problems.retain(|_| {
            let keep = kept < limit && place == kept * total / limit;
            place += 1;
            kept += usize::from(keep);
            keep
        });
    }
}
