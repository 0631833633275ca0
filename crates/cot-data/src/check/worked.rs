//! Questions each of whose items changes a running value: a line restates the next item and
//! works it out in sums, of which the last gives the value after it.

use std::collections::BTreeSet;

use num_rational::Ratio;
use num_traits::{CheckedAdd, CheckedMul};

use super::expression::{self, Expression};
use super::label::ItemLine;
use super::{LineChecks, Reading, StepVerdict};

/// Outer nothing: no equality chain. Inner nothing: one that does not hold.
pub(super) type Claim<T> = Option<Option<T>>;

/// An exact number.
pub(super) type Number = Ratio<i128>;

/// What an item does: times the factor, then plus the offset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Effect {
    pub(super) factor: Number,
    pub(super) offset: Number,
}

impl Effect {
    pub(super) fn add(offset: Number) -> Self {
        Self { factor: Number::from_integer(1), offset }
    }

    pub(super) fn multiply(factor: Number) -> Self {
        Self { factor, offset: Number::from_integer(0) }
    }

    fn on(self, value: Number) -> Option<Number> {
        value.checked_mul(&self.factor)?.checked_add(&self.offset)
    }
}

/// An item of the question.
pub(super) struct Item {
    pub(super) label: char,
    pub(super) text: String,
    /// The numbers that its line may start from, besides the value so far.
    pub(super) operands: Vec<Number>,
    pub(super) effect: Effect,
}

/// A question of this kind.
pub(super) struct Worked {
    pub(super) start: Number,
    pub(super) items: Vec<Item>,
}

/// A whole number.
pub(super) fn whole(number: i64) -> Number {
    Number::from_integer(i128::from(number))
}

/// Adds a number as it may stand in a sum: whole, or as numerator and denominator.
fn learn(known: &mut BTreeSet<Number>, number: Number) {
    known.insert(number);
    known.insert(Number::from_integer(*number.numer()));
    known.insert(Number::from_integer(*number.denom()));
}

/// Whether an equality chain holds and starts from known numbers, and its result; nothing
/// where it is no chain.
fn equality(text: &str, known: &BTreeSet<Number>) -> Option<(bool, Option<Number>)> {
    let sides: Vec<Expression> = text.split('=').map(expression::parse).collect::<Option<_>>()?;
    let [first, .., last] = sides.as_slice() else { return None };
    let equal = first.value.is_some() && sides.iter().all(|side| side.value == first.value);
    let sourced = first.num_operations > 0 && first.numbers.iter().all(|n| known.contains(n));
    Some((equal && sourced, last.value))
}

/// What an equality chain comes to, which must begin with the given side.
pub(super) fn result(chain: &str, first: &str) -> Claim<i128> {
    let sides: Vec<&str> = chain.split('=').collect();
    let values: Vec<_> = sides.iter().map(|side| expression::parse(side)).collect::<Option<_>>()?;
    let value = values.first()?.value;
    let equal = sides.len() > 1 && sides[0] == first && values.iter().all(|v| v.value == value);
    Some(value.filter(|value| equal && value.is_integer()).map(|value| value.to_integer()))
}

impl Worked {
    /// Whether a line holds for the item that it must be about, and the value that it
    /// claims; nothing where its form is unknown.
    fn line(&self, line: &str, next: usize, value: Number) -> Option<(bool, Option<Number>)> {
        let about = ItemLine::of(line)?;
        let item = self.items.get(next);
        let mut known = BTreeSet::new();
        learn(&mut known, value);
        for operand in item.into_iter().flat_map(|item| &item.operands) {
            learn(&mut known, *operand);
        }
        let (mut held, mut reached) = (true, None);
        for part in about.work.split(", ") {
            let (holds, result) = equality(part, &known)?;
            held &= holds;
            reached = result;
            if let Some(result) = result {
                learn(&mut known, result);
            }
        }
        held &= item.is_some_and(|item| {
            about.is_about(item.label, &item.text)
                && reached.is_some()
                && reached == item.effect.on(value)
        });
        Some((held, reached))
    }
}

impl Reading for Worked {
    fn answer(&self) -> Option<String> {
        let value = self.items.iter().try_fold(self.start, |value, item| item.effect.on(value))?;
        Some(value.to_string())
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        let mut checks = LineChecks::default();
        let (mut next, mut value) = (0, self.start);
        for line in lines {
            let judged = self.line(line, next, value);
            checks.verdicts.push(StepVerdict::of(judged.map(|(holds, _)| holds)));
            let Some((_, reached)) = judged else { continue };
            next += 1;
            if let Some(reached) = reached {
                value = reached;
                checks.conclusion = Some(reached.to_string());
            }
        }
        // A chain that stops early concludes nothing, even where the rest changes nothing.
        if next != self.items.len() {
            checks.conclusion = None;
        }
        checks
    }
}
