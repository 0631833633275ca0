//! What could not be imported: where it is, why, and a glimpse of it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::input::{At, Place};
use crate::partial::Partial;

/// Most characters of an excerpt.
const MOST_SHOWN: usize = 200;

/// Why an object is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The file ends in the middle of something.
    CutOff,
    /// The file's compression or layout is damaged; what follows cannot be read.
    Damaged,
    /// A line or entry is longer than allowed.
    TooLong,
    /// Bytes that are no UTF-8.
    NotUtf8,
    /// Text that is no JSON.
    NotJson,
    /// JSON, but not an object.
    NotAnObject,
    /// A field is absent, empty or of the wrong type.
    BadField,
    /// There is no answer.
    MissingAnswer,
    /// There is no chain of thought where the format should have one.
    MissingChain,
    /// The chain breaks off before its end.
    IncompleteChain,
    /// The data set itself says that the chain's answer is wrong.
    WrongAnswer,
    /// The chain states another answer than the record.
    AnswerContradictsChain,
    /// The data set itself says that the problem is bad.
    BadProblem,
    /// Another object before it has the same id.
    DuplicateId,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 14] = [
        Self::CutOff,
        Self::Damaged,
        Self::TooLong,
        Self::NotUtf8,
        Self::NotJson,
        Self::NotAnObject,
        Self::BadField,
        Self::MissingAnswer,
        Self::MissingChain,
        Self::IncompleteChain,
        Self::WrongAnswer,
        Self::AnswerContradictsChain,
        Self::BadProblem,
        Self::DuplicateId,
    ];

    /// The word for it in files; it does not change.
    pub fn name(self) -> &'static str {
        match self {
            Self::CutOff => "cut_off",
            Self::Damaged => "damaged",
            Self::TooLong => "too_long",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson => "not_json",
            Self::NotAnObject => "not_an_object",
            Self::BadField => "bad_field",
            Self::MissingAnswer => "missing_answer",
            Self::MissingChain => "missing_chain",
            Self::IncompleteChain => "incomplete_chain",
            Self::WrongAnswer => "wrong_answer",
            Self::AnswerContradictsChain => "answer_contradicts_chain",
            Self::BadProblem => "bad_problem",
            Self::DuplicateId => "duplicate_id",
        }
    }
}

/// One object, or one of the records it would have given, that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The file and the place in it.
    pub place: Place,
    /// Why, in a word.
    pub reason: Reason,
    /// Why, in a sentence: what was expected and what was found.
    pub detail: String,
    /// The object's beginning.
    pub excerpt: String,
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.reason.name())
    }
}

impl Reject {
    /// As a JSON object: `file`, then `line`, `entry` (with its `key`) or `row`, then
    /// `reason`, `detail` and `excerpt`.
    pub fn to_map(&self) -> Map<String, Value> {
        let mut map = Map::new();
        let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
        put("file", self.place.file.display().to_string().into());
        match &self.place.at {
            At::File => None,
            At::Line(line) => put("line", (*line).into()),
            At::Row(row) => put("row", (*row).into()),
            At::Entry { index, key } => {
                put("entry", (*index).into());
                key.as_ref().and_then(|key| put("key", key.as_str().into()))
            }
        };
        put("reason", self.reason.name().into());
        put("detail", self.detail.as_str().into());
        put("excerpt", self.excerpt.as_str().into());
        map
    }
}

/// The beginning of a text, on one line, of a few characters at most.
pub(crate) fn excerpt(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(MOST_SHOWN)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    if text.chars().nth(MOST_SHOWN).is_some() {
        short.push('…');
    }
    short
}

/// The beginning of bytes that may be no text.
pub(crate) fn excerpt_of_bytes(bytes: &[u8]) -> String {
    // A character has at most four bytes.
    excerpt(&String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MOST_SHOWN + 4)]))
}

/// Counts what is left out and, if asked, lists it in a file, which is there even if nothing
/// was left out: a list of an earlier run must not pass for this one's.
#[derive(Debug, Default)]
pub struct RejectLog {
    out: Option<(Partial, BufWriter<File>)>,
    strict: bool,
    counts: BTreeMap<&'static str, u64>,
}

