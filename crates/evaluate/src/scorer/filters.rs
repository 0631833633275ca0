//! lm-eval's filters (0.4.13, `filters/`): from the replies to a problem to an answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use limbeck_run::config::Invalid;
use serde::{Deserialize, Serialize};

use super::gsm8k::INVALID;
use super::pattern::{Found, Pattern, strip};
use super::repeats::most_common;
use crate::Result;

/// A filter of a task's `filter_list`, under the name and with the options that it has there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "function", rename_all = "snake_case", deny_unknown_fields)]
pub enum Filter {
    /// Of all matches the one at `group_select`, from the end if negative; of a pattern with
    /// several groups, the first that took part.
    Regex {
        /// Python's regular expression. Default that of GSM8K's strict match.
        #[serde(default = "default_pattern")]
        regex_pattern: String,
        /// Which match. Default 0.
        #[serde(default)]
        group_select: i64,
        /// What stands for no match. Default `[invalid]`.
        #[serde(default = "default_fallback")]
        fallback: String,
    },
    /// As `regex`; without a match, the letter of the choice whose text the reply holds, else the
    /// letter behind a colon.
    MultiChoiceRegex {
        /// As in [`Self::Regex`].
        #[serde(default = "default_pattern")]
        regex_pattern: String,
        /// As in [`Self::Regex`].
        #[serde(default)]
        group_select: i64,
        /// As in [`Self::Regex`].
        #[serde(default = "default_fallback")]
        fallback: String,
        /// Whether choices are found without regard to case. Default false.
        #[serde(default)]
        ignore_case: bool,
        /// Whether choices are found without regard to punctuation. Default false.
        #[serde(default)]
        ignore_punctuation: bool,
        /// What choices are found without. Default nothing.
        #[serde(default)]
        regexes_to_ignore: Vec<String>,
    },
    /// The first reply. Nothing may come after it.
    TakeFirst {},
    /// So many of the first replies.
    TakeFirstK {
        /// How many.
        k: usize,
    },
    /// The most frequent text, the first seen of several such; `[invalid]` counts.
    MajorityVote {},
    /// Without white space at both ends.
    RemoveWhitespace {},
    /// In lower case.
    Lowercase {},
    /// In upper case.
    Uppercase {},
    /// Another text for each.
    Map {
        /// By the text as it is.
        #[serde(default)]
        mapping_dict: BTreeMap<String, String>,
        /// For a text that is not among them. Default `[invalid]`, where lm-eval has Python's
        /// `None` and fails.
        #[serde(default)]
        default_value: Option<String>,
    },
}

fn default_pattern() -> String {
    r"#### (\-?[0-9\.\,]+)".to_owned()
}

fn default_fallback() -> String {
    INVALID.to_owned()
}

/// Filters in their order, compiled.
#[derive(Debug, Clone)]
pub struct Pipeline {
    steps: Vec<Compiled>,
}

#[derive(Debug, Clone)]
enum Compiled {
    Regex(Selection),
    Choices { select: Selection, case: bool, punctuation: bool, ignored: Vec<Pattern> },
    Plain(Filter),
}

/// A pattern and which of its matches counts.
#[derive(Debug, Clone)]
struct Selection {
    pattern: Pattern,
    group_select: i64,
    fallback: String,
}

impl Pipeline {
    /// Compiles filters.
    ///
    /// # Errors
    /// [`crate::Error::Pattern`] for a pattern that is none, [`crate::Error::Setting`] for a
    /// filter behind `take_first`, which in lm-eval would take the answer letter by letter, and
    /// for `take_first_k` of none.
    pub fn new(filters: &[Filter]) -> Result<Self> {
        let ends = filters.iter().position(|filter| matches!(filter, Filter::TakeFirst {}));
        if let Some(behind) = ends.and_then(|at| filters.get(at + 1)) {
            let expected = "nothing behind take_first";
            return Err(Invalid::new("filter", expected, format!("{behind:?}")).into());
        }
        let steps = filters.iter().map(Compiled::new).collect::<Result<_>>()?;
        Ok(Self { steps })
    }

