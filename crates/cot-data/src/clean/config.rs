//! The `[clean]` table: what is put in order in a record, and what makes it unwanted.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::grammar::{self, GrammarKind};
use super::language::known_language;
use super::scrub::PiiKind;
use crate::error::ConfigError;

/// Unicode form that texts are brought to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnicodeForm {
    /// As they are.
    Keep,
    /// Composed: `e` and an accent become one character. Nothing that is seen changes.
    #[default]
    Nfc,
    /// Composed, and look-alikes replaced: full-width letters, ligatures, but also `x²`,
    /// which becomes `x2`. Wrong for mathematics.
    Nfkc,
}

/// Which text of a record decides whether another one repeats it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DuplicateScope {
    /// The question: of several chains for one question the first is kept.
    #[default]
    Question,
    /// Question, chain, answer and label together: several chains for one question are
    /// kept, as long as they differ.
    Record,
}

/// What [`clean`](super::clean()) does. Every bound is inclusive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CleanConfig {
    /// Unicode form of the texts that are written: `keep`, `nfc` or `nfkc`. Default: `nfc`.
    pub unicode: UnicodeForm,
    /// Whether control and invisible characters are taken out and white space made even;
    /// lines and their indentation stay. Default: true.
    pub tidy_whitespace: bool,
    /// Kinds of personal data that a placeholder replaces: `email`, `phone`, `ip`, `card`,
    /// `iban`. Default: none.
    pub scrub: Vec<PiiKind>,

    /// Languages to keep, as ISO 639-3 codes such as `eng`; none means all. Default: none.
    pub languages: Vec<String>,
    /// Confidence, from 0 to 1, from which another language is reason to remove a record.
    /// Default: 0.9.
    pub min_language_confidence: f64,
    /// Letters, below which a text is too short to tell its language, and is kept.
    /// Default: 80.
    pub min_language_letters: usize,

    /// Shortest question, in characters. Default: 1.
    pub min_question_chars: usize,
    /// Longest question, in characters. Default: 20000.
    pub max_question_chars: usize,
    /// Shortest chain, in characters; 0 admits records without one. Default: 0.
    pub min_chain_chars: usize,
    /// Longest chain, in characters. Default: 200000.
    pub max_chain_chars: usize,
    /// Longest answer, in characters. Default: 20000.
    pub max_answer_chars: usize,
    /// Most steps of a chain. Default: 5000.
    pub max_steps: usize,

    /// Whether English records with a grammar mistake are removed: of imported ones question
    /// and chain are checked, of generated ones the questions of a sample; lines with a label
    /// or a formula are left alone. Takes the feature `grammar`. Default: false.
    pub grammar: bool,
    /// Share, from 0 to 1, of generated records whose question is checked. Default: 0.01.
    pub grammar_sample: f64,
    /// Kinds of mistakes that count. Default: `agreement`, `boundary_error`, `grammar`,
    /// `malapropism`, `miscellaneous`, `repetition`, `word_order`.
    pub grammar_kinds: Vec<GrammarKind>,

    /// Words, below which a chain is too short to be called repetitive. Default: 100.
    pub min_repetition_words: usize,
    /// Largest share of lines that an earlier line of the chain equals; from 0 to 1, where
    /// 1 switches the filter off. Default: 0.3.
    pub max_duplicate_line_share: f64,
    /// Largest share of characters in the most frequent 2-, 3- and 4-gram of words.
    /// Default: `[0.4, 0.36, 0.32]`.
    pub max_top_ngram_share: [f64; 3],
    /// Largest share of characters in repeated 5- to 10-grams of words.
    /// Default: `[0.45, 0.42, 0.39, 0.36, 0.33, 0.3]`.
    pub max_duplicate_ngram_share: [f64; 6],

    /// Whether records that say the same, but for case, punctuation and white space, are
    /// removed. Default: true.
    pub exact_duplicates: bool,
    /// Whether records that say nearly the same are removed. Default: true.
    pub near_duplicates: bool,
    /// The text that decides: `question` or `record`. Default: `question`.
    pub duplicate_scope: DuplicateScope,
    /// Similarity (estimated Jaccard index of 5-word shingles), from 0.5 to 1, from which two
    /// texts are near-duplicates. Default: 0.72.
    pub near_duplicate_threshold: f64,
    /// Whether texts whose numbers differ are different whatever their similarity: two word
    /// problems of 50 words that differ in one number are 0.8 similar. Default: true.
    pub numbers_distinguish: bool,

    /// Files of benchmarks whose items must not be trained on. Default: none.
    pub benchmarks: Vec<PathBuf>,
    /// Length in words of an n-gram whose appearance in both a question and a benchmark item
    /// removes the record; 0 switches it off. Default: 8.
    pub question_ngram: usize,
    /// The same for the chain and the answer. Default: 13.
    pub text_ngram: usize,

    /// Memory in MiB for the tables of the duplicate search, past which they go to temporary
    /// files; about 9 bytes a record come on top. Default: 256.
    pub memory_mib: usize,
    /// Folder for temporary files. Default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temp_dir: Option<PathBuf>,
}

