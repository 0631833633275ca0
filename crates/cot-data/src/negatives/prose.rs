//! Mistakes in chains in prose: the result of one equation is changed, and with it every
//! later mention and every later result.

use std::ops::Range;

use num_rational::Ratio;

use super::slip::{Sum, transposed};
use super::{Mistake, WrongChain, places};
use crate::check::{Rational, StepFinding, StepVerdict, find_equations};
use crate::generate::arithmetic::Operator;
use crate::record::CotRecord;
use crate::rng::CounterRng;

/// More results than this are not worked out again.
const MOST_CHANGES: usize = 32;

/// The record's chain with a mistake.
pub(super) fn wrong(
    record: &CotRecord,
    mistake: Mistake,
    rng: &mut CounterRng,
) -> Option<WrongChain> {
    let steps = &record.thought_process;
    let findings = find_equations(&record.question, steps);
    match mistake {
        Mistake::WrongCopy => {
            let answer = whole(number(&record.answer)?)?;
            let copied = transposed(answer, rng).unwrap_or(answer + 1);
            let first = steps.len().checked_sub(1)?;
            Some(WrongChain { steps: steps.clone(), answer: copied.to_string(), first })
        }
        Mistake::EarlyStop => {
            let kept = findings.last()?.step;
            let reached = findings.iter().rev().find(|finding| finding.step < kept)?;
            let answer = shown(reached.found?, false)?;
            let steps = steps[..kept].to_vec();
            Some(WrongChain { answer, first: steps.len() - 1, steps })
        }
        _ => places(findings.len(), rng).into_iter().find_map(|at| {
            let finding = &findings[at];
            // An annotation's operator cannot be exchanged without the sentence's before it.
            let apart = mistake == Mistake::OperatorSwap && finding.annotation;
            let held = finding.verdict == StepVerdict::Ok && finding.expected == finding.found;
            let held = held && !apart;
            let mut edit = held.then(|| Edit::of(record, finding)).flatten()?;
            edit.slip(finding, mistake, rng)?;
            edit.carry_on(&record.question)?;
            let answer = edit.answer(number(&record.answer)?)?;
            Some(WrongChain { steps: edit.steps, answer, first: finding.step })
        }),
    }
}

/// A chain in which results are being changed.
struct Edit {
    steps: Vec<String>,
    /// Step and byte behind the equation with the mistake.
    behind: (usize, usize),
    /// The numbers of the question, of which no mention may change.
    given: Vec<Rational>,
    /// Results and what they became, in order.
    changes: Vec<(Rational, Rational)>,
}

impl Edit {
    fn of(record: &CotRecord, finding: &StepFinding) -> Option<Self> {
        let given = numbers(&record.question).into_iter().map(|(_, value)| value).collect();
        let steps = record.thought_process.clone();
        let sign = steps[finding.step][finding.place.start..].find('=')? + finding.place.start;
        Some(Self { behind: (finding.step, sign), steps, given, changes: Vec::new() })
    }

    /// Makes the mistake in an equation.
    fn slip(
        &mut self,
        finding: &StepFinding,
        mistake: Mistake,
        rng: &mut CounterRng,
    ) -> Option<()> {
        let value = whole(finding.found?)?;
        let (step, sign) = self.behind;
        let left = finding.place.start..sign;
        let made = match mistake {
            Mistake::OffByOne if value > 0 => value + if rng.chance(1, 2) { 1 } else { -1 },
            Mistake::DigitTransposition => transposed(value, rng)?,
            Mistake::OperatorSwap | Mistake::DroppedCarry | Mistake::Sign => {
                let (sum, at) = sum(&self.steps[step][left.clone()])?;
                let made = sum.slip(mistake, rng).filter(|made| made.value >= 0)?;
                if mistake == Mistake::OperatorSwap {
                    self.exchange(
                        step,
                        left.start + at,
                        crate::generate::arithmetic::symbol(made.operator),
                    )?;
                }
                made.value
            }
            _ => return None,
        };
        let change = (finding.found?, Ratio::from_integer(i128::from(made)));
        self.change(change, self.behind)
    }

