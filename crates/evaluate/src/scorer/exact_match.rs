//! lm-eval's `exact_match` (0.4.13, `api/metrics.py`): equality after deletions.

use serde::{Deserialize, Serialize};

use super::pattern::Pattern;
use crate::Result;

/// What is deleted before two texts are compared, as a task's `metric_list` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExactMatch {
    /// Without regard to case. Default false.
    pub ignore_case: bool,
    /// Without ASCII's punctuation. Default false.
    pub ignore_punctuation: bool,
    /// Without ASCII's digits. Default false.
    pub ignore_numbers: bool,
    /// What matches one of these is deleted first, in their order. Default none.
    pub regexes_to_ignore: Vec<String>,
}

/// The same, ready to compare.
#[derive(Debug, Clone)]
pub struct ExactMatcher {
    config: ExactMatch,
    patterns: Vec<Pattern>,
}

impl ExactMatch {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// [`crate::Error::Pattern`] for one that is none.
    pub fn compile(&self) -> Result<ExactMatcher> {
        let patterns =
            self.regexes_to_ignore.iter().map(|source| Pattern::new(source)).collect::<Result<_>>();
        Ok(ExactMatcher { config: self.clone(), patterns: patterns? })
    }
}

impl ExactMatcher {
    /// A text after the deletions.
    ///
    /// # Errors
    /// [`crate::Error::PatternRun`] where a pattern's matcher gives up.
    pub fn normalise(&self, text: &str) -> Result<String> {
        let mut text = text.to_owned();
        for pattern in &self.patterns {
            text = stored(pattern.delete(&text)?);
        }
        text = stored(text);
        if self.config.ignore_case {
            text = lowercase(&text);
        }
        if self.config.ignore_punctuation {
            text.retain(|next| !next.is_ascii_punctuation());
        }
        if self.config.ignore_numbers {
            text.retain(|next| !next.is_ascii_digit());
        }
        Ok(stored(text))
    }

    /// Whether a text is one of the expected ones.
    ///
    /// # Errors
    /// [`crate::Error::PatternRun`] where a pattern's matcher gives up.
    pub fn matches<'a>(
        &self,
        text: &str,
        expected: impl IntoIterator<Item = &'a str>,
    ) -> Result<bool> {
        let text = self.normalise(text)?;
        for expected in expected {
            if self.normalise(expected)? == text {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// lm-eval keeps texts in `NumPy` arrays, which drop NULs at the end.
fn stored(mut text: String) -> String {
    text.truncate(text.trim_end_matches('\0').len());
    text
}

/// Its `lower` keeps a text's length: what would become longer, as `İ` does, is cut.
pub(super) fn lowercase(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.to_lowercase().chars().take(text.chars().count()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(config: &ExactMatch, text: &str) -> String {
        config.compile().unwrap().normalise(text).unwrap()
    }

    /// Expected values from lm-eval's own function.
    #[test]
    fn texts_are_normalised_as_lm_eval_does() {
        let plain = ExactMatch::default();
        assert_eq!(normal(&plain, " A.1 "), " A.1 ");
        let case = ExactMatch { ignore_case: true, ..plain.clone() };
        assert_eq!(normal(&case, "ÄbΣ"), "äbς");
        assert_eq!(normal(&case, "İ1"), "i\u{307}");
        let punctuation = ExactMatch { ignore_punctuation: true, ..plain.clone() };
        assert_eq!(normal(&punctuation, "(A)_¿^$"), "A¿");
        let numbers = ExactMatch { ignore_numbers: true, ..plain.clone() };
        assert_eq!(normal(&numbers, "a1٣"), "a٣");
        assert_eq!(normal(&plain, "5\0\0"), "5");
        let ordered =
            ExactMatch { regexes_to_ignore: vec![r"\.$".into(), "x".into()], ..plain.clone() };
        assert_eq!(normal(&ordered, "5.x"), "5.");
        let other = ExactMatch { regexes_to_ignore: vec!["x".into(), r"\.$".into()], ..plain };
        assert_eq!(normal(&other, "5.x"), "5");
    }

    #[test]
    fn any_of_several_expected_texts_will_do() {
        let matcher = ExactMatch { ignore_case: true, ..ExactMatch::default() }.compile().unwrap();
        assert!(matcher.matches("Paris", ["london", "paris"]).unwrap());
        assert!(!matcher.matches("Paris ", ["london", "paris"]).unwrap());
        assert!(!matcher.matches("Paris", []).unwrap());
    }
}
