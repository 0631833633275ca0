//! Arithmetic expressions over exact rationals: `+ - * / ( )` and decimal numbers.

use num_rational::Ratio;
use num_traits::{CheckedDiv, Zero};

use super::number::{add, multiply, number, subtract};

/// An expression's value and parts.
#[derive(Debug, PartialEq)]
pub(super) struct Expression {
    /// The value; nothing where it divides by zero or overflows.
    pub(super) value: Option<Ratio<i128>>,
    /// The numbers written in it, in order.
    pub(super) numbers: Vec<Ratio<i128>>,
    /// How many operations it has.
    pub(super) num_operations: usize,
}

/// How deep parentheses may nest; a model's output may hold any number of them.
const MAX_DEPTH: usize = 32;

/// Reads a whole text as an expression; nothing where it is none.
pub(super) fn parse(text: &str) -> Option<Expression> {
    let mut numbers = Vec::with_capacity(4);
    let mut parser = Parser::new(text, |number| numbers.push(number));
    let value = parser.sum()?;
    let (rest, num_operations) = (parser.rest, parser.num_operations);
    rest.is_empty().then_some(Expression { value, numbers, num_operations })
}

/// Expressions with `=` between them.
#[derive(Debug, PartialEq)]
pub(super) struct Chain {
    /// The value of the first side, as in [`Expression`].
    pub(super) first: Option<Ratio<i128>>,
    /// How many operations the first side has.
    pub(super) num_operations: usize,
    /// The value of the last side.
    pub(super) last: Option<Ratio<i128>>,
    /// Whether all sides have the first one's value.
    pub(super) is_equal: bool,
}

/// Reads a whole text as two expressions or more with `=` between them; nothing where it is
/// none. `meet` gets each number of the first.
pub(super) fn chain(text: &str, meet: impl FnMut(Ratio<i128>)) -> Option<Chain> {
    let mut parser = Parser::new(text, meet);
    let first = parser.sum()?;
    let num_operations = parser.num_operations;
    let mut parser = Parser::new(parser.rest, |_| {});
    let mut last = None;
    let mut is_equal = true;
    while parser.take(&['=']).is_some() {
        let value = parser.sum()?;
        is_equal &= value == first;
        last = Some(value);
    }
    let last = last.filter(|_| parser.rest.is_empty())?;
    Some(Chain { first, num_operations, last, is_equal })
}

struct Parser<'text, Meet> {
    rest: &'text str,
    depth: usize,
    /// Gets each number.
    meet: Meet,
    num_operations: usize,
}

/// Outer nothing: no expression. Inner nothing: an expression without a value.
type Value = Option<Option<Ratio<i128>>>;

impl<'text, Meet: FnMut(Ratio<i128>)> Parser<'text, Meet> {
    fn new(text: &'text str, meet: Meet) -> Self {
        Self { rest: text.trim_start(), depth: 0, meet, num_operations: 0 }
    }

    fn take(&mut self, wanted: &[char]) -> Option<char> {
        let first = self.rest.chars().next().filter(|first| wanted.contains(first))?;
        self.rest = self.rest[first.len_utf8()..].trim_start();
        Some(first)
    }

    fn sum(&mut self) -> Value {
        let mut total = self.product()?;
        while let Some(sign) = self.take(&['+', '-']) {
            self.num_operations += 1;
            let next = self.product()?;
            total = total
                .zip(next)
                .and_then(|(a, b)| if sign == '+' { add(a, b) } else { subtract(a, b) });
        }
        Some(total)
    }

    fn product(&mut self) -> Value {
        let mut total = self.atom()?;
        while let Some(sign) = self.take(&['*', '×', '/', '÷']) {
            self.num_operations += 1;
            let next = self.atom()?;
            total = total.zip(next).and_then(|(a, b)| {
                if matches!(sign, '*' | '×') {
                    multiply(a, b)
                } else if b.is_zero() {
                    None
                } else {
                    a.checked_div(&b)
                }
            });
        }
        Some(total)
    }

    fn atom(&mut self) -> Value {
        if self.take(&['(']).is_some() {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return None;
            }
            let value = self.sum()?;
            self.depth -= 1;
            self.take(&[')'])?;
            return Some(value);
        }
        let negative = self.take(&['-']).is_some();
        let length = self
            .rest
            .find(|next: char| !(next.is_ascii_digit() || matches!(next, '.' | ',')))
            .unwrap_or(self.rest.len());
        let value = number(&self.rest[..length])?;
        self.rest = self.rest[length..].trim_start();
        let value = if negative { -value } else { value };
        (self.meet)(value);
        Some(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_parentheses_and_exact_fractions() {
        for (text, top, bottom) in [
            ("2 + 3 * 4", 14, 1),
            ("(2 + 3) * 4", 20, 1),
            ("10 - 4 - 3", 3, 1),
            ("1 / 3", 1, 3),
            ("0.1 + 0.2", 3, 10),
            ("-2 * -3", 6, 1),
        ] {
            assert_eq!(parse(text).and_then(|e| e.value), Some(Ratio::new(top, bottom)), "{text}");
        }
        assert_eq!(parse("1 / 0").map(|e| e.value), Some(None));
    }

    #[test]
    fn a_chain_has_two_sides_or_more() {
        let [four, five] = [4, 5].map(|value| Some(Ratio::from_integer(value)));
        let read = |text| {
            let mut met = Vec::new();
            let chain = chain(text, |number| met.push(number.to_integer()))?;
            Some((chain.first, chain.num_operations, chain.last, chain.is_equal, met))
        };
        assert_eq!(read("2+2=1+3=4"), Some((four, 1, four, true, vec![2, 2])));
        assert_eq!(read("2 + 2 = 5 = 4"), Some((four, 1, four, false, vec![2, 2])));
        assert_eq!(read("4=5"), Some((four, 0, five, false, vec![4])));
        assert_eq!(read("4/0=4/0"), Some((None, 1, None, true, vec![4, 0])));
        for text in ["4", "", "=4", "4=", "4==4", "4=4 eggs", "(4=4)", "4=4)", "4=4="] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_expression() {
        for text in ["", "2 +", "two + 2", "2 2", "(2", "2)", "3 apples", &"(".repeat(10_000)] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