impl Default for CleanConfig {
    fn default() -> Self {
        Self {
            unicode: UnicodeForm::Nfc,
            tidy_whitespace: true,
            scrub: Vec::new(),
            languages: Vec::new(),
            min_language_confidence: 0.9,
            min_language_letters: 80,
            min_question_chars: 1,
            max_question_chars: 20_000,
            min_chain_chars: 0,
            max_chain_chars: 200_000,
            max_answer_chars: 20_000,
            max_steps: 5_000,
            grammar: false,
            grammar_sample: 0.01,
            grammar_kinds: GrammarKind::DEFAULT.to_vec(),
            min_repetition_words: 100,
            max_duplicate_line_share: 0.3,
            max_top_ngram_share: [0.4, 0.36, 0.32],
            max_duplicate_ngram_share: [0.45, 0.42, 0.39, 0.36, 0.33, 0.3],
            exact_duplicates: true,
            near_duplicates: true,
            duplicate_scope: DuplicateScope::Question,
            near_duplicate_threshold: 0.72,
            numbers_distinguish: true,
            benchmarks: Vec::new(),
            question_ngram: 8,
            text_ngram: 13,
            memory_mib: 256,
            temp_dir: None,
        }
    }
}

impl CleanConfig {
    /// Whether every value is possible.
    ///
    /// # Errors
    /// Names the first field that is not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |field: &str, expected: &str, got: String| {
            let field = format!("clean.{field}");
            Err(ConfigError { field, expected: expected.to_owned(), got })
        };
        if let Some(code) = self.languages.iter().find(|code| !known_language(code)) {
            let expected = "ISO 639-3 codes of languages that can be told, such as `eng`";
            return refuse("languages", expected, format!("`{code}`"));
        }
        if self.grammar && !grammar::AVAILABLE {
            let expected = "false: this program was built without the feature `grammar`";
            return refuse("grammar", expected, "true".to_owned());
        }
        let shares = [
            ("min_language_confidence", self.min_language_confidence),
            ("grammar_sample", self.grammar_sample),
            ("max_duplicate_line_share", self.max_duplicate_line_share),
        ]
        .into_iter()
        .chain(self.max_top_ngram_share.map(|share| ("max_top_ngram_share", share)))
        .chain(self.max_duplicate_ngram_share.map(|share| ("max_duplicate_ngram_share", share)));
        for (field, share) in shares {
            if !(0.0..=1.0).contains(&share) {
                return refuse(field, "a number from 0 to 1", share.to_string());
            }
        }
        // Below a half, 14 bands of 8 rows miss most pairs, so the promise would be empty.
        if !(0.5..=1.0).contains(&self.near_duplicate_threshold) {
            let got = self.near_duplicate_threshold.to_string();
            return refuse("near_duplicate_threshold", "a number from 0.5 to 1", got);
        }
        for (field, least, most) in [
            ("max_question_chars", self.min_question_chars, self.max_question_chars),
            ("max_chain_chars", self.min_chain_chars, self.max_chain_chars),
            ("max_answer_chars", 1, self.max_answer_chars),
        ] {
            if most < least {
                return refuse(field, &format!("at least {least}"), most.to_string());
            }
        }
        for (field, length) in
            [("question_ngram", self.question_ngram), ("text_ngram", self.text_ngram)]
        {
            // Shorter n-grams are ordinary phrases.
            if length != 0 && !(4..=64).contains(&length) {
                return refuse(field, "0, or a length from 4 to 64", length.to_string());
            }
        }
        if self.memory_mib == 0 {
            return refuse("memory_mib", "at least 1", "0".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_values_are_refused_by_name() {
        let base = CleanConfig::default;
        assert_eq!(base().validate(), Ok(()));
        let cases = [
            ("languages", CleanConfig { languages: vec!["english".to_owned()], ..base() }),
            ("min_language_confidence", CleanConfig { min_language_confidence: 1.5, ..base() }),
            ("grammar_sample", CleanConfig { grammar_sample: 2.0, ..base() }),
            ("max_duplicate_line_share", CleanConfig { max_duplicate_line_share: -0.1, ..base() }),
            ("max_top_ngram_share", CleanConfig { max_top_ngram_share: [0.2, 2.0, 0.2], ..base() }),
            (
                "max_duplicate_ngram_share",
                CleanConfig { max_duplicate_ngram_share: [f64::NAN; 6], ..base() },
            ),
            ("near_duplicate_threshold", CleanConfig { near_duplicate_threshold: 0.2, ..base() }),
            ("max_question_chars", CleanConfig { max_question_chars: 0, ..base() }),
            ("max_chain_chars", CleanConfig { min_chain_chars: 300_000, ..base() }),
            ("max_answer_chars", CleanConfig { max_answer_chars: 0, ..base() }),
            ("question_ngram", CleanConfig { question_ngram: 2, ..base() }),
            ("text_ngram", CleanConfig { text_ngram: 65, ..base() }),
            ("memory_mib", CleanConfig { memory_mib: 0, ..base() }),
        ];
        for (field, config) in cases {
            let error = config.validate().unwrap_err();
            assert_eq!(error.field, format!("clean.{field}"), "{config:?}");
        }
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let error = serde_json::from_str::<CleanConfig>(r#"{"dedupe": true}"#).unwrap_err();
        assert!(error.to_string().contains("dedupe"), "{error}");
        let scrub = serde_json::from_str::<CleanConfig>(r#"{"scrub": ["name"]}"#).unwrap_err();
        assert!(scrub.to_string().contains("iban"), "{scrub}");
    }
}
