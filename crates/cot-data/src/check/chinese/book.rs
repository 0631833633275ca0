//! A family that is told in Chinese: its sentences and words with the English that its
//! reader knows. Question and chain are put into English, and what the reader finds is put
//! back.
//!
//! An item of a chain must be the question's own word for word before it is read, so two
//! sentences that come to the same in English are still told apart.

use regex::Regex;

use super::{dates, names};
use crate::check::label::labelled;
use crate::check::sheet::pattern;
use crate::check::{LineChecks, Reader, Reading};

/// Pairs of Chinese and English.
pub(super) type Pairs = &'static [(&'static str, &'static str)];

/// The sentences and words of a family.
pub(super) struct Book {
    sentences: Vec<(Regex, &'static str)>,
    words: Pairs,
    reader: Reader,
}

/// An item of the question: its label, its text, and the English for it.
struct Item {
    label: char,
    chinese: String,
    english: String,
}

/// A question that an English reader reads.
struct Translated {
    book: &'static Book,
    items: Vec<Item>,
    reading: Box<dyn Reading>,
}

impl Book {
    /// A sentence is a line of a question without label and question mark: a pattern, in
    /// which `@` is a name and `#` a number, and the English for it. The first pattern that
    /// fits counts. Each word has one English word.
    pub(super) fn new(sentences: Pairs, words: Pairs, reader: Reader) -> Self {
        let compiled = |(form, english): &(&str, &'static str)| {
            let form = form.replace('@', r"(小\p{Han})").replace('#', r"(\d{1,7})");
            (pattern(&format!("^{form}$")), *english)
        };
        Self { sentences: sentences.iter().map(compiled).collect(), words, reader }
    }

    /// Reads a question.
    pub(super) fn read(&'static self, question: &str) -> Option<Box<dyn Reading>> {
        let (mut items, mut lines) = (Vec::new(), Vec::new());
        for line in question.lines() {
            let (label, text) = match labelled(line) {
                Some(item) => (Some(item.label), item.text),
                None => (None, line),
            };
            let (text, mark) = match text.strip_suffix('？') {
                Some(text) => (text, "?"),
                None => (text, ""),
            };
            let english = self.sentence(text)?;
            let Some(label) = label else {
                lines.push(format!("{english}{mark}"));
                continue;
            };
            lines.push(format!("#{label} {english}{mark}"));
            items.push(Item { label, chinese: text.to_owned(), english });
        }
        let reading = (self.reader)(&lines.join("\n"))?;
        Some(Box::new(Translated { book: self, items, reading }))
    }

    /// A sentence in English; nothing where it is not known.
    fn sentence(&self, text: &str) -> Option<String> {
        let (form, english) = self.sentences.iter().find(|(form, _)| form.is_match(text))?;
        let found = form.captures(text)?;
        let mut told = (*english).to_owned();
        for group in (1..found.len()).rev() {
            let value = found.get(group).map_or("", |value| value.as_str());
            told = told.replace(&format!("${group}"), &self.symbols(value)?);
        }
        Some(told)
    }

    /// Symbols in English, word by word; nothing where one is neither known nor a name.
    fn symbols(&self, text: &str) -> Option<String> {
        let part = |part: &str| -> Option<String> {
            let words: Vec<String> =
                part.split(' ').map(|word| self.word(word)).collect::<Option<_>>()?;
            Some(words.join(" "))
        };
        let parts: Vec<String> = text.split('，').map(part).collect::<Option<_>>()?;
        Some(parts.join(", "))
    }

    fn word(&self, text: &str) -> Option<String> {
        let inside = text.trim_matches(['(', ')']);
        if let Some((chinese, english)) = self.words.iter().find(|(word, _)| *word == inside) {
            return Some(text.replacen(chinese, english, 1));
        }
        if names::is_word(text) {
            return Some(names::latin(text));
        }
        if is_symbol(text) { Some(text.to_owned()) } else { dates::in_english(text) }
    }

    /// An answer in Chinese.
    fn in_chinese(&self, text: &str) -> String {
        if let Some(date) = dates::in_chinese(text) {
            return date;
        }
        let word = |word: &str| {
            let known = self.words.iter().find(|(_, english)| *english == word);
            let known = known.map(|(chinese, _)| (*chinese).to_owned());
            known.or_else(|| names::han(word)).unwrap_or_else(|| word.to_owned())
        };
        let part = |part: &str| part.split(' ').map(word).collect::<Vec<_>>().join(" ");
        text.split(", ").map(part).collect::<Vec<_>>().join("，")
    }
}

/// Whether a text is of digits, signs and single letters, and so of no language.
fn is_symbol(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic();
    text.bytes()
        .all(|byte| is_letter(byte) || byte.is_ascii_digit() || b"+-*/=()>.".contains(&byte))
        && !text.as_bytes().windows(2).any(|pair| pair.iter().all(|byte| is_letter(*byte)))
}

impl Translated {
    /// A line of a chain in English; nothing where it is not in Chinese.
    fn line(&self, line: &str) -> Option<String> {
        let Some((head, work)) = line.split_once('：') else { return self.book.symbols(line) };
        let work = self.book.symbols(work)?;
        let Some(about) = labelled(head) else {
            return Some(format!("{}: {work}", self.book.symbols(head)?));
        };
        let mut items = self.items.iter();
        let item = items.find(|item| item.label == about.label && item.chinese == about.text);
        // Other words are those of no item.
        let english = item.map_or("?", |item| item.english.as_str());
        Some(format!("#{} {english}: {work}", about.label))
    }
}

impl Reading for Translated {
    fn answer(&self) -> Option<String> {
        self.reading.answer().map(|answer| self.book.in_chinese(&answer))
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        // An empty line has no form that a reader knows.
        let lines: Vec<String> =
            lines.iter().map(|line| self.line(line).unwrap_or_default()).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut checks = self.reading.check(&lines);
        checks.conclusion = checks.conclusion.map(|found| self.book.in_chinese(&found));
        checks
    }
}