impl RejectLog {
    /// A log that only counts.
    pub fn counting() -> Self {
        Self::default()
    }

    /// A log that makes the first thing left out an error.
    pub fn strict() -> Self {
        Self::counting().into_strict()
    }

    /// The log, but that the first thing left out is an error.
    #[must_use]
    pub fn into_strict(self) -> Self {
        Self { strict: true, ..self }
    }

    /// A log that writes each thing left out as a line of a JSONL file, which appears
    /// when the log is finished.
    ///
    /// # Errors
    /// What the system refused.
    pub fn to_file(path: &Path) -> Result<Self> {
        let (partial, file) = Partial::create(path)
            .map_err(|source| Error::Write { path: path.to_owned(), source })?;
        Ok(Self { out: Some((partial, BufWriter::new(file))), ..Self::default() })
    }

    /// Takes one thing that is left out.
    ///
    /// # Errors
    /// The thing itself if the log is strict, or what the system refused.
    pub fn push(&mut self, reject: Reject) -> Result<()> {
        if self.strict {
            return Err(Error::Reject { reject: Box::new(reject) });
        }
        *self.counts.entry(reject.reason.name()).or_default() += 1;
        if let Some((partial, out)) = &mut self.out {
            let written = serde_json::to_writer(&mut *out, &reject.to_map())
                .map_err(std::io::Error::from)
                .and_then(|()| out.write_all(b"\n"));
            written.map_err(|source| Error::Write { path: partial.target().to_owned(), source })?;
        }
        Ok(())
    }

    /// How many were left out, by reason.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// Finishes the file, if there is one.
    ///
    /// # Errors
    /// What the system refused; then no file is left.
    pub fn finish(mut self) -> Result<BTreeMap<&'static str, u64>> {
        if let Some((partial, out)) = self.out.take() {
            let path = partial.target().to_owned();
            out.into_inner()
                .map_err(std::io::IntoInnerError::into_error)
                .and_then(|file| partial.keep(&file))
                .map_err(|source| Error::Write { path, source })?;
        }
        Ok(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reject(reason: Reason) -> Reject {
        Reject {
            place: Place::new(Path::new("a.jsonl"), At::Line(3)),
            reason,
            detail: "expected more, found less".to_owned(),
            excerpt: excerpt("{\n}"),
        }
    }

    #[test]
    fn names_are_different() {
        let mut names: Vec<&str> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn a_file_lists_what_was_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rejects.jsonl");
        let mut log = RejectLog::to_file(&path).unwrap();
        log.push(reject(Reason::NotJson)).unwrap();
        log.push(reject(Reason::NotJson)).unwrap();
        assert!(!path.exists(), "the file appears when it is whole");
        assert_eq!(log.finish().unwrap(), [("not_json", 2)].into());
        let text = std::fs::read_to_string(&path).unwrap();
        let first = r#"{"file":"a.jsonl","line":3,"reason":"not_json","detail":"expected more, found less","excerpt":"{ }"}"#;
        assert_eq!(text, format!("{first}\n{first}\n"));
    }

    #[test]
    fn an_unfinished_log_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let log = RejectLog::to_file(&folder.path().join("rejects.jsonl")).unwrap();
        drop(log);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_list_is_there_though_nothing_was_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rejects.jsonl");
        std::fs::write(&path, "of an earlier run\n").unwrap();
        let mut log = RejectLog::to_file(&path).unwrap().into_strict();
        log.push(reject(Reason::TooLong)).unwrap_err();
        drop(log);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "of an earlier run\n");
        RejectLog::to_file(&path).unwrap().into_strict().finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn the_strict_log_names_file_and_line() {
        let error = RejectLog::strict().push(reject(Reason::TooLong)).unwrap_err();
        assert_eq!(error.to_string(), "a.jsonl:3: expected more, found less (too_long)");
        assert_eq!(error.kind(), crate::ErrorKind::BadInput);
    }

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        let shown = excerpt(&"é\n".repeat(500));
        assert_eq!(shown.chars().count(), MOST_SHOWN + 1);
        assert!(shown.ends_with('…') && !shown.contains('\n'));
        assert_eq!(excerpt_of_bytes(b"a\xff"), "a\u{fffd}");
    }
}
