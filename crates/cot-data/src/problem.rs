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

/// A typed problem, drawn by its family.
pub(crate) trait Problem {
    /// What makes two problems the same, whatever words they are told in.
    fn signature(&self) -> String;

    /// The kind's name, as in `source.generator`.
    fn kind_name(&self) -> &'static str;

    /// Question, chain and answer, in one of the family's languages.
    fn render(&self, language: Language, rng: &mut CounterRng) -> Rendered;

    /// What else a record's `source` says of it, such as where a definition is published.
    fn source_extra(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// Draws a kind of problem of a level, from 1 to 4.
pub(crate) type Draw = fn(u8, &mut CounterRng) -> Box<dyn Problem>;