    /// What is left of the replies to one problem; `choices` are its choices' texts, which
    /// `multi_choice_regex` needs.
    ///
    /// # Errors
    /// [`crate::Error::PatternRun`] where a pattern's matcher gives up,
    /// [`crate::Error::Setting`] for fewer replies than `take_first_k` takes.
    pub fn apply<T: AsRef<str>>(&self, replies: &[T], choices: &[String]) -> Result<Vec<String>> {
        let mut replies: Vec<String> =
            replies.iter().map(|reply| reply.as_ref().to_owned()).collect();
        for step in &self.steps {
            replies = step.apply(replies, choices)?;
        }
        Ok(replies)
    }
}

impl Compiled {
    fn new(filter: &Filter) -> Result<Self> {
        let select = |pattern: &str, group_select: i64, fallback: &str| {
            let pattern = Pattern::new(pattern)?;
            Ok::<_, crate::Error>(Selection {
                pattern,
                group_select,
                fallback: fallback.to_owned(),
            })
        };
        Ok(match filter {
            Filter::Regex { regex_pattern, group_select, fallback } => {
                Self::Regex(select(regex_pattern, *group_select, fallback)?)
            }
            Filter::MultiChoiceRegex {
                regex_pattern,
                group_select,
                fallback,
                ignore_case,
                ignore_punctuation,
                regexes_to_ignore,
            } => Self::Choices {
                select: select(regex_pattern, *group_select, fallback)?,
                case: *ignore_case,
                punctuation: *ignore_punctuation,
                ignored: regexes_to_ignore
                    .iter()
                    .map(|source| Pattern::new(source))
                    .collect::<Result<_>>()?,
            },
            Filter::TakeFirstK { k: 0 } => {
                return Err(Invalid::new("take_first_k.k", "at least 1", 0).into());
            }
            plain => Self::Plain(plain.clone()),
        })
    }

    fn apply(&self, mut replies: Vec<String>, choices: &[String]) -> Result<Vec<String>> {
        let each = |replies: Vec<String>, change: &dyn Fn(&str) -> String| {
            replies.iter().map(|reply| change(reply)).collect::<Vec<_>>()
        };
        Ok(match self {
            Self::Regex(select) => {
                replies.iter().map(|reply| select.answer(reply)).collect::<Result<_>>()?
            }
            Self::Choices { select, case, punctuation, ignored } => {
                let ignore = |text: &str| without(text, ignored, *case, *punctuation);
                let by_choice = ByChoice::new(choices, ignore)?;
                replies
                    .iter()
                    .map(|reply| by_choice.answer(reply, select, ignore))
                    .collect::<Result<_>>()?
            }
            Self::Plain(filter) => match filter {
                Filter::TakeFirst {} => {
                    replies.truncate(1);
                    replies
                }
                Filter::TakeFirstK { k } => {
                    if replies.len() < *k {
                        let expected = format!("at least {k} for take_first_k");
                        return Err(Invalid::new("repeats", expected, replies.len()).into());
                    }
                    replies.truncate(*k);
                    replies
                }
                Filter::MajorityVote {} => {
                    most_common(&replies).map(str::to_owned).into_iter().collect()
                }
                Filter::RemoveWhitespace {} => each(replies, &|reply| strip(reply).to_owned()),
                Filter::Lowercase {} => each(replies, &str::to_lowercase),
                Filter::Uppercase {} => each(replies, &str::to_uppercase),
                Filter::Map { mapping_dict, default_value } => {
                    let other = default_value.as_deref().unwrap_or(INVALID);
                    each(replies, &|reply| {
                        mapping_dict.get(reply).map_or(other, String::as_str).to_owned()
                    })
                }
                // Compiled above.
                Filter::Regex { .. } | Filter::MultiChoiceRegex { .. } => replies,
            },
        })
    }
}

