//! Grammar of English texts, by rules and without a model.
//!
//! The rules are those of `harper-core`, behind the feature `grammar`: it brings two hundred
//! crates. Asked for everything it knows, it objects to every other word problem, mostly to
//! spelling and formatting; so only kinds that are about grammar are asked for by default.
//! Rules find what is wrong wherever it stands (`an test`, `he have`, `didn't bought`), and little
//! of what takes a parser: `the boys was` passes.

use serde::{Deserialize, Serialize};

use super::config::CleanConfig;
use super::language;
use crate::record::CotRecord;
use crate::rng::falls_in;

/// A kind of mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrammarKind {
    /// Words that do not agree: `he have`.
    Agreement,
    /// Words joined or split at the wrong place: `each and everyone`.
    BoundaryError,
    /// Capital letters.
    Capitalization,
    /// A like-sounding phrase that makes sense of its own: `egg corn` for `acorn`.
    Eggcorn,
    /// What could be said better.
    Enhancement,
    /// White space and layout.
    Formatting,
    /// Grammar as such.
    Grammar,
    /// A like-sounding word of another meaning: `eluded to`.
    Malapropism,
    /// What fits no other kind.
    Miscellaneous,
    /// Words that are not standard English.
    Nonstandard,
    /// Punctuation and hyphens.
    Punctuation,
    /// Sentences that are hard to read.
    Readability,
    /// Words that say what was said: `free gift`.
    Redundancy,
    /// Words of one region.
    Regionalism,
    /// A word twice in a row.
    Repetition,
    /// Spelling; flags names and technical words.
    Spelling,
    /// Style.
    Style,
    /// Slips of the fingers that give another word: `can be seem`.
    Typo,
    /// Unusual combinations of words: `on accident`.
    Usage,
    /// A word where another is meant.
    WordChoice,
    /// Words in the wrong order.
    WordOrder,
}

impl GrammarKind {
    /// The kinds that are about grammar; the wrong article is among the miscellaneous. Typos
    /// and word choice are mostly compounds and one side's spelling: `sit ups`, `per cent`.
    pub const DEFAULT: [Self; 7] = [
        Self::Agreement,
        Self::BoundaryError,
        Self::Grammar,
        Self::Malapropism,
        Self::Miscellaneous,
        Self::Repetition,
        Self::WordOrder,
    ];
}

/// Whether this build can check grammar.
pub(crate) const AVAILABLE: bool = cfg!(feature = "grammar");

/// The first mistake of a record: of an imported one in its question or its chain, of a
/// generated one in the question, if it belongs to the sample.
pub(crate) fn grammar_complaint(record: &CotRecord, config: &CleanConfig) -> Option<String> {
    if !config.grammar {
        return None;
    }
    let is_generated = record.source.generator.is_some();
    if is_generated && !falls_in("grammar", &record.id, config.grammar_sample) {
        return None;
    }
    let chain = if is_generated { &[][..] } else { &record.thought_process[..] };
    let texts: Vec<&str> =
        [record.question.as_str()].into_iter().chain(chain.iter().map(String::as_str)).collect();
    if !language::may_be_english(&texts) {
        return None;
    }
    texts
        .into_iter()
        .flat_map(str::lines)
        .filter(|line| is_prose(line))
        .find_map(|line| rules::complaint(line, &config.grammar_kinds))
}

/// Whether a line is there for its words, four of them at least: formulas and lists of labels are not sentences.
fn is_prose(line: &str) -> bool {
    let is_formula = |letter: char| matches!(letter, '=' | '\\' | '$' | '<' | '>' | '|' | '{');
    let words = line.split_whitespace().filter(|word| {
        let word = word.trim_matches(|letter: char| !letter.is_alphanumeric());
        !word.is_empty() && word.chars().all(|letter| letter.is_alphabetic() || letter == '\'')
    });
    !line.contains(is_formula) && !line.starts_with('#') && words.count() >= 4
}

#[cfg(feature = "grammar")]
mod rules {
    use std::cell::RefCell;

    use harper_core::linting::{LintGroup, LintKind, Linter};
    use harper_core::spell::FstDictionary;
    use harper_core::{Dialect, Document};

    use super::GrammarKind;

    thread_local! {
        /// A set of rules keeps what it found out about earlier texts, so each thread has one.
        static RULES: RefCell<LintGroup> =
            RefCell::new(LintGroup::new_curated(FstDictionary::curated(), Dialect::American));
    }

    /// The first mistake of a line, with its kind, what is wrong and where.
    pub(super) fn complaint(line: &str, kinds: &[GrammarKind]) -> Option<String> {
        let document = Document::new_plain_english_curated(line);
        let mut found = RULES.with_borrow_mut(|rules| rules.lint(&document));
        found.retain(|lint| kinds.contains(&kind_of(lint.lint_kind)));
        let lint = found.into_iter().min_by_key(|lint| lint.span.start)?;
        let place = document.get_span_content_str(&lint.span);
        Some(format!("{}: {} (`{place}`)", lint.lint_kind, lint.message))
    }

    fn kind_of(kind: LintKind) -> GrammarKind {
        match kind {
            LintKind::Agreement => GrammarKind::Agreement,
            LintKind::BoundaryError => GrammarKind::BoundaryError,
            LintKind::Capitalization => GrammarKind::Capitalization,
            LintKind::Eggcorn => GrammarKind::Eggcorn,
            LintKind::Enhancement => GrammarKind::Enhancement,
            LintKind::Formatting => GrammarKind::Formatting,
            LintKind::Grammar => GrammarKind::Grammar,
            LintKind::Malapropism => GrammarKind::Malapropism,
            LintKind::Miscellaneous => GrammarKind::Miscellaneous,
            LintKind::Nonstandard => GrammarKind::Nonstandard,
            LintKind::Punctuation => GrammarKind::Punctuation,
            LintKind::Readability => GrammarKind::Readability,
            LintKind::Redundancy => GrammarKind::Redundancy,
            LintKind::Regionalism => GrammarKind::Regionalism,
            LintKind::Repetition => GrammarKind::Repetition,
            LintKind::Spelling => GrammarKind::Spelling,
            LintKind::Style => GrammarKind::Style,
            LintKind::Typo => GrammarKind::Typo,
            LintKind::Usage => GrammarKind::Usage,
            LintKind::WordChoice => GrammarKind::WordChoice,
            LintKind::WordOrder => GrammarKind::WordOrder,
        }
    }
}

#[cfg(not(feature = "grammar"))]
mod rules {
    use super::GrammarKind;

    /// Never asked: a configuration that asks for grammar is refused in such a build.
    pub(super) fn complaint(_line: &str, _kinds: &[GrammarKind]) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_and_labels_are_no_prose() {
        for line in [
            "How many eggs does she have left now?",
            "Natalia sold clips to 48 of her friends in April.",
        ] {
            assert!(is_prose(line), "{line}");
        }
        for line in ["#A Ann gives 2 to Bob and goes home", "so x = 5 and that is all", "12 + 5"] {
            assert!(!is_prose(line), "{line}");
        }
    }
}
