//! The vocabulary of the generators: few and short words, so that a small tokenizer
//! gives most of them one token.

use crate::language::Language;

/// Names of people.
pub(crate) const NAMES: [&str; 24] = [
    "Ann", "Bob", "Eve", "Dan", "Kim", "Leo", "Mia", "Tom", "Sam", "Zoe", "Ben", "Amy", "Max",
    "Ida", "Raj", "Ned", "Sue", "Ted", "Joe", "Ivy", "Gus", "Pat", "Roy", "Kay",
];

/// Things to count, in the plural.
pub(crate) const ITEMS: [&str; 8] =
    ["apples", "coins", "books", "cards", "pens", "eggs", "nuts", "keys"];

/// Labels of a question's items. Each stands at the start of a line, in the question as
/// in the chain, so that a line finds its item by the label instead of by counting. With
/// the sign it is one token of its own, directly before the item: to go on from a label is
/// then to copy what followed it before, which a transformer learns first.
pub(crate) const LABELS: [char; 16] =
    ['A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P'];

/// Puts the label of what is asked for before a question: `#Q question?`.
pub(crate) fn asked(language: Language, question: &str) -> String {
    match language {
        Language::En => format!("#Q {question}?"),
        Language::Zh => format!("#Q {question}？"),
    }
}

/// The line of a chain that answers the question, which it restates.
pub(crate) fn answered(question: &str, answer: &str) -> String {
    format!("#Q {question}: {answer}")
}

/// Puts a label before each item: `#A item`.
pub(crate) fn labelled(items: impl IntoIterator<Item = String>) -> Vec<String> {
    LABELS.into_iter().zip(items).map(|(label, item)| format!("#{label} {item}")).collect()
}

/// The lines of a chain about labelled items: each restates its item word for word, so
/// that to find it is to copy, and only then works on what now stands beside the work.
pub(crate) fn restated(items: &[String], works: impl IntoIterator<Item = String>) -> Vec<String> {
    items.iter().zip(works).map(|(item, work)| format!("{item}: {work}")).collect()
}
