//! What a model has answered so far, kept as it comes, so that a killed run goes on where it
//! stood.
//!
//! A line of JSON for each answer, appended. The first line names the model and its settings: a
//! journal of another model is not taken. A last line that was cut is left out.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use limbeck_infer::FinishReason;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What a model answered to a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// A reply.
    Reply {
        /// The text, up to a stop string, without the stop token.
        text: String,
        /// Tokens generated, without the stop token.
        tokens: usize,
        /// Why it ended.
        finish_reason: FinishReason,
    },
    /// Natural log-probabilities of the choices.
    Rated {
        /// In their order.
        logprobs: Vec<f64>,
    },
    /// No answer came.
    Failed {
        /// Why.
        reason: String,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    identity: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: String,
    answer: Answer,
}

/// Answers on disk, or nowhere.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    known: HashMap<String, Answer>,
}

impl Journal {
    /// One that keeps nothing.
    pub fn nowhere() -> Self {
        Self { path: PathBuf::new(), file: None, known: HashMap::new() }
    }

    /// Opens a journal, with what a run of the same `identity` left there. That of another is
    /// begun anew.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn open(path: &Path, identity: &str) -> Result<Self> {
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(limbeck_run::Error::read(path, error).into()),
        };
        let mut lines = text.lines();
        let header: Option<Header> = lines.next().and_then(|line| serde_json::from_str(line).ok());
        let known = match header {
            Some(header) if header.identity == identity => entries(path, lines),
            _ => HashMap::new(),
        };
        // Written anew: so a line that was cut does not run into the next one.
        let mut kept = serde_json::to_string(&Header { identity: identity.to_owned() })
            .map_err(|source| unwritable(path, source))?;
        kept.push('\n');
        for (key, answer) in &known {
            let entry = Entry { key: key.clone(), answer: answer.clone() };
            kept.push_str(
                &serde_json::to_string(&entry).map_err(|source| unwritable(path, source))?,
            );
            kept.push('\n');
        }
        limbeck_run::write_file(path, kept.as_bytes())?;
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(|source| limbeck_run::Error::write(path, source))?;
        Ok(Self { path: path.to_owned(), file: Some(BufWriter::new(file)), known })
    }

    /// The answer to a question, if there is one.
    pub(crate) fn get(&self, key: &str) -> Option<&Answer> {
        self.known.get(key)
    }

    /// Keeps an answer. What failed is not kept: the next run tries again.
    pub(crate) fn keep(&mut self, key: &str, answer: &Answer) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        if matches!(answer, Answer::Failed { .. }) {
            return Ok(());
        }
        let entry = Entry { key: key.to_owned(), answer: answer.clone() };
        let mut line =
            serde_json::to_string(&entry).map_err(|source| unwritable(&self.path, source))?;
        line.push('\n');
        file.write_all(line.as_bytes())
            .map_err(|source| limbeck_run::Error::write(&self.path, source).into())
    }

    /// Hands what was kept to the system.
    pub(crate) fn flush(&mut self) -> Result<()> {
        match &mut self.file {
            Some(file) => {
                file.flush().map_err(|source| limbeck_run::Error::write(&self.path, source).into())
            }
            None => Ok(()),
        }
    }

    /// Removes the file: what it held is in the evaluation now.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn remove(self) -> Result<()> {
        if self.file.is_some() {
            std::fs::remove_file(&self.path)
                .map_err(|source| limbeck_run::Error::write(&self.path, source))?;
        }
        Ok(())
    }
}

fn entries<'t>(path: &Path, lines: impl Iterator<Item = &'t str>) -> HashMap<String, Answer> {
    let mut known = HashMap::new();
    for (index, line) in lines.enumerate() {
        match serde_json::from_str::<Entry>(line) {
            Ok(entry) => {
                known.insert(entry.key, entry.answer);
            }
            Err(error) => {
                let place = format!("{}:{}", path.display(), index + 2);
                tracing::warn!("{place}: not an answer ({error}); its problem is asked again");
            }
        }
    }
    if !known.is_empty() {
        tracing::info!("{}: going on after {} answers", path.display(), known.len());
    }
    known
}

fn unwritable(path: &Path, source: serde_json::Error) -> Error {
    Error::Json { path: path.to_owned(), line: None, expected: "an answer as JSON", source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Answer {
        Answer::Reply { text: text.to_owned(), tokens: 3, finish_reason: FinishReason::Stop }
    }

    #[test]
    fn answers_come_back_and_a_cut_line_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::open(&path, "model").unwrap();
        journal.keep("a", &reply("one\ntwo")).unwrap();
        journal.keep("b", &Answer::Rated { logprobs: vec![-1.5, -0.25] }).unwrap();
        journal.keep("c", &Answer::Failed { reason: "NaN".to_owned() }).unwrap();
        journal.keep("d", &reply("cut")).unwrap();
        journal.flush().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();

        let mut journal = Journal::open(&path, "model").unwrap();
        assert_eq!(journal.get("a"), Some(&reply("one\ntwo")));
        assert_eq!(journal.get("b"), Some(&Answer::Rated { logprobs: vec![-1.5, -0.25] }));
        assert_eq!((journal.get("c"), journal.get("d")), (None, None));
        journal.keep("d", &reply("whole")).unwrap();
        journal.flush().unwrap();
        let journal = Journal::open(&path, "model").unwrap();
        assert_eq!(journal.get("d"), Some(&reply("whole")));
        assert_eq!(journal.get("a"), Some(&reply("one\ntwo")));
        journal.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn another_models_answers_are_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::open(&path, "one").unwrap();
        journal.keep("a", &reply("one")).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&path, "other").unwrap().get("a"), None);
        std::fs::write(&path, [0xff, 0xfe, b'\n']).unwrap();
        assert_eq!(Journal::open(&path, "other").unwrap().get("a"), None);
    }
}
