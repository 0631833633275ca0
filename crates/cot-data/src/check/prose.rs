//! Chains in free text: each equation in a step, `<<a+b=c>>` or bare, is computed again
//! with exact rationals, and each of its operands must come from somewhere.
//!
//! What is found speaks for the arithmetic alone. Whether an equation is the right one to
//! set up, no text says; an operand from nowhere is the one trace of that which can be seen.

mod equation;
mod side;
mod source;
mod token;

use std::ops::Range;

use equation::{Equation, First, Outcome, equations};
use source::Sources;
use token::Number;

use super::answer::{AnswerMark, extract_answer};
use super::number::Rational;
use super::{LineChecks, StepVerdict};

/// An equation that was found in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFinding {
    /// Index of the step.
    pub step: usize,
    /// Place of the equation in the step, in bytes.
    pub place: Range<usize>,
    /// Whether it is an annotation, `<<…>>`; its marks are not part of the place.
    pub annotation: bool,
    /// What is to be thought of it.
    pub verdict: StepVerdict,
    /// What its left side comes to, where it has a value.
    pub expected: Option<Rational>,
    /// What is claimed for that.
    pub found: Option<Rational>,
    /// The operands that are neither in the question nor an earlier result nor a constant.
    pub unsourced: Vec<Rational>,
}

impl StepFinding {
    /// The equation as it is written.
    pub fn equation<'text>(&self, step: &'text str) -> &'text str {
        step.get(self.place.clone()).unwrap_or_default()
    }
}

/// The equations in the steps of a chain, in order. An equation is `Wrong` where it does
/// not hold, and `Unchecked` where an operand is from nowhere, or where rounding or a
/// missing value leave it open.
pub fn find_equations(question: &str, steps: &[impl AsRef<str>]) -> Vec<StepFinding> {
    let mut sources = Sources::of(question);
    let mut findings = Vec::new();
    for (step, text) in steps.iter().enumerate() {
        in_step(step, text.as_ref(), &mut sources, &mut findings, &mut None);
    }
    findings
}

/// The verdict on each line: `Wrong` where one of its equations is, else `Unchecked` where
/// one of them is or there is none.
pub(super) fn check(question: &str, lines: &[&str]) -> LineChecks {
    let mut sources = Sources::of(question);
    let mut checks = LineChecks::default();
    let mut findings = Vec::new();
    let mut last = None;
    for (step, text) in lines.iter().enumerate() {
        findings.clear();
        in_step(step, text, &mut sources, &mut findings, &mut last);
        let any = |wanted| findings.iter().any(|finding| finding.verdict == wanted);
        checks.verdicts.push(if any(StepVerdict::Wrong) {
            StepVerdict::Wrong
        } else if findings.is_empty() || any(StepVerdict::Unchecked) {
            StepVerdict::Unchecked
        } else {
            StepVerdict::Ok
        });
    }
    let marked = (lines.last())
        .and_then(|line| extract_answer(line))
        .filter(|answer| answer.mark != AnswerMark::LastNumber);
    checks.conclusion = match marked {
        Some(answer) => Some(answer.text.to_owned()),
        None => last.map(|value| value.to_string()),
    };
    checks.prose = true;
    checks
}

/// The equations of one step, and what they add to the numbers that are known.
fn in_step(
    step: usize,
    text: &str,
    sources: &mut Sources,
    findings: &mut Vec<StepFinding>,
    last: &mut Option<Rational>,
) {
    let (bare, annotations) = without_annotations(text);
    let mut found: Vec<(Equation, bool)> =
        equations(&bare, First::Operation).into_iter().map(|equation| (equation, false)).collect();
    for place in annotations {
        for mut equation in equations(&text[place.clone()], First::Number) {
            equation.place = equation.place.start + place.start..equation.place.end + place.start;
            found.push((equation, true));
        }
    }
    found.sort_by_key(|(equation, _)| equation.place.start);
    for (equation, annotation) in found {
        let Outcome { holds, computed, claimed } = equation.outcome();
        let unsourced: Vec<Rational> = equation
            .operands()
            .filter(|operand| !sources.hold(operand))
            .map(|operand| operand.value)
            .collect();
        let verdict = match holds {
            Some(false) => StepVerdict::Wrong,
            Some(true) if unsourced.is_empty() => StepVerdict::Ok,
            _ => StepVerdict::Unchecked,
        };
        for side in &equation.sides {
            if let Some(Number { value, .. }) = side.lone() {
                sources.add(value);
            }
            side.values().for_each(|(value, _)| sources.add(value));
        }
        *last = equation.result().or(*last);
        let place = equation.place;
        findings.push(StepFinding {
            step,
            place,
            annotation,
            verdict,
            expected: computed,
            found: claimed,
            unsourced,
        });
    }
}

