//! A problem of any family, before and after it is put into words.

use crate::language::Language;
use crate::rng::CounterRng;

/// A problem in words.
#[derive(Clone, Debug)]
pub(crate) struct Rendered {
    pub(crate) question: String,
    pub(crate) steps: Vec<String>,
    pub(crate) answer: String,
}

/// A way to make another problem of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alteration {
    /// One of its numbers is another.
    Number,
    /// One of its items comes once more, at the end.
    Added,
    /// One of its items is not there.
    Dropped,
}

/// A typed problem, drawn by its family.
pub(crate) trait Problem {
    /// What makes two problems the same, whatever words they are told in.
    fn signature(&self) -> String;

    /// The kind's name, as in `source.generator`.
    fn kind_name(&self) -> &'static str;

    /// Question, chain and answer, in one of the family's languages.
    fn render(&self, language: Language, rng: &mut CounterRng) -> Rendered;

    /// Another problem, drawn at random; nothing where the draw does not give one that can be
    /// told, or the family has none: most families draw so that exactly one answer fits, or
    /// that all quotients are whole, which no change at a single place keeps.
    fn altered(&self, _alteration: Alteration, _rng: &mut CounterRng) -> Option<Box<dyn Problem>> {
        None
    }

    /// What else a record's `source` says of it, such as where a definition is published.
    fn source_extra(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// Draws a kind of problem of a level, from 1 to 4.
pub(crate) type Draw = fn(u8, &mut CounterRng) -> Box<dyn Problem>;