impl Selection {
    /// The match that counts; `None` without one. lm-eval fails where there are fewer matches
    /// than `group_select` asks for; here there is none then.
    fn of<'text>(&self, pattern: &Pattern, text: &'text str) -> Result<Option<&'text str>> {
        let found = pattern.find_all(text)?;
        let place = if self.group_select < 0 {
            found.len().checked_sub(self.group_select.unsigned_abs() as usize)
        } else {
            Some(self.group_select as usize)
        };
        let found = place.and_then(|place| found.into_iter().nth(place));
        Ok(found.and_then(|found| match found {
            Found::One(one) => Some(strip(one)),
            Found::Groups(groups) => groups.into_iter().find(|group| !group.is_empty()).map(strip),
        }))
    }

    fn answer(&self, reply: &str) -> Result<String> {
        Ok(self.of(&self.pattern, reply)?.unwrap_or(&self.fallback).to_owned())
    }
}

/// The choices of a problem, to be found in a reply.
struct ByChoice {
    /// By their texts, the longest first; none where there is no choice.
    texts: Option<Pattern>,
    /// By their letters, behind a colon.
    letters: Option<Pattern>,
    /// `(A)` by text.
    marks: HashMap<String, String>,
}

impl ByChoice {
    fn new(choices: &[String], ignore: impl Fn(&str) -> String) -> Result<Self> {
        let mut marks = HashMap::new();
        let (mut texts, mut letters) = (Vec::new(), Vec::new());
        for (choice, letter) in choices.iter().zip('A'..) {
            let text = ignore(strip(choice));
            let mark = format!("({letter})");
            letters.push(letter.to_string());
            texts.push(text.clone());
            marks.insert(text, mark);
        }
        let mut order: Vec<&str> = texts.iter().map(String::as_str).collect();
        order.sort_by_key(|text| std::cmp::Reverse(text.chars().count()));
        let some = !choices.is_empty();
        Ok(Self {
            texts: some.then(|| Pattern::any_of("", order)).transpose()?,
            letters: some
                .then(|| Pattern::any_of(r":[\s]*", letters.iter().map(String::as_str)))
                .transpose()?,
            marks,
        })
    }

    fn answer(
        &self,
        reply: &str,
        select: &Selection,
        ignore: impl Fn(&str) -> String,
    ) -> Result<String> {
        let some = |found: Option<&str>| found.filter(|found| !found.is_empty()).map(str::to_owned);
        if let Some(found) = some(select.of(&select.pattern, reply)?) {
            return Ok(found);
        }
        let mark = |found: String| self.marks.get(&found).cloned().unwrap_or(found);
        if let Some(texts) = &self.texts
            && let Some(found) = some(select.of(texts, &ignore(reply))?)
        {
            return Ok(mark(found));
        }
        if let Some(letters) = &self.letters
            && let Some(found) = some(select.of(letters, reply)?)
        {
            return Ok(format!("({found})"));
        }
        Ok(select.fallback.clone())
    }
}

/// A text without what choices are found without.
fn without(text: &str, ignored: &[Pattern], case: bool, punctuation: bool) -> String {
    let mut text = text.to_owned();
    for pattern in ignored {
        // A matcher that gives up here leaves the text as it is; on the reply itself it is told.
        text = pattern.delete(&text).unwrap_or(text);
    }
    if case {
        text = text.to_lowercase();
    }
    if punctuation {
        text.retain(|next| !is_punctuation(next));
    }
    text
}

/// Unicode's category P.
fn is_punctuation(next: char) -> bool {
    if next.is_ascii() {
        return next.is_ascii_punctuation()
            && !matches!(next, '$' | '+' | '<' | '=' | '>' | '^' | '`' | '|' | '~');
    }
    PUNCTUATION
        .as_ref()
        .is_some_and(|pattern| pattern.is_match(next.encode_utf8(&mut [0; 4])).unwrap_or(false))
}

static PUNCTUATION: LazyLock<Option<fancy_regex::Regex>> =
    LazyLock::new(|| fancy_regex::Regex::new(r"\p{P}").ok());

#[cfg(test)]
mod tests {
    use super::*;

    fn pipeline(text: &str) -> Pipeline {
        let filters: Vec<Filter> = serde_json::from_str(text).unwrap();
        Pipeline::new(&filters).unwrap()
    }

