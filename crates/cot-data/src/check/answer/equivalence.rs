//! Whether two answers mean the same.

use num_rational::Ratio;
use num_traits::{CheckedMul, ToPrimitive};

use super::algebra::Formula;
use super::value::{Quantity, Value, value};
use crate::check::number::Rational;

/// Fewest decimals of a number that may be a rounded one.
const ROUNDED_PLACES: usize = 6;

/// Fewest digits of such a number, without zeros at its head.
const ROUNDED_DIGITS: u32 = 4;

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

/// Compares an answer with the expected one: numbers as exact rationals, a percentage with the
/// share or the bare number it stands for; formulas with roots and variables by their terms,
/// equations up to a factor; units where both give one; points, intervals, sets and matrices part
/// by part; the letter of a choice with or without parentheses; single words without regard to
/// case. A longer text equals only itself. There is no credit for an answer that merely
/// contains the right one.
///
/// A number that no decimal can give, such as 1/3 or √2, equals one of six decimals or more that
/// it rounds to; any other number equals only itself.
///
/// As a percent sign may be left out, the relation is not transitive: `50%` equals both
/// `0.5` and `50`. It is not quite symmetric either, as the expected answer says what is meant:
/// `(1, 2)` answers an expected `1 < x < 2`, but an expected `(1, 2)` may be a point.
pub fn equivalence(expected: &str, answer: &str) -> Equivalence {
    match (value(expected), value(answer)) {
        (Some(expected), Some(answer)) => compared(&expected, &answer),
        _ => Equivalence::Unparseable,
    }
}

fn compared(left: &Value, right: &Value) -> Equivalence {
    if left == right {
        return Equivalence::Equal;
    }
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => quantities(left, right),
        (Value::Formula(left), Value::Formula(right)) => known(left.equals(right)),
        (Value::Number(number), Value::Formula(formula))
        | (Value::Formula(formula), Value::Number(number)) => by_value(formula, number),
        (Value::Named(one, left), Value::Named(other, right)) if one == other => {
            compared(left, right)
        }
        (Value::Named(..) | Value::Equation(_), Value::Named(..) | Value::Equation(_)) => {
            match (equation(left), equation(right)) {
                (Some(left), Some(right)) => Equivalence::of(left.same_zeros(&right)),
                _ => Equivalence::Different,
            }
        }
        (Value::Named(_, value), other) => compared(value, other),
        (other, Value::Named(_, value)) => compared(other, value),
        (Value::Range(one, left), Value::Range(other, right)) => {
            if one == other {
                compared(left, right)
            } else {
                Equivalence::Different
            }
        }
        (Value::Range(_, interval), other) => match (&**interval, other) {
            // What would be a point by itself.
            (Value::Interval(false, ends, false), Value::Tuple(parts)) => all(&ends[..], parts),
            (interval, other) => compared(interval, other),
        },
        (interval, Value::Range(_, range)) => compared(interval, range),
        (Value::Tuple(left), Value::Tuple(right)) => all(left, right),
        // In one order: to a point it matters.
        (Value::Tuple(left), Value::Set(right)) | (Value::Set(left), Value::Tuple(right)) => {
            all(left, right)
        }
        (Value::Interval(a, left, b), Value::Interval(c, right, d)) => {
            if (a, b) == (c, d) {
                all(&left[..], &right[..])
            } else {
                Equivalence::Different
            }
        }
        (Value::Set(left), Value::Set(right)) | (Value::Union(left), Value::Union(right)) => {
            sets(left, right)
        }
        (Value::Matrix(left), Value::Matrix(right)) => matrices(left, right),
        // `B` may be a name; `b` is one.
        (Value::Choice(letter), Value::Word(word)) | (Value::Word(word), Value::Choice(letter)) => {
            Equivalence::of(word.eq_ignore_ascii_case(letter.encode_utf8(&mut [0; 4])))
        }
        (Value::Formula(formula), Value::Word(word))
        | (Value::Word(word), Value::Formula(formula))
            if word.chars().count() == 1 =>
        {
            known(formula.equals(&Formula::variable(word)))
        }
        (Value::Text(_), _) | (_, Value::Text(_)) => Equivalence::Unparseable,
        _ => Equivalence::Different,
    }
}

