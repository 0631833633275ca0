//! Arithmetic: equality chains, where operands come from, and a second solver that keeps
//! what each person holds.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use num_rational::Ratio;
use regex::Regex;

use super::answer::number;
use super::expression::{self, Expression};
use super::{LineChecks, StepVerdict};

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant of this file")
}

static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d+(?:,\d{3})*(?:\.\d+)?"));
static PROGRAM_START: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:Start with|Take|From left to right:) (\d+)"));
static PROGRAM_STEP: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b(add|plus|subtract|minus|multiply by|times) (\d+)"));
static TIMES_AS_MANY: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(\w+) has (\d+) times as many(?: \w+)? as (\w+)$"));
static HOLDS: LazyLock<Regex> = LazyLock::new(|| pattern(r"(\w+) (?:has|starts with) (\d+) \w+$"));
static GIVES_THEM: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(\w+) gives (\w+) (\d+) (?:more|boxes with (\d+) in each)$"));
static MOVES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(\w+) (buys|finds|gets|sells|loses|gives) (\d+)",
        r"(?: (?:bags of|boxes with) (\d+))?(?: in each)?(?: more| [a-z]+)??",
        r"(?: (to|from) (\w+))?$",
    ))
});
static ASKED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"How many(?: \w+)? does (\w+) have(?: now| at the end)?$"));

/// A question about numbers.
pub(super) struct Reading {
    /// The numbers in the question.
    given: BTreeSet<Ratio<i128>>,
    answer: Option<i64>,
}

impl Reading {
    pub(super) fn of(question: &str) -> Self {
        let given = NUMBER.find_iter(question).filter_map(|found| number(found.as_str())).collect();
        Self { given, answer: program(question).or_else(|| story(question)) }
    }

    pub(super) fn answer(&self) -> Option<String> {
        self.answer.map(|answer| answer.to_string())
    }

    /// Every side of an equality chain must have one value, and the first side's
    /// operands must be in the question or be an earlier line's result. In a question
    /// that the second solver cannot read, an operand from elsewhere (a week's 7 days)
    /// leaves the line unchecked.
    pub(super) fn check(&self, lines: &[&str]) -> LineChecks {
        let mut known = self.given.clone();
        let mut checks = LineChecks::default();
        for line in lines {
            let sides: Option<Vec<Expression>> = line.split('=').map(expression::parse).collect();
            let Some([first, .., last]) = sides.as_deref() else {
                checks.verdicts.push(StepVerdict::Unchecked);
                continue;
            };
            let equal = sides.iter().flatten().all(|side| side.value == first.value);
            let sourced = first.numbers.iter().all(|operand| known.contains(operand));
            checks.verdicts.push(if first.value.is_none() || !equal {
                StepVerdict::Wrong
            } else if first.num_operations == 0 {
                StepVerdict::Unchecked
            } else if sourced {
                StepVerdict::Ok
            } else if self.answer.is_some() {
                StepVerdict::Wrong
            } else {
                StepVerdict::Unchecked
            });
            if let Some(result) = last.value {
                known.insert(result);
                checks.conclusion = Some(result.to_string());
            }
        }
        checks
    }
}

/// Runs a question of the form "start with a number, then …".
fn program(question: &str) -> Option<i64> {
    let mut value: i64 = PROGRAM_START.captures(question)?[1].parse().ok()?;
    for step in PROGRAM_STEP.captures_iter(question) {
        let number: i64 = step[2].parse().ok()?;
        value = match step[1].to_lowercase().as_str() {
            "add" | "plus" => value.checked_add(number)?,
            "subtract" | "minus" => value.checked_sub(number)?,
            _ => value.checked_mul(number)?,
        };
    }
    Some(value)
}

