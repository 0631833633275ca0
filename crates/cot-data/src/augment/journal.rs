//! The journal: a file to which each sample is appended as a line of JSON and forced to the
//! disk before the next is asked for. It is the only memory of what was paid for.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::config::{AugmentConfig, Template};
use super::question::Request;
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

impl Sample {
    /// What stands in a list for a request without a reply.
    pub(super) fn unanswered(request: Request, config: &AugmentConfig) -> Self {
        Self {
            key: request.key,
            question_id: request.question_id,
            template: request.template,
            index: request.index,
            model: config.model.clone(),
            reasoning: String::new(),
            content: String::new(),
            finish_reason: String::new(),
            prompt_tokens: 0,
            completion_tokens: 0,
            seconds: 0.0,
            attempts: 0,
        }
    }
}

/// Which samples a journal holds, and where.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Where the line of each key begins and how long it is.
    lines: HashMap<String, (u64, usize)>,
    /// Where the last whole line ends.
    end: u64,
    completion_tokens: u64,
}

impl Index {
    /// The index of a journal that may not exist, which is then not made.
    ///
    /// # Errors
    /// A line before the last that is no sample, and what the system refused.
    pub(super) fn of(path: &Path) -> Result<Self> {
        match File::open(path) {
            Ok(file) => Self::read(&file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(Error::Read { path: path.to_owned(), source }),
        }
    }

    /// Reads all lines but a last one that is cut off.
    fn read(file: &File, path: &Path) -> Result<Self> {
        let read = |source| Error::Read { path: path.to_owned(), source };
        let mut index = Self::default();
        let mut reader = BufReader::new(file);
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let length = reader.read_until(b'\n', &mut text).map_err(read)?;
            if text.last() != Some(&b'\n') {
                break;
            }
            let sample: Sample = serde_json::from_slice(&text).map_err(|source| Error::Json {
                path: path.to_owned(),
                line,
                source,
            })?;
            index.note(&sample, length);
        }
        Ok(index)
    }

    fn note(&mut self, sample: &Sample, length: usize) {
        self.lines.insert(sample.key.clone(), (self.end, length));
        self.end += length as u64;
        self.completion_tokens += sample.completion_tokens;
    }

    /// Whether a request was answered.
    pub(super) fn contains(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }

    /// Tokens of a reply on average; nothing where there are none.
    pub(super) fn mean_completion_tokens(&self) -> Option<f64> {
        let num_samples = self.lines.len();
        (num_samples > 0).then(|| self.completion_tokens as f64 / num_samples as f64)
    }
}

/// An append-only file of samples.
pub struct Journal {
    path: PathBuf,
    file: File,
    index: Index,
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
        let index = Index::read(&file, path)?;
        let length = file.metadata().map_err(write)?.len();
        if length > index.end {
            file.set_len(index.end).map_err(write)?;
        }
        Ok(Self { path: path.to_owned(), file, index })
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
            let _ = self.file.set_len(self.index.end);
            return Err(write(source));
        }
        self.index.note(sample, line.len());
        Ok(())
    }

    /// Whether a request was answered.
    pub fn contains(&self, key: &str) -> bool {
        self.index.contains(key)
    }

    /// The sample of a request, if it was answered.
    ///
    /// # Errors
    /// What the system refused.
    pub fn get(&self, key: &str) -> Result<Option<Sample>> {
        let Some(&(begin, length)) = self.index.lines.get(key) else { return Ok(None) };
        let read = |source| Error::Read { path: self.path.clone(), source };
        let mut file = &self.file;
        file.seek(SeekFrom::Start(begin)).map_err(read)?;
        let mut text = vec![0; length];
        file.read_exact(&mut text).map_err(read)?;
        serde_json::from_slice(&text).map(Some).map_err(|error| read(error.into()))
    }

    /// Samples that it holds.
    pub fn len(&self) -> usize {
        self.index.lines.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.index.lines.is_empty()
    }

    /// Which samples it holds.
    pub(super) fn index(&self) -> &Index {
        &self.index
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
        assert_eq!(journal.index().mean_completion_tokens(), Some(5.0));
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