    fn apply(text: &str, replies: &[&str]) -> Vec<String> {
        pipeline(text).apply(replies, &[]).unwrap()
    }

    #[test]
    fn self_consistency_as_the_task_file_has_it() {
        let of = |k: usize| {
            format!(
                r#"[{{"function": "take_first_k", "k": {k}}},
                    {{"function": "regex", "regex_pattern": "The answer is (\\-?[0-9\\.\\,]*[0-9]+)"}},
                    {{"function": "majority_vote"}}, {{"function": "take_first"}}]"#
            )
        };
        let replies = ["The answer is 1.", "none", "none", "The answer is 1,0", "The answer is 1"];
        assert_eq!(apply(&of(1), &replies), ["1"]);
        // Two invalid replies outvote the one that is none.
        assert_eq!(apply(&of(3), &replies), [INVALID]);
        // Two and two: the first seen.
        assert_eq!(apply(&of(5), &replies), ["1"]);
        let short = pipeline(&of(9)).apply(&replies, &[]);
        assert!(matches!(short, Err(crate::Error::Setting(_))), "{short:?}");
    }

    #[test]
    fn groups_and_places() {
        let of = |pattern: &str, place: i64| {
            let filter = Filter::Regex {
                regex_pattern: pattern.to_owned(),
                group_select: place,
                fallback: "none".to_owned(),
            };
            let replies = ["a1 b2 c3"];
            Pipeline::new(&[filter]).unwrap().apply(&replies, &[]).unwrap().remove(0)
        };
        assert_eq!(of("[a-z]([0-9])", 1), "2");
        assert_eq!(of("[a-z]([0-9])", -3), "1");
        assert_eq!(of("[a-z]([0-9])", 3), "none");
        assert_eq!(of("[a-z]([0-9])", -4), "none");
        assert_eq!(of("(x)?([0-9] )", 0), "1");
        // A group that took no part is an empty answer, and none of several is the fallback.
        assert_eq!(of("a(x)?", 0), "");
        assert_eq!(of("a(x)?(y)?", 0), "none");
    }

    #[test]
    fn texts_are_changed() {
        assert_eq!(apply(r#"[{"function": "remove_whitespace"}]"#, &[" a\n", "b"]), ["a", "b"]);
        assert_eq!(apply(r#"[{"function": "lowercase"}]"#, &["Äa"]), ["äa"]);
        assert_eq!(apply(r#"[{"function": "uppercase"}]"#, &["ßa"]), ["SSA"]);
        let map = r#"[{"function": "map", "mapping_dict": {"yes": "1"}, "default_value": "0"}]"#;
        assert_eq!(apply(map, &["yes", "Yes"]), ["1", "0"]);
    }

    /// Expected values from lm-eval's own filter.
    #[test]
    fn choices_are_found_by_letter_and_by_text() {
        let filter = r#"[{"function": "multi_choice_regex", "regex_pattern": "(\\([A-Z]\\))",
                          "group_select": 0, "ignore_case": true, "ignore_punctuation": true}]"#;
        let choices = ["Guilty", "Guilty of romance.", "No"].map(str::to_owned);
        for (reply, expected) in [
            ("It is (B), not (A)", "(B)"),
            ("I say: guilty of Romance", "(B)"),
            ("GUILTY!", "(A)"),
            ("Answer: C", "(C)"),
            ("Answer: D", INVALID),
        ] {
            let found = pipeline(filter).apply(&[reply], &choices).unwrap();
            assert_eq!(found, [expected], "{reply}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let filters = [Filter::TakeFirst {}, Filter::Lowercase {}];
        assert!(matches!(Pipeline::new(&filters), Err(crate::Error::Setting(_))));
        let unknown = serde_json::from_str::<Filter>(r#"{"function": "regex_pos"}"#).unwrap_err();
        assert!(unknown.to_string().contains("multi_choice_regex"), "{unknown}");
        let typo = r#"{"function": "regex", "pattern": "a"}"#;
        assert!(serde_json::from_str::<Filter>(typo).unwrap_err().to_string().contains("pattern"));
    }
}