    /// Writes another operator, in the equation and in the annotation that repeats it.
    fn exchange(&mut self, step: usize, at: usize, sign: char) -> Option<()> {
        let text = &mut self.steps[step];
        let old = text[at..].chars().next()?;
        text.replace_range(at..at + old.len_utf8(), sign.encode_utf8(&mut [0; 4]));
        let behind = at + sign.len_utf8();
        self.behind.1 = behind + text[behind..].find('=')?;
        let rest = &text[self.behind.1..];
        if let Some(inside) = rest.trim_start_matches(['=', ' ', '$']).strip_prefix("<<") {
            let start = text.len() - inside.len();
            let end = start + inside.find('=')?;
            let (_, at) = sum(&text[start..end])?;
            let old = text[start + at..].chars().next()?;
            let place = start + at..start + at + old.len_utf8();
            text.replace_range(place, sign.encode_utf8(&mut [0; 4]));
        }
        Some(())
    }

    /// Changes every mention of a number behind a place; nothing where the number is also
    /// another's, so that not every mention is of it.
    fn change(&mut self, (old, new): (Rational, Rational), behind: (usize, usize)) -> Option<()> {
        let mentions = |text: &str, value| numbers(text).iter().any(|(_, other)| *other == value);
        let before = self.steps[..behind.0].iter().any(|step| mentions(step, old))
            || mentions(&self.steps[behind.0][..behind.1], old);
        if before || old == new || self.given.contains(&old) || self.changes.len() == MOST_CHANGES {
            return None;
        }
        for step in behind.0..self.steps.len() {
            let from = if step == behind.0 { behind.1 } else { 0 };
            let text = &self.steps[step];
            for (place, value) in numbers(text).into_iter().rev() {
                if place.start >= from && value == old {
                    let commas = self.steps[step][place.clone()].contains(',');
                    self.steps[step].replace_range(place, &shown(new, commas)?);
                }
            }
        }
        self.changes.push((old, new));
        Some(())
    }

    /// Works out the later results again.
    fn carry_on(&mut self, question: &str) -> Option<()> {
        loop {
            let findings = find_equations(question, &self.steps);
            let later = |finding: &&StepFinding| {
                finding.verdict == StepVerdict::Wrong && finding.step > self.behind.0
            };
            // A second equation in the step of the mistake is not told from its annotation.
            let Some(finding) = findings.iter().find(later) else { return Some(()) };
            let text = &self.steps[finding.step];
            let sign = text[finding.place.start..].find('=')? + finding.place.start;
            let change =
                (finding.found?, finding.expected.filter(|new| *new >= Ratio::from_integer(0))?);
            self.change(change, (finding.step, sign))?;
        }
    }

    /// What became of the answer; nothing where nothing did.
    fn answer(&self, right: Rational) -> Option<String> {
        let (_, new) = self.changes.iter().find(|(old, _)| *old == right)?;
        let mut last = *new;
        while let Some((_, new)) = self
            .changes
            .iter()
            .skip_while(|(_, to)| *to != last)
            .skip(1)
            .find(|(old, _)| *old == last)
        {
            last = *new;
        }
        shown(last, false)
    }
}

/// A sum of two whole numbers, with the place of its operator.
fn sum(text: &str) -> Option<(Sum, usize)> {
    let [(first, a), (second, b)] = <[_; 2]>::try_from(numbers(text)).ok()?;
    let between = &text[first.end..second.start];
    let at = between.find(['+', '-', '*', 'x', '×', '–'])?;
    let sign = between[at..].chars().next()?;
    let operator = match sign {
        '+' => Operator::Add,
        '-' | '–' => Operator::Subtract,
        _ => Operator::Multiply,
    };
    // Between the two there may be units, but no second operator.
    let rest = &between[at + sign.len_utf8()..];
    let others =
        rest.contains(['+', '-', '*', '/', '(', ')', '%']) || text.contains(['/', '÷', '%']);
    (!others).then_some((Sum::right(operator, whole(a)?, whole(b)?), first.end + at))
}

/// The numbers of a text and their places.
fn numbers(text: &str) -> Vec<(Range<usize>, Rational)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(start) = text[at..].find(|next: char| next.is_ascii_digit()).map(|to| at + to) {
        let part = |next: char| !(next.is_ascii_digit() || matches!(next, '.' | ','));
        let length = text[start..].find(part).unwrap_or(text.len() - start);
        let digits = text[start..start + length].trim_end_matches(['.', ',']);
        // `.5` begins at its point.
        let start = if text[..start].ends_with('.') { start - 1 } else { start };
        at = start.max(at) + digits.len() + usize::from(text[start..].starts_with('.'));
        if let Some(value) = number(&text[start..at]) {
            found.push((start..at, value));
        }
    }
    found
}