/// Plays a story sentence by sentence; nothing where one is not understood.
fn story(question: &str) -> Option<i64> {
    let mut held: HashMap<&str, i64> = HashMap::new();
    for sentence in question.split_inclusive(['.', '?']) {
        let sentence = sentence.trim().trim_end_matches(['.', '?']);
        if let Some(found) = ASKED.captures(sentence) {
            return held.get(found.get(1)?.as_str()).copied();
        }
        if let Some(found) = TIMES_AS_MANY.captures(sentence) {
            let held_by_other = *held.get(found.get(3)?.as_str())?;
            let total = held_by_other.checked_mul(found[2].parse().ok()?)?;
            held.insert(found.get(1)?.as_str(), total);
        } else if let Some(found) = HOLDS.captures(sentence) {
            held.insert(found.get(1)?.as_str(), found[2].parse().ok()?);
        } else if let Some(found) = GIVES_THEM.captures(sentence) {
            let each: i64 = found.get(4).map_or(Some(1), |size| size.as_str().parse().ok())?;
            let amount = each.checked_mul(found[3].parse().ok()?)?;
            shift(&mut held, found.get(1)?.as_str(), -amount);
            shift(&mut held, found.get(2)?.as_str(), amount);
        } else {
            let found = MOVES.captures(sentence)?;
            let each: i64 = found.get(4).map_or(Some(1), |size| size.as_str().parse().ok())?;
            let amount = each.checked_mul(found[3].parse().ok()?)?;
            let gain = matches!(&found[2], "buys" | "finds" | "gets");
            let signed = if gain { amount } else { -amount };
            shift(&mut held, found.get(1)?.as_str(), signed);
            if let Some(other) = found.get(6) {
                shift(&mut held, other.as_str(), -signed);
            }
        }
    }
    None
}

/// Changes what a person holds; of a person whose holding was never told, nothing is
/// known after either.
fn shift<'text>(held: &mut HashMap<&'text str, i64>, person: &'text str, amount: i64) {
    if let Some(value) = held.get_mut(person) {
        *value = value.saturating_add(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepVerdict::{Ok, Unchecked, Wrong};

    fn verdicts(question: &str, lines: &[&str]) -> Vec<StepVerdict> {
        Reading::of(question).check(lines).verdicts
    }

    #[test]
    fn stories_are_played_by_person() {
        for (question, answer) in [
            ("Ann has 5 eggs. Ann gives 2 to Bob. How many eggs does Ann have now?", Some(3)),
            ("Ann starts with 5 eggs. Bob gets 2 from Ann. How many does Ann have now?", Some(3)),
            ("Ann has 5 eggs. Then Bob gives Ann 3 more. How many does Ann have now?", Some(8)),
            (
                "Ann has 5 eggs. Ann gives Bob 2 boxes with 2 in each. How many eggs does Ann have at the end?",
                Some(1),
            ),
            ("Ann has 5 eggs. Ann finds 2 bags of 3 eggs. How many does Ann have now?", Some(11)),
            (
                "Ann has 5 eggs. Bob has 4 times as many as Ann. How many does Bob have now?",
                Some(20),
            ),
            ("Ann has 5 eggs. Ann eats some. How many does Ann have now?", None),
            ("Ann has 5 eggs. How many does Bob have now?", None),
        ] {
            assert_eq!(Reading::of(question).answer, answer, "{question}");
        }
    }

    #[test]
    fn a_line_must_be_true_and_its_operands_known() {
        let question = "Start with 58. Add 67. Subtract 20. What is the result?";
        assert_eq!(verdicts(question, &["58+67=58+60+7=118+7=125", "125 - 20 = 105"]), [Ok, Ok]);
        assert_eq!(verdicts(question, &["58+67=58+60+7=118+7=126"]), [Wrong]);
        assert_eq!(verdicts(question, &["58+67=58+60+8=118+7=125"]), [Wrong]);
        assert_eq!(verdicts(question, &["50+75=125"]), [Wrong], "operands from nowhere");
        assert_eq!(verdicts(question, &["125-20=105"]), [Wrong], "a result not yet reached");
        assert_eq!(verdicts(question, &["58/0=58/0"]), [Wrong]);
        assert_eq!(verdicts(question, &["So we add.", "58=58", "58+67"]), [Unchecked; 3]);
    }

    #[test]
    fn one_slip_counts_once() {
        let question = "Start with 58. Add 67. Subtract 20. What is the result?";
        assert_eq!(verdicts(question, &["58+67=135", "135-20=115"]), [Wrong, Ok]);
    }

    #[test]
    fn a_constant_in_an_unread_question_leaves_the_line_open() {
        let question = "Ann works 3 hours a day. How many hours is that in a week?";
        assert_eq!(verdicts(question, &["3*7=21"]), [Unchecked]);
        assert_eq!(verdicts(question, &["3*7=22"]), [Wrong]);
    }
}
