//! Equations in free text: where they stand, and whether they hold.

use std::ops::Range;

use num_rational::Ratio;
use num_traits::{CheckedMul, CheckedSub, Signed};

use super::side::{Percent, Side};
use super::token::{Kind, Number, Token, tokens};
use crate::check::number::Rational;

/// An equation or a chain of them, `a = b = c`.
#[derive(Clone, Debug)]
pub(super) struct Equation {
    /// Place in the text, in bytes.
    pub(super) place: Range<usize>,
    /// Its sides, at least two; the first has an operation.
    pub(super) sides: Vec<Side>,
    /// Whether one of its signs says "about".
    pub(super) about: bool,
    /// Whether its last side is in cents.
    cents: bool,
}

/// What an equation comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outcome {
    /// Whether it holds; nothing where rounding or a missing value leaves it open.
    pub(super) holds: Option<bool>,
    /// What stands on the left of the first sign that does not hold, or else of the first.
    pub(super) computed: Option<Rational>,
    /// What is claimed for it.
    pub(super) claimed: Option<Rational>,
}

/// What the first side of an equation must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// An operation: "60 minutes = 1 hour" is no arithmetic.
    Operation,
    /// A number will do.
    Number,
}

/// The equations of a text.
pub(super) fn equations(text: &str, needed: First) -> Vec<Equation> {
    if !text.contains(['=', '≈', '≅', '\\']) {
        return Vec::new();
    }
    let tokens = tokens(text);
    let mut found = Vec::new();
    for clause in tokens.split(|token| token.kind == Kind::Stop) {
        let signs: Vec<usize> = (0..clause.len())
            .filter(|&at| matches!(clause[at].kind, Kind::Equals { .. }))
            .collect();
        if !signs.is_empty() {
            in_clause(text, clause, &signs, needed, &mut found);
        }
    }
    found
}

/// The equations between two stops.
fn in_clause(
    text: &str,
    tokens: &[Token],
    signs: &[usize],
    needed: First,
    found: &mut Vec<Equation>,
) {
    let mut open: Option<Equation> = None;
    let mut start = 0;
    for (index, &sign) in signs.iter().enumerate() {
        if start == sign {
            // Two signs in a row, or one at the start: `== 5`.
            start = sign + 1;
            continue;
        }
        // A side between two signs either goes on with the chain or ends one equation and
        // begins another: "5 + 3 = 8 apples and 8 * 2 = 16".
        let whole = open.is_some().then(|| Side::whole(text, tokens, start, sign)).flatten();
        if let Some((equation, side)) = open.as_mut().zip(whole) {
            equation.take(side, text, tokens);
        } else {
            found.extend(open.take().and_then(|open| open.closed(text, tokens, start, sign)));
            open = Side::suffix(text, tokens, start, sign)
                .filter(|side| needed == First::Number || side.num_operations > 0)
                .map(|side| Equation::begun(side, tokens, start..sign));
        }
        if let Some(equation) = &mut open {
            equation.about |= tokens[signs[index]].kind == Kind::Equals { about: true };
        }
        start = sign + 1;
    }
    found.extend(open.and_then(|open| open.closed(text, tokens, start, tokens.len())));
}

impl Equation {
    /// An equation that begins with the last expression before a sign.
    fn begun(side: Side, tokens: &[Token], range: Range<usize>) -> Self {
        // The first token of a suffix is not kept with it; its first number is.
        let operands = side.operands.len();
        let first = (range.clone().rev())
            .filter(|&at| tokens[at].is_number())
            .nth(operands.saturating_sub(1))
            .unwrap_or(range.start);
        let mut start = first;
        while start > range.start
            && (tokens[start - 1].kind == Kind::Open
                || tokens[start - 1].kind == Kind::Operator('-'))
        {
            start -= 1;
        }
        let place = tokens[start].start..tokens[range.end - 1].end;
        Self { place, sides: vec![side], about: false, cents: false }
    }

    fn take(&mut self, side: Side, text: &str, tokens: &[Token]) {
        if let Some(last) = side.end.checked_sub(1) {
            self.place.end = tokens[last].end;
        }
        let behind = |at: Option<usize>| {
            at.and_then(|at| tokens.get(at)).filter(|token| token.kind == Kind::Word)
        };
        self.cents = [side.end.checked_sub(1), Some(side.end)]
            .into_iter()
            .filter_map(behind)
            .any(|token| text[token.start..token.end].starts_with("cent"));
        self.sides.push(side);
    }

    /// The equation with the expression behind its last sign; nothing where there is none.
    fn closed(mut self, text: &str, tokens: &[Token], start: usize, end: usize) -> Option<Self> {
        let side = Side::prefix(text, tokens, start, end);
        if let Some(side) = side.filter(|side| is_closed(text, &tokens[..end], side.end)) {
            self.take(side, text, tokens);
        }
        (self.sides.len() > 1).then_some(self)
    }

    /// Whether it holds, and what is on its sides.
    pub(super) fn outcome(&self) -> Outcome {
        let mut holds = Some(true);
        for pair in self.sides.windows(2) {
            let (left, right) = (&pair[0], &pair[1]);
            let one = if self.cents && in_cents(left, right) {
                Some(true)
            } else {
                compared(left, right).filter(|holds| *holds || !self.about)
            };
            if one == Some(false) {
                return Outcome { holds: one, computed: left.value, claimed: claim(left, right) };
            }
            holds = holds.and(one);
        }
        let (first, last) = (self.sides.first(), self.sides.last());
        Outcome {
            holds,
            computed: first.and_then(|side| side.value),
            claimed: first.zip(last).and_then(|(first, last)| claim(first, last)),
        }
    }