fn number(text: &str) -> Option<Rational> {
    let text = text.trim().trim_start_matches('$');
    let plain: String = text.chars().filter(|next| *next != ',').collect();
    let (whole, decimals) = plain.split_once('.').unwrap_or((&plain, ""));
    if whole.len() + decimals.len() > 12 || plain.is_empty() {
        return None;
    }
    let value: i128 = format!("{whole}{decimals}").parse().ok()?;
    Some(Ratio::new(value, 10_i128.pow(decimals.len() as u32)))
}

fn whole(value: Rational) -> Option<i64> {
    value.is_integer().then(|| i64::try_from(value.to_integer()).ok()).flatten()
}

/// A number in print, with two places at most; nothing where it needs more.
fn shown(value: Rational, commas: bool) -> Option<String> {
    if let Some(value) = whole(value) {
        let digits = value.to_string();
        if !commas || value < 1000 {
            return Some(digits);
        }
        let groups: Vec<&str> = digits
            .as_bytes()
            .rchunks(3)
            .rev()
            .filter_map(|group| std::str::from_utf8(group).ok())
            .collect();
        return Some(groups.join(","));
    }
    let hundredths = whole(value * Ratio::from_integer(100)).filter(|&value| value >= 0)?;
    Some(format!("{}.{:02}", hundredths / 100, hundredths % 100))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::check_chain;
    use crate::label::Label;
    use crate::negatives::{corrected_record, wrong_record};

    fn record() -> CotRecord {
        let steps = [
            "Ann picks 16 - 3 = <<16-3=13>>13 eggs.",
            "She sells them for 13 * 2 = $<<13*2=26>>26 in all.",
            "With her savings she has $26 + $1,200 = $<<26+1200=1226>>1,226.",
        ];
        CotRecord {
            id: "a".to_owned(),
            question: "Ann has 16 eggs, eats 3, sells the rest for $2 each and has saved $1,200. \
                       What has she then?"
                .to_owned(),
            thought_process: steps.map(str::to_owned).to_vec(),
            answer: "1226".to_owned(),
            domain: "math".to_owned(),
            difficulty: 1,
            ..CotRecord::default()
        }
    }

    #[test]
    fn a_changed_result_is_carried_on() {
        let record = record();
        let made = (0..50).filter_map(|seed| wrong_record(&record, Mistake::OffByOne, seed));
        let mut firsts = std::collections::BTreeSet::new();
        for wrong in made {
            let Label::Wrong { first_wrong_step, .. } = wrong.label else { panic!("{wrong:?}") };
            let check = check_chain(&wrong.question, &wrong.thought_process, &wrong.answer);
            assert_eq!(check.first_wrong_step(), Some(first_wrong_step), "{wrong:?}");
            let wrongs = check.steps.iter().filter(|step| **step == StepVerdict::Wrong).count();
            assert_eq!(wrongs, 1, "the rest follows: {wrong:?}");
            assert!(check.consistent, "{wrong:?}");
            assert_ne!(wrong.answer, record.answer);
            firsts.insert(first_wrong_step);
        }
        assert_eq!(firsts.len(), 3);
    }

    #[test]
    fn another_operator_is_exchanged_in_both_places() {
        let record = record();
        let made: Vec<CotRecord> =
            (0..50).filter_map(|seed| wrong_record(&record, Mistake::OperatorSwap, seed)).collect();
        let first =
            |wrong: &&CotRecord| wrong.thought_process[0].contains("16 + 3 = <<16+3=19>>19");
        let wrong = made.iter().find(first).expect("an addition");
        assert_eq!(wrong.thought_process[1], "She sells them for 19 * 2 = $<<19*2=38>>38 in all.");
        assert_eq!(wrong.answer, "1238");
        assert!(corrected_record(&record, Mistake::EarlyStop, 1).is_some());
        assert_eq!(wrong_record(&record, Mistake::EarlyStop, 1).unwrap().answer, "26");
        assert_eq!(wrong_record(&record, Mistake::LeftRight, 1), None);
    }

    #[test]
    fn numbers_have_their_places() {
        let text = "1,200 for .5 of 3.25, 7.";
        let found: Vec<&str> = numbers(text).into_iter().map(|(place, _)| &text[place]).collect();
        assert_eq!(found, ["1,200", ".5", "3.25", "7"]);
        assert_eq!(shown(Ratio::from_integer(1_234_567), true).as_deref(), Some("1,234,567"));
        assert_eq!(shown(Ratio::new(1, 4), false).as_deref(), Some("0.25"));
        assert_eq!(shown(Ratio::new(1, 3), false), None);
    }
}
