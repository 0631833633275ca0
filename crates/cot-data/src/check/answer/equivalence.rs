//! Whether two answers mean the same.

use num_rational::Ratio;
use num_traits::CheckedMul;

use super::value::{Quantity, Value, value};

/// What comes of comparing two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Equivalence {
    /// They mean the same.
    Equal,
    /// They do not.
    Different,
    /// One of them has no form that can be compared.
    Unparseable,
}

impl Equivalence {
    fn of(equal: bool) -> Self {
        if equal { Self::Equal } else { Self::Different }
    }
}

/// Compares two answers: numbers as exact rationals, a percentage with the share or the
/// bare number it stands for; units where both give one; points, intervals and sets part by
/// part; the letter of a choice with or without parentheses; single words without regard to
/// case. A longer text equals only itself. There is no credit for an answer that merely
/// contains the right one.
///
/// As a percent sign may be left out, the relation is not transitive: `50%` equals both
/// `0.5` and `50`.
pub fn equivalence(left: &str, right: &str) -> Equivalence {
    match (value(left), value(right)) {
        (Some(left), Some(right)) => compared(&left, &right),
        _ => Equivalence::Unparseable,
    }
}

fn compared(left: &Value, right: &Value) -> Equivalence {
    if left == right {
        return Equivalence::Equal;
    }
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => quantities(left, right),
        (Value::Tuple(left), Value::Tuple(right)) => all(left, right),
        (Value::Interval(a, left, b), Value::Interval(c, right, d)) => {
            if (a, b) == (c, d) {
                all(&left[..], &right[..])
            } else {
                Equivalence::Different
            }
        }
        (Value::Set(left), Value::Set(right)) => sets(left, right),
        // `B` may be a name; `b` is one.
        (Value::Choice(letter), Value::Word(word)) | (Value::Word(word), Value::Choice(letter)) => {
            Equivalence::of(word.eq_ignore_ascii_case(letter.encode_utf8(&mut [0; 4])))
        }
        (Value::Text(_), _) | (_, Value::Text(_)) => Equivalence::Unparseable,
        _ => Equivalence::Different,
    }
}

fn quantities(left: &Quantity, right: &Quantity) -> Equivalence {
    if !left.unit.is_empty() && !right.unit.is_empty() && !same_unit(&left.unit, &right.unit) {
        return Equivalence::Different;
    }
    let share = |one: &Quantity, other: &Quantity| {
        one.percent
            && !other.percent
            && other.value.checked_mul(&Ratio::from_integer(100)) == Some(one.value)
    };
    Equivalence::of(left.value == right.value || share(left, right) || share(right, left))
}

/// Whether two units are one but for a plural.
fn same_unit(left: &str, right: &str) -> bool {
    left.trim_end_matches('s') == right.trim_end_matches('s')
}

fn all(left: &[Value], right: &[Value]) -> Equivalence {
    if left.len() != right.len() {
        return Equivalence::Different;
    }
    let parts: Vec<Equivalence> = left.iter().zip(right).map(|(a, b)| compared(a, b)).collect();
    [Equivalence::Different, Equivalence::Unparseable]
        .into_iter()
        .find(|outcome| parts.contains(outcome))
        .unwrap_or(Equivalence::Equal)
}

/// Each element of one set has an equal one in the other, and the sets are as large.
fn sets(left: &[Value], right: &[Value]) -> Equivalence {
    if left.len() != right.len() {
        return Equivalence::Different;
    }
    let mut free: Vec<&Value> = right.iter().collect();
    for one in left {
        let outcomes: Vec<Equivalence> = free.iter().map(|other| compared(one, other)).collect();
        if let Some(at) = outcomes.iter().position(|outcome| *outcome == Equivalence::Equal) {
            free.swap_remove(at);
        } else if outcomes.contains(&Equivalence::Unparseable) {
            return Equivalence::Unparseable;
        } else {
            return Equivalence::Different;
        }
    }
    Equivalence::Equal
}

#[cfg(test)]
mod tests {
    use super::*;
    use Equivalence::{Different, Equal, Unparseable};

    #[test]
    fn answers_are_compared_by_meaning() {
        for (left, right, outcome) in [
            ("42", " 42. ", Equal),
            ("0.5", r"\frac{1}{2}", Equal),
            (".5", "1/2", Equal),
            ("2 1/2", "2.5", Equal),
            ("1{,}200", "1,200", Equal),
            ("$18", "18 dollars", Equal),
            ("$18", "18", Equal),
            ("$18", "18 euros", Different),
            ("-$5", "-5", Equal),
            ("42 apples", "42 apple", Equal),
            ("42 apples", "42", Equal),
            ("42 apples", "42 pears", Different),
            ("50%", "0.5", Equal),
            ("50%", "50", Equal),
            ("50%", "5", Different),
            ("(5, 7)", "(5,7)", Equal),
            ("(5, 7)", "(7,5)", Different),
            ("[1, 2)", "[1,2)", Equal),
            ("[1, 2)", "[1,2]", Different),
            ("[1, ∞)", r"[1, \infty)", Equal),
            (r"\{1, 2\}", "{2, 1}", Equal),
            ("1, 2", "2, 1", Equal),
            ("1, 2", "1, 2, 3", Different),
            ("{1, 1}", "{1, 2}", Different),
            ("(B)", "B", Equal),
            ("(B)", "b)", Equal),
            ("(B)", "(C)", Different),
            ("Yes", "yes.", Equal),
            ("yes", "no", Different),
            ("maybe", "yes", Different),
            ("Ann", "ann", Equal),
            ("Ann", "Ann or Bob", Unparseable),
            ("42", "142", Different),
            ("42", "41 or 42", Unparseable),
            ("x = 5", "5", Equal),
            (r"\sqrt{2}", r"$\sqrt{2}$", Equal),
            (r"2\sqrt{2}", r"\sqrt{8}", Unparseable),
            ("", "5", Unparseable),
            ("1/0", "1/0", Equal),
            (r"30^\circ", "30 degrees", Equal),
        ] {
            assert_eq!(equivalence(left, right), outcome, "{left} | {right}");
            assert_eq!(equivalence(right, left), outcome, "{right} | {left}");
        }
    }
}