    /// The last number that it claims, as printed.
    pub(super) fn result(&self) -> Option<Rational> {
        let last = self.sides.last()?;
        last.lone().map_or(last.value, |number| Some(number.value))
    }

    /// The numbers that must come from somewhere: those of the first side, and of a later
    /// one that goes on from what was reached.
    pub(super) fn operands(&self) -> impl Iterator<Item = Number> {
        let first = self.sides[0].operands.iter();
        let later = self.sides.windows(2).filter(|pair| goes_on(&pair[0], &pair[1]));
        first.chain(later.flat_map(|pair| pair[1].operands[1..].iter())).copied()
    }
}

/// Whether nothing that changes the value follows an expression: an operator with
/// something other than a number, a variable, or "and" with a fraction.
fn is_closed(text: &str, tokens: &[Token], end: usize) -> bool {
    let Some(next) = tokens.get(end) else { return true };
    let behind = |ahead: usize| tokens.get(end + ahead).map(|token| token.kind);
    let number_after = matches!(behind(1), Some(Kind::Number(_) | Kind::Open));
    let fraction_after = match (behind(1), behind(2), behind(3)) {
        (Some(Kind::Number(top)), Some(Kind::Operator('/')), Some(Kind::Number(bottom))) => {
            top.value < bottom.value
        }
        (first, ..) => first == Some(Kind::Open),
    };
    match next.kind {
        Kind::Word => {
            let word = &text[next.start..next.end];
            let touches = next.start == tokens[end - 1].end;
            let variable = touches && (word.len() == 1 || word.starts_with(char::is_uppercase));
            let goes_on = (word == "of" && number_after) || (word == "and" && fraction_after);
            !variable && !goes_on
        }
        Kind::Operator(_) | Kind::Number(_) => false,
        _ => true,
    }
}

/// Whether the right side is the left one in cents.
fn in_cents(left: &Side, right: &Side) -> bool {
    let hundred = Ratio::from_integer(100);
    left.value
        .zip(right.lone())
        .is_some_and(|(value, number)| value.checked_mul(&hundred) == Some(number.value))
}

/// What the right side claims, in the reading of percentages that agrees with the left one.
fn claim(left: &Side, right: &Side) -> Option<Rational> {
    match right.lone() {
        Some(number) if number.percent && left.plain.is_none() => {
            let whole = left.value.is_some_and(|value| value.abs() > Ratio::from_integer(1));
            if whole { Some(number.value) } else { right.value }
        }
        _ => right.value,
    }
}

/// Whether an equality holds; nothing where a side has no value or rounding of what was
/// printed before may be why it does not.
fn compared(left: &Side, right: &Side) -> Option<bool> {
    left.value?;
    if agrees(left, right) || goes_on(left, right) {
        return Some(true);
    }
    right.value?;
    let rounded = right.num_operations > 0
        && right.operands.iter().any(|operand| operand.decimals > 0)
        && left.value.zip(right.value).is_some_and(|(a, b)| near(a, b));
    // "2 hours = 120 minutes", "1/2 a cup = 4 ounces", "1/3 of $150": another unit.
    let converted = left.units && (left.lone().is_some() || is_fraction(left));
    (!rounded && !converted && !right.part).then_some(false)
}

/// Whether a side is a fraction below 1.
fn is_fraction(side: &Side) -> bool {
    let below = side.value.is_some_and(|value| value < Ratio::from_integer(1));
    below && side.num_operations == 1 && matches!(side.operands[..], [a, b] if a.value < b.value)
}

/// Whether two numbers are within two in a hundred.
fn near(a: Rational, b: Rational) -> bool {
    let most = a.abs().max(b.abs()) / Ratio::from_integer(50);
    a.checked_sub(&b).is_some_and(|difference| difference.abs() <= most)
}

/// Whether a side goes on from the number that the one before it came to, as people
/// write: `5 * 3 = 15 - 2 = 13`.
fn goes_on(left: &Side, right: &Side) -> bool {
    right.num_operations > 0
        && !agrees(left, right)
        && right.operands.first().is_some_and(|first| {
            left.values().any(|(value, _)| within_print(value, first, Percent::Plain))
        })
}

/// Whether two sides have one value in some reading of their percentages, up to half a
/// unit in the last printed place of a lone number on the right.
fn agrees(left: &Side, right: &Side) -> bool {
    left.values().any(|(value, _)| match right.lone() {
        Some(number) => {
            within_print(value, &number, Percent::Plain)
                || (number.percent && within_print(value, &number, Percent::Hundredths))
        }
        None => right.values().any(|(other, _)| other == value),
    })
}

/// Whether a value is printed as a number.
fn within_print(value: Rational, number: &Number, percent: Percent) -> bool {
    let scale = match percent {
        Percent::Hundredths => Ratio::from_integer(100),
        Percent::Plain => Ratio::from_integer(1),
    };
    let unit = Ratio::new(1, 10_i128.pow(number.decimals)) / scale;
    let most = if number.cut { unit } else { unit / Ratio::from_integer(2) };
    value.checked_sub(&(number.value / scale)).is_some_and(|difference| difference.abs() <= most)
}