fn known(equal: Option<bool>) -> Equivalence {
    equal.map_or(Equivalence::Unparseable, Equivalence::of)
}

/// An equation as what is 0.
fn equation(value: &Value) -> Option<Formula> {
    match value {
        Value::Equation(formula) => Some(formula.clone()),
        Value::Named(name, value) => {
            let value = match &**value {
                Value::Number(number) => Formula::number(number.value),
                Value::Formula(formula) => formula.clone(),
                Value::Word(word) if word.chars().count() == 1 => Formula::variable(word),
                _ => return None,
            };
            Formula::variable(name).plus(&value.negative())
        }
        _ => None,
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
    let rounded = |exact: &Quantity, other: &Quantity| {
        endless(exact.value) && exact.value.to_f64().is_some_and(|exact| rounds_to(exact, other))
    };
    Equivalence::of(
        left.value == right.value
            || share(left, right)
            || share(right, left)
            || rounded(left, right)
            || rounded(right, left),
    )
}

/// A formula against a number.
fn by_value(formula: &Formula, number: &Quantity) -> Equivalence {
    if let Some(value) = formula.rational() {
        let formula = Quantity { value, places: 0, percent: false, unit: String::new() };
        return quantities(&formula, number);
    }
    Equivalence::of(formula.approximate().is_some_and(|exact| rounds_to(exact, number)))
}

/// Whether no number of decimals gives it exactly.
fn endless(value: Rational) -> bool {
    let mut rest = *value.denom();
    for factor in [2, 5] {
        while rest % factor == 0 {
            rest /= factor;
        }
    }
    rest != 1
}

/// Whether a number has enough decimals, and those that the exact one rounds to.
fn rounds_to(exact: f64, number: &Quantity) -> bool {
    let Some(written) = number.value.to_f64() else { return false };
    let unit = 0.1_f64.powi(number.places as i32);
    number.places >= ROUNDED_PLACES
        && written.abs() >= unit * 10_f64.powi(ROUNDED_DIGITS as i32 - 1)
        && (exact - written).abs() <= 0.5 * unit * (1.0 + 1e-6)
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

fn matrices(left: &[Vec<Value>], right: &[Vec<Value>]) -> Equivalence {
    if left.len() != right.len() {
        return Equivalence::Different;
    }
    let rows = left.iter().zip(right).map(|(left, right)| all(left, right));
    rows.fold(Equivalence::Equal, |so_far, row| match (so_far, row) {
        (Equivalence::Equal, row) => row,
        (_, Equivalence::Different) => Equivalence::Different,
        (so_far, _) => so_far,
    })
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
    use crate::rng::CounterRng;
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
            (r"2\sqrt{2}", r"\sqrt{8}", Equal),
            ("x = 5", "y = 5", Different),
            ("f(x) = 2x", "2x", Equal),
            ("y = 2x + 1", "2x - y = -1", Equal),
            ("5x", "5", Different),
            ("5 m", "5", Equal),
            ("5 m^2", "5 m", Different),
            ("5 m²", "5 m^2", Equal),
            ("2x", "2*x", Equal),
            ("3 + 4i", "4i + 3", Equal),
            (r"\frac{\pi}{2}", "π/2", Equal),
            (r"\frac{\pi}{2}", "1.570796", Equal),
            (r"\frac{\pi}{2}", "1.5708", Different),
            ("2/3", "0.666667", Equal),
            ("2/3", "0.666666", Different),
            ("1/3000000", "0.000000", Different),
            ("0.3333333", "0.333333", Different),
            (r"x \in [1, 2)", "[1, 2)", Equal),
            ("1 ≤ x < 2", "[1, 2)", Equal),
            ("2 > x >= 1", r"1 \leq x < 2", Equal),
            ("x > 5", "5 < x", Equal),
            ("x > 5", "x >= 5", Different),
            ("x > 5", "x < 5", Different),
            (r"[1, 2] \cup [4, \infty)", r"[4,\infty) \cup [1,2]", Equal),
            ("(1, 2), (3, 4)", "(3,4), (1,2)", Equal),
            (r"(\sqrt{8}, 1)", r"(2\sqrt{2}, 1)", Equal),
            (r"1 \pm \sqrt{2}", r"1+\sqrt2, 1-\sqrt2", Equal),
            (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1&2\end{pmatrix}", Different),
            ("12:30", "12", Unparseable),
            ("12:30", "12:30", Equal),
            ("2024-05-06", "2013", Unparseable),
            ("x", "2x", Different),
            ("", "5", Unparseable),
            ("1/0", "1/0", Equal),
            (r"30^\circ", "30 degrees", Equal),
        ] {
            assert_eq!(equivalence(left, right), outcome, "{left} | {right}");
            assert_eq!(equivalence(right, left), outcome, "{right} | {left}");
        }
    }

    /// What math-verify 0.9 finds equal, expected answer first, unless it is wrong.
    #[test]
    fn answers_that_math_verify_takes() {
        for (expected, answer) in [
            ("0.5", r"$\frac12$"),
            (r"$\frac13$", "0.333333"),
            (r"$10\%$", "10"),
            (r"$10\%$", "0.1"),
            ("1,000", "1000"),
            ("18", "$18.00"),
            ("5", "$x=5$"),
            ("$x=5$", "$5=x$"),
            ("$(1,2)$", r"$\{1,2\}$"),
            ("$1,2$", "$2,1$"),
            ("$1<x<2$", "$(1,2)$"),
            (r"$\sqrt8$", r"$2\sqrt2$"),
            ("$(x+1)^2$", "$x^2+2x+1$"),
            ("$2x+3y=6$", "$4x+6y=12$"),
            (r"$90^\circ$", "90"),
            (r"$5\text{ cm}^2$", "$5$"),
            (r"$2\frac12$", "2.5"),
            (r"$\pm3$", r"$\{-3,3\}$"),
            (r"$\begin{pmatrix}1&2\\3&4\end{pmatrix}$", r"$\begin{bmatrix}1&2\\3&4\end{bmatrix}$"),
        ] {
            assert_eq!(equivalence(expected, answer), Equal, "{expected} | {answer}");
        }
    }

    /// What it finds different, and what it wrongly finds equal.
    #[test]
    fn answers_that_are_not_equal() {
        for (expected, answer) in [
            (r"$\frac13$", "0.3333"),
            ("$x=5$", "$y=5$"),
            ("$5=x$", "5"),
            ("$(1,2)$", "$1<x<2$"),
            ("$(1,2)$", "$(2,1)$"),
            (r"$90^\circ$", r"$\pi/2$"),
            ("5", "5.0000001"),
            ("0.0000001", "0.0000002"),
            ("$1/2^{99}$", "$1/2^{98}$"),
            ("$4$", r"$4\sqrt(2)$"),
            (r"$1-\frac1{\mathrm e}$", r"$1+\frac1{\mathrm e}$"),
        ] {
            assert_eq!(equivalence(expected, answer), Different, "{expected} | {answer}");
        }
        // Times have no form, so that they equal only themselves.
        assert_eq!(equivalence("12:30", "12:45"), Unparseable);
    }

    /// Whatever is written, comparing it ends, and what says anything is equal to itself.
    #[test]
    fn any_text_is_compared_to_its_end() {
        const PIECES: [&str; 40] = [
            "1",
            "2",
            "x",
            "y",
            "i",
            "π",
            "−",
            "-",
            "+",
            "±",
            "=",
            "<",
            "≤",
            "∈",
            "∪",
            "^",
            "_",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            "|",
            ",",
            ";",
            "&",
            "/",
            " ",
            "%",
            "$",
            "é",
            "²",
            "∞",
            r"\frac",
            r"\sqrt",
            r"\begin{pmatrix}",
            r"\end{pmatrix}",
            r"\sin",
            r"\",
        ];
        let mut random = CounterRng::new(1);
        for _ in 0..50_000 {
            let length = random.below(12);
            let text: String = (0..length).map(|_| random.pick(&PIECES)).collect();
            let itself = equivalence(&text, &text);
            assert!(itself == Equal || value(&text).is_none(), "{text}: {itself:?}");
            let _ = equivalence(&text, "x = 1");
            let _ = equivalence("(1, 2)", &text);
        }
    }
}
