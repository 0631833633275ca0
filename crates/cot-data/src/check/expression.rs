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
    let mut parser = Parser::new(text, Some(Vec::with_capacity(4)));
    let value = parser.sum()?;
    parser.rest.is_empty().then_some(Expression {
        value,
        numbers: parser.numbers.unwrap_or_default(),
        num_operations: parser.num_operations,
    })
}

/// The value of a whole text as an expression, as in [`Expression`], of which nothing else
/// is wanted.
pub(super) fn value(text: &str) -> Value {
    let mut parser = Parser::new(text, None);
    let value = parser.sum()?;
    parser.rest.is_empty().then_some(value)
}

struct Parser<'text> {
    rest: &'text str,
    depth: usize,
    /// The numbers met, where they are wanted.
    numbers: Option<Vec<Ratio<i128>>>,
    num_operations: usize,
}

/// Outer nothing: no expression. Inner nothing: an expression without a value.
pub(super) type Value = Option<Option<Ratio<i128>>>;

impl<'text> Parser<'text> {
    fn new(text: &'text str, numbers: Option<Vec<Ratio<i128>>>) -> Self {
        Self { rest: text.trim_start(), depth: 0, numbers, num_operations: 0 }
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
        if let Some(numbers) = &mut self.numbers {
            numbers.push(value);
        }
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
        assert_eq!(
            (value("1 / 0"), value("2 + 2"), value("2 +")),
            (Some(None), Some(Some(Ratio::from_integer(4))), None)
        );
    }

    #[test]
    fn anything_else_is_no_expression() {
        for text in ["", "2 +", "two + 2", "2 2", "(2", "2)", "3 apples", &"(".repeat(10_000)] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