/// The text with a space for each byte of its annotations, and where they stand.
fn without_annotations(text: &str) -> (std::borrow::Cow<'_, str>, Vec<Range<usize>>) {
    let mut places = Vec::new();
    let mut from = 0;
    while let Some(open) = text[from..].find("<<").map(|at| from + at) {
        let Some(close) = text[open..].find(">>").map(|at| open + at) else { break };
        places.push(open + 2..close);
        from = close + 2;
    }
    if places.is_empty() {
        return (text.into(), places);
    }
    let mut bare = String::with_capacity(text.len());
    for place in &places {
        bare.push_str(&text[bare.len()..place.start - 2]);
        bare.extend(std::iter::repeat_n(' ', place.end + 2 - bare.len()));
    }
    bare.push_str(&text[bare.len()..]);
    (bare.into(), places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::check_chain;
    use StepVerdict::{Ok, Unchecked, Wrong};

    const QUESTION: &str = "Ann works 5 hours a day for $12 an hour and saves 20% of it. Her rent \
                            is $1,200, half of Bob's. How many days does she work for it?";

    fn verdicts(steps: &[&str]) -> Vec<StepVerdict> {
        check(QUESTION, steps).verdicts
    }

    #[test]
    fn steps_are_judged_by_their_equations() {
        for (step, verdict) in [
            ("She earns 5 hours * $12/hour = $60 a day.", Ok),
            ("She earns 5 * 12 = $<<5*12=60>>60 a day.", Ok),
            ("She earns 5 * 12 = $<<5*12=70>>70 a day.", Wrong),
            ("She earns 5 x 12 = $65 a day.", Wrong),
            ("She saves 20% of 60 = $12.", Ok),
            ("She saves 12 * 20% = 2.4 or 12*.2=2.40.", Ok),
            ("She keeps 100% - 20% = 80%.", Ok),
            ("She keeps 100 - 20 = 80%, so 12 * .8 = 9.6.", Ok),
            ("Bob pays 1200 * 2 = 2,400 and 2400 / 12 = 200 a month.", Ok),
            ("Bob pays 1200 * 2 = 2400 / 12 = 200 a month.", Ok),
            ("That is 1200/7 = 171.43.", Ok),
            ("That is 1200/7 = 171.42.", Wrong),
            ("That is 1200/7 = 171.42...", Ok),
            ("That is 1200/7 ≈ 170.", Unchecked),
            ("She needs 1200 / 60 = 20 days.", Ok),
            ("She needs 1200 - 37 = 1163.", Unchecked),
            ("5 * $12 = 6000 cents", Ok),
            ("She earns $60 a day.", Unchecked),
            ("5 / 0 = 0", Unchecked),
            ("", Unchecked),
        ] {
            assert_eq!(verdicts(&[step]), [verdict], "{step}");
        }
    }

    #[test]
    fn algebra_and_times_of_day_are_left_alone() {
        for step in [
            "2x + 5 = 12",
            "x = 12 - 5",
            "3 * 12 = 36 + x",
            "12 / 5 = 24/Y",
            "6:00 + 2 = 8:00",
            "5 hours = 300 minutes",
            "12 + y - 5 * 2 = 12",
            "2 * 5^2 = 50",
            "17/5 = 3 and 2/5",
            "5 * 12 = 18 000",
            "1/2 a cup = 4 ounces",
        ] {
            assert_eq!(verdicts(&[step]), [Unchecked], "{step}");
        }
    }

    #[test]
    fn a_finding_says_what_is_wrong_and_where() {
        let steps = ["She earns $60.", "So: 60 * 20 = <<60*20=1,300>>1,300."];
        let findings = find_equations(QUESTION, &steps);
        let wrong = |finding: &&StepFinding| finding.verdict == Wrong;
        let found: Vec<&StepFinding> = findings.iter().filter(wrong).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].equation(steps[1]), "60 * 20 = <<60*20=1,300>>1,300");
        assert_eq!(found[1].equation(steps[1]), "60*20=1,300");
        assert!(found[1].annotation && !found[0].annotation);
        assert_eq!((found[0].expected, found[0].found), (Some(1200.into()), Some(1300.into())));
        let nowhere = find_equations(QUESTION, &["37 + 5 = 42", "42 + 5 = 47"]);
        assert_eq!(nowhere[0].unsourced, [37.into()]);
        assert_eq!(nowhere[1].verdict, Ok, "42 is an earlier result");
    }

    #[test]
    fn a_chain_concludes_its_marked_answer_or_else_its_last_result() {
        for (steps, answer, consistent) in [
            (["5 * 12 = $60", "60 * 2 = 120"], "$120", true),
            (["5 * 12 = $60", "That is enough."], "60 dollars", true),
            (["5 * 12 = $60", "The answer is 61."], "60", false),
            (["5 * 12 = $60", "#### 61"], "61", true),
            (["5 * 12 = $60", "60 / 8 = 7.5"], "7 1/2", true),
            (["5 * 12 = $60", "60 / 8 = 7.5"], "75", false),
            (["She earns $60", "That is 60."], "60", false),
        ] {
            let steps = steps.map(str::to_owned);
            assert_eq!(check_chain(QUESTION, &steps, answer).consistent, consistent, "{steps:?}");
        }
    }

    #[test]
    fn no_text_is_too_odd() {
        for text in [
            "=",
            "==",
            "= 5",
            "5 =",
            "<<",
            "<<5*2=10",
            ">>5<<",
            "<<>>",
            "é = 5 × ½ =",
            "- = -",
            "((((((((((((((((((((1=1",
            "5 + = 5",
            "10% = %",
            "\\ = \\frac",
            "1e9 = 2",
            "2 * 3 = = 6",
        ] {
            let _ = verdicts(&[text]);
        }
    }
}
