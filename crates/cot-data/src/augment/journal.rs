//! The journal: a file to which each sample is appended as a line of JSON and forced to the
//! disk before the next is asked for. It is the only memory of what was paid for.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::Template;
use crate::error::{Error, Result};

/// A reply of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What was asked for; see [`super::Question`].
    pub key: String,
    /// Id of the question.
    pub question_id: String,
    /// Template of the prompt.
    pub template: Template,
    /// Number of the sample among those of the question and template.
    pub index: u32,
    /// The model, as the endpoint named it in its reply.
    pub model: String,
    /// What it thought, where that came beside the reply: `reasoning_content` or
    /// `reasoning`.
    pub reasoning: String,
    /// The reply as it came, with think marks where it has them.
    pub content: String,
    /// Why it stopped: `stop`, or `length` where it was cut off.
    pub finish_reason: String,
    /// Tokens of the prompt, as the endpoint counted.
    pub prompt_tokens: u64,
    /// Tokens of the reply, reasoning included, as the endpoint counted.
    pub completion_tokens: u64,
    /// Seconds from the request to the reply.
    pub seconds: f64,
    /// Attempts that it took.
    pub attempts: u32,
}

/// An append-only file of samples.
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Where the line of each key begins and how long it is.
    lines: HashMap<String, (u64, usize)>,
    end: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
}

impl Journal {
    /// Opens a journal, or makes one. A last line that a crash cut off is taken away: it was
    /// never acknowledged.
    ///
    /// # Errors
    /// Another process that writes to it, a line before the last that is no sample, and what
    /// the system refused.
    pub fn open(path: &Path) -> Result<Self> {
        let write = |source| Error::Write { path: path.to_owned(), source };
        let file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(write)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::JournalInUse { path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(write(source)),
        }
        sync_folder(path).map_err(write)?;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            lines: HashMap::new(),
            end: 0,
            prompt_tokens: 0,
            completion_tokens: 0,
        };
        journal.read()?;
        Ok(journal)
    }

    fn read(&mut self) -> Result<()> {
        let path = self.path.clone();
        let read = |source| Error::Read { path: path.clone(), source };
        let mut reader = BufReader::new(self.file.try_clone().map_err(read)?);
        let mut text = Vec::new();
        let mut line = 0;
        loop {
            text.clear();
            let length = reader.read_until(b'\n', &mut text).map_err(read)?;
            if length == 0 {
                return Ok(());
            }
            line += 1;
            if text.last() != Some(&b'\n') {
                return self
                    .file
                    .set_len(self.end)
                    .map_err(|source| Error::Write { path: self.path.clone(), source });
            }
            let sample: Sample = serde_json::from_slice(&text).map_err(|source| Error::Json {
                path: self.path.clone(),
                line,
                source,
            })?;
            self.note(&sample, length);
        }
    }

    fn note(&mut self, sample: &Sample, length: usize) {
        self.lines.insert(sample.key.clone(), (self.end, length));
        self.end += length as u64;
        self.prompt_tokens += sample.prompt_tokens;
        self.completion_tokens += sample.completion_tokens;
    }

    /// Appends a sample, and returns when it is on the disk.
    ///
    /// # Errors
    /// What the system refused; the line is then not there, or is taken away when the journal
    /// is opened again.
    pub fn append(&mut self, sample: &Sample) -> Result<()> {
        let write = |source| Error::Write { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(sample).map_err(|error| write(error.into()))?;
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // Best effort: what cannot be undone now is undone at the next start.
            let _ = self.file.set_len(self.end);
            return Err(write(source));
        }
        self.note(sample, line.len());
        Ok(())
    }

    /// Whether a request was answered.
    pub fn contains(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }

    /// The sample of a request, if it was answered.
    ///
    /// # Errors
    /// What the system refused.
    pub fn get(&self, key: &str) -> Result<Option<Sample>> {
        let Some(&(begin, length)) = self.lines.get(key) else { return Ok(None) };
        let read = |source| Error::Read { path: self.path.clone(), source };
        let mut file = &self.file;
        file.seek(SeekFrom::Start(begin)).map_err(read)?;
        let mut text = vec![0; length];
        file.read_exact(&mut text).map_err(read)?;
        serde_json::from_slice(&text).map(Some).map_err(|error| read(error.into()))
    }

    /// Samples that it holds.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Tokens of a reply on average; nothing where there are none.
    pub(super) fn mean_completion_tokens(&self) -> Option<f64> {
        (!self.is_empty()).then(|| self.completion_tokens as f64 / self.len() as f64)
    }
}

/// Forces a file's name to the disk; what is synced in a file without one is lost with it.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(key: &str) -> Sample {
        Sample {
            key: key.to_owned(),
            question_id: "q".to_owned(),
            template: Template::Direct,
            index: 0,
            model: "m".to_owned(),
            reasoning: "über\n\"3\"".to_owned(),
            content: "The answer is: 4".to_owned(),
            finish_reason: "stop".to_owned(),
            prompt_tokens: 3,
            completion_tokens: 5,
            seconds: 0.5,
            attempts: 1,
        }
    }

    #[test]
    fn samples_outlive_the_process_and_a_torn_line_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        for key in ["a", "b"] {
            journal.append(&sample(key)).unwrap();
        }
        let error = Journal::open(&path).err().expect("one at a time");
        assert!(error.to_string().contains("journal.jsonl"), "{error}");
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"key\":\"c\",\"quest").unwrap();
        drop(file);
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.len(), 2);
        assert_eq!(journal.get("b").unwrap(), Some(sample("b")));
        assert_eq!(journal.get("c").unwrap(), None);
        assert_eq!(journal.mean_completion_tokens(), Some(5.0));
        journal.append(&sample("d")).unwrap();
        drop(journal);
        let journal = Journal::open(&path).unwrap();
        assert_eq!((journal.len(), journal.get("d").unwrap()), (3, Some(sample("d"))));
    }

    #[test]
    fn a_damaged_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let line = serde_json::to_string(&sample("a")).unwrap();
        std::fs::write(&path, format!("{line}\n{{\"key\": 3}}\n{line}\n")).unwrap();
        let error = Journal::open(&path).err().expect("the second line is no sample");
        assert!(error.to_string().contains("journal.jsonl:2"), "{error}");
    }
}
