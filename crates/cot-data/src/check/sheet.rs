//! Questions of the domain families: lines of an opening, labelled items, and a labelled
//! question; and the lines of a chain about them, with what they have in common.

use std::sync::LazyLock;

use num_rational::Ratio;
use regex::Regex;

use super::expression;
use super::label::{ItemLine, items, other_lines};
use super::number::number;
use super::{LineChecks, StepVerdict};
use crate::language::Language;

pub(super) type Number = Ratio<i128>;

/// The label of what is asked for.
const QUESTION: char = 'Q';

pub(super) fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant of its file")
}

static TALLY: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(.+)(?:, |，)(-?[\d.]+)\+([\d.]+)=(-?[\d.]+)$"));

/// A question taken apart.
pub(super) struct Sheet {
    /// The lines without a label.
    pub(super) opening: Vec<String>,
    /// Labels and texts of the items, without the question.
    pub(super) items: Vec<(char, String)>,
    /// What is asked for, without the question mark.
    pub(super) asked: String,
    pub(super) language: Language,
}

/// What a line about an item, or the last line, comes to: whether it holds, and what it
/// concludes. Nothing where its form is unknown.
pub(super) type Judged = Option<(bool, String)>;

impl Sheet {
    /// Takes a question apart; nothing where it is not laid out so.
    pub(super) fn of(question: &str) -> Option<Self> {
        let (asked, items): (Vec<_>, Vec<_>) =
            items(question)?.into_iter().partition(|item| item.label == QUESTION);
        let asked = asked.first()?.text;
        let (asked, language) = match asked.strip_suffix('?') {
            Some(asked) => (asked, Language::En),
            None => (asked.strip_suffix('？')?, Language::Zh),
        };
        Some(Self {
            opening: other_lines(question).map(str::to_owned).collect(),
            items: items.into_iter().map(|item| (item.label, item.text.to_owned())).collect(),
            asked: asked.to_owned(),
            language,
        })
    }

    pub(super) fn opening(&self) -> String {
        self.opening.join("\n")
    }

    /// One of two words: English, Chinese.
    pub(super) fn word<'words>(&self, words: [&'words str; 2]) -> &'words str {
        words[usize::from(self.language == Language::Zh)]
    }

    /// Whether something holds, in a word.
    pub(super) fn yes_no(&self, holds: bool) -> &'static str {
        if holds { self.word(["yes", "是"]) } else { self.word(["no", "否"]) }
    }

    /// A work's parts.
    pub(super) fn parts<'work>(&self, work: &'work str) -> Vec<&'work str> {
        work.split(self.word([", ", "，"])).collect()
    }

    /// Judges a chain: `item` judges the work on the item of an index, `asked` that of the
    /// last line. Both carry a state on, in which a line's claims are taken as given.
    pub(super) fn check<State>(
        &self,
        lines: &[&str],
        mut state: State,
        mut item: impl FnMut(&mut State, usize, &str) -> Option<bool>,
        asked: impl Fn(&State, &str) -> Judged,
    ) -> LineChecks {
        let mut checks = LineChecks::default();
        let mut next = 0;
        for line in lines {
            let held = ItemLine::of(line).and_then(|about| {
                if about.label() == QUESTION {
                    let (held, conclusion) = asked(&state, about.work)?;
                    checks.conclusion = Some(conclusion);
                    let all = next == self.items.len();
                    return Some(held && all && about.is_about(QUESTION, &self.asked));
                }
                let Some((label, text)) = self.items.get(next) else { return Some(false) };
                let held = item(&mut state, next, about.work)?;
                next += 1;
                Some(held && about.is_about(*label, text))
            });
            checks.verdicts.push(match held {
                None => StepVerdict::Unchecked,
                Some(true) => StepVerdict::Ok,
                Some(false) => StepVerdict::Wrong,
            });
        }
        checks
    }
}

/// Judges `fact, before+points=after` and carries the total on.
pub(super) fn tally(total: &mut Number, fact: &str, points: Number, work: &str) -> Option<bool> {
    let found = TALLY.captures(work)?;
    let (before, earned, after) = (number(&found[2])?, number(&found[3])?, number(&found[4])?);
    let held = before == *total && earned == points && after == before + earned;
    *total = after;
    Some(held && fact == &found[1])
}

/// A sum that a line must have: its numbers in order, what they come to, and what that is
/// rounded to.
pub(super) struct Sum {
    pub(super) numbers: Vec<Number>,
    pub(super) value: Number,
    pub(super) rounded: Option<Number>,
}

impl Sum {
    pub(super) fn of(numbers: &[Number], value: Number) -> Self {
        Self { numbers: numbers.to_vec(), value, rounded: None }
    }
}

/// Judges sums against those a line must have; gives whether they hold and what the last
/// comes to. Nothing where one is no sum.
pub(super) fn sums(parts: &[&str], expected: &[Sum]) -> Option<(bool, Number)> {
    let mut held = parts.len() == expected.len();
    let mut reached = None;
    for (index, part) in parts.iter().enumerate() {
        let (equation, rounded) = match part.split_once(" -> ") {
            Some((equation, rounded)) => (equation, Some(number(rounded)?)),
            None => (*part, None),
        };
        let sides: Option<Vec<_>> = equation.split('=').map(expression::parse).collect();
        let sides = sides?;
        let value = sides.last()?.value?;
        held &= sides.iter().all(|side| side.value == Some(value));
        held &= expected.get(index).is_some_and(|sum| {
            sides[0].numbers == sum.numbers && value == sum.value && rounded == sum.rounded
        });
        reached = Some(rounded.unwrap_or(value));
    }
    reached.map(|value| (held, value))
}

/// A number as written; nothing where it is none.
pub(super) fn whole(text: &str) -> Option<Number> {
    number(text)
}

pub(super) fn integer(value: i64) -> Number {
    Ratio::from_integer(i128::from(value))
}

/// A number with a finite decimal expansion, in digits.
pub(super) fn digits(value: Number) -> String {
    let (mut rest, base) = (value.numer().unsigned_abs(), value.denom().unsigned_abs());
    let mut text = format!("{}{}", if *value.numer() < 0 { "-" } else { "" }, rest / base);
    rest %= base;
    if rest > 0 {
        text.push('.');
    }
    // Long division, a digit at a time; a number without an end is cut.
    for _ in 0..12 {
        if rest == 0 {
            break;
        }
        rest *= 10;
        text.push_str(&(rest / base).to_string());
        rest %= base;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_is_carried_on() {
        let mut total = integer(1);
        assert_eq!(tally(&mut total, "3>2 yes", integer(2), "3>2 yes, 1+2=3"), Some(true));
        assert_eq!(tally(&mut total, "有", integer(0), "有，3+0=3"), Some(true));
        for work in ["3>2 yes, 3+2=6", "3>2 yes, 2+2=4", "3>2 yes, 3+1=4", "3>2 no, 3+2=5"] {
            assert_eq!(tally(&mut integer(3), "3>2 yes", integer(2), work), Some(false), "{work}");
        }
        assert_eq!(tally(&mut total, "3>2 yes", integer(2), "3>2, so 2 points"), None);
    }

    #[test]
    fn digits_are_exact() {
        assert_eq!(digits(Ratio::new(378_165, 10_000)), "37.8165");
        assert_eq!(digits(Ratio::new(-1, 20)), "-0.05");
        assert_eq!(digits(integer(60)), "60");
    }
}
