//! Formulas as they are written, in LaTeX or plain.

use num_rational::Ratio;

use super::algebra::Formula;
use crate::check::number::decimal;

/// A longer text is no answer.
const MOST_BYTES: usize = 300;

/// How deep groups may nest.
const MAX_DEPTH: usize = 16;

/// Functions by name, longer ones first.
const FUNCTIONS: [&str; 14] = [
    "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "sin", "cos", "tan", "cot", "sec", "csc",
    "log", "exp",
];

/// Reads a whole text as a formula; nothing where it is none.
///
/// Letters are variables of one letter each. Words are not taken for products of them: three
/// letters or more in a row, or two that stand alone, make it no formula.
pub(super) fn formula(text: &str) -> Option<Formula> {
    let text = text.trim();
    if text.is_empty() || text.len() > MOST_BYTES {
        return None;
    }
    let mut parser = Parser { rest: text, depth: 0, spaced: true };
    let formula = parser.sum()?;
    parser.rest.is_empty().then_some(formula)
}

struct Parser<'text> {
    rest: &'text str,
    depth: usize,
    /// Whether white space, or nothing, stands before the rest.
    spaced: bool,
}

impl Parser<'_> {
    fn next(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn skip(&mut self, bytes: usize) {
        let rest = &self.rest[bytes..];
        self.rest = rest.trim_start();
        self.spaced = self.rest.len() < rest.len();
    }

    fn take(&mut self, wanted: &[char]) -> Option<char> {
        let next = self.next().filter(|next| wanted.contains(next))?;
        self.skip(next.len_utf8());
        Some(next)
    }

    fn sum(&mut self) -> Option<Formula> {
        let mut negative = self.take(&['+', '-', '−']).is_some_and(|sign| sign != '+');
        let mut total: Option<Formula> = None;
        loop {
            let term = self.product()?;
            let term = if negative { term.negative() } else { term };
            total = Some(match total {
                Some(total) => total.plus(&term)?,
                None => term,
            });
            match self.take(&['+', '-', '−']) {
                Some(sign) => negative = sign != '+',
                None => return total,
            }
        }
    }

    fn product(&mut self) -> Option<Formula> {
        let (mut total, mut number) = self.power()?;
        loop {
            match self.next() {
                Some('*' | '×' | '·' | '⋅') => {
                    self.take(&['*', '×', '·', '⋅']);
                    let (factor, is_number) = self.signed_power()?;
                    total = total.times(&factor)?;
                    number = is_number;
                }
                Some('/' | '÷') => {
                    self.take(&['/', '÷']);
                    let (factor, is_number) = self.signed_power()?;
                    total = total.over(&factor)?;
                    number = is_number;
                }
                Some(next) if begins(next) => {
                    // Two numbers side by side are a list or a mixed number.
                    if number && next.is_ascii_digit() {
                        return None;
                    }
                    let (factor, is_number) = self.power()?;
                    total = total.times(&factor)?;
                    number = is_number;
                }
                _ => return Some(total),
            }
        }
    }

    fn signed_power(&mut self) -> Option<(Formula, bool)> {
        let negative = self.take(&['-', '−']).is_some();
        let (value, number) = self.power()?;
        Some((if negative { value.negative() } else { value }, number))
    }

    /// A power, and whether it ends in a bare number.
    fn power(&mut self) -> Option<(Formula, bool)> {
        let number = self.next()?.is_ascii_digit() || self.next()? == '.';
        let base = self.atom()?;
        if let Some(mark) = self.take(&['²', '³']) {
            let exponent = if mark == '²' { 2 } else { 3 };
            return Some((base.power(&Formula::number(Ratio::from_integer(exponent)))?, false));
        }
        if self.take(&['^']).is_none() {
            return Some((base, number));
        }
        let negative = self.take(&['-', '−']).is_some();
        let exponent = self.atom()?;
        let exponent = if negative { exponent.negative() } else { exponent };
        Some((base.power(&exponent)?, false))
    }

    fn atom(&mut self) -> Option<Formula> {
        let next = self.next()?;
        match next {
            '(' | '[' | '{' => self.group(next),
            '|' => {
                self.skip(1);
                let inside = self.nested(Self::sum)?;
                self.take(&['|'])?;
                Some(Formula::function("abs", &inside))
            }
            '√' => {
                self.skip(next.len_utf8());
                self.nested(Self::atom)?.root()
            }
            '\\' => self.command(),
            '0'..='9' | '.' => self.number(),
            _ if next.is_alphabetic() => self.letters(),
            _ => None,
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Option<Formula>) -> Option<Formula> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn group(&mut self, open: char) -> Option<Formula> {
        self.skip(1);
        let inside = self.nested(Self::sum)?;
        let close = match open {
            '(' => ')',
            '[' => ']',
            _ => '}',
        };
        self.take(&[close])?;
        Some(inside)
    }

    fn number(&mut self) -> Option<Formula> {
        let length = self
            .rest
            .find(|next: char| !(next.is_ascii_digit() || matches!(next, '.' | ',')))
            .unwrap_or(self.rest.len());
        let text = &self.rest[..length];
        // A date or a code, such as 2024-05-06.
        if text.len() > 1 && text.starts_with('0') && !text.starts_with("0.") {
            return None;
        }
        let value = match text.strip_prefix('.') {
            Some(decimals) => decimal(&format!("0.{decimals}"))?,
            None => decimal(text)?,
        };
        self.skip(length);
        Some(Formula::number(value))
    }

    /// What a backslash begins.
    fn command(&mut self) -> Option<Formula> {
        let length = self.rest[1..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let name = &self.rest[1..=length];
        self.skip(1 + name.len());
        match name {
            "" => None,
            "sqrt" => self.any_root(),
            "ln" => self.function("ln"),
            name if FUNCTIONS.contains(&name) => self.function(name),
            // Greek letters.
            name => {
                let name = format!("\\{name}");
                self.variable(&name)
            }
        }
    }

    fn any_root(&mut self) -> Option<Formula> {
        if self.next() != Some('[') {
            return self.nested(Self::atom)?.root();
        }
        let degree = self.group('[')?;
        let inside = self.nested(Self::atom)?;
        if degree.rational() == Some(Ratio::from_integer(2)) {
            return inside.root();
        }
        let degree = u32::try_from(degree.rational()?.to_integer()).ok().filter(|n| *n > 2)?;
        if let Some(value) = inside.rational().filter(Ratio::is_integer) {
            let root = (*value.numer() as f64).powf(1.0 / f64::from(degree)).round() as i128;
            if root.checked_pow(degree) == Some(*value.numer()) {
                return Some(Formula::number(Ratio::from_integer(root)));
            }
        }
        Some(Formula::function(&format!("root{degree}"), &inside))
    }

    /// A function's argument: what follows, up to the next sign.
    fn function(&mut self, name: &str) -> Option<Formula> {
        let name = format!("{name}{}", self.subscript()?);
        if self.next() == Some('^') {
            return None;
        }
        let argument = if matches!(self.next(), Some('(' | '{' | '[')) {
            self.atom()?
        } else {
            // `sin 2x`: factors, but not another function.
            let mut argument = self.nested(|parser| Some(parser.power()?.0))?;
            while self.next().is_some_and(|next| next.is_ascii_lowercase() || next == 'π') {
                let factor = self.nested(|parser| Some(parser.power()?.0))?;
                argument = argument.times(&factor)?;
            }
            argument
        };
        Some(Formula::function(&name, &argument))
    }

    /// What stands below the line; empty where nothing does.
    fn subscript(&mut self) -> Option<String> {
        if self.take(&['_']).is_none() {
            return Some(String::new());
        }
        let inside = if self.next()? == '{' {
            let end = self.rest.find('}')?;
            let inside = &self.rest[1..end];
            self.skip(end + 1);
            inside
        } else {
            let length = self.next()?.len_utf8();
            let inside = &self.rest[..length];
            self.skip(length);
            inside
        };
        Some(format!("_{}", inside.trim()))
    }

    fn variable(&mut self, name: &str) -> Option<Formula> {
        let subscript = self.subscript()?;
        Some(Formula::variable(&format!("{name}{subscript}")))
    }

    /// One variable; or a function that is written without a backslash.
    fn letters(&mut self) -> Option<Formula> {
        let before = self.rest;
        let length = before.find(|next: char| !next.is_alphabetic()).unwrap_or(before.len());
        let run = &before[..length];
        for (word, canonical) in [("sqrt", "√"), ("pi", "π"), ("ln", "ln")]
            .into_iter()
            .chain(FUNCTIONS.map(|name| (name, name)))
        {
            if run == word {
                self.skip(length);
                return match canonical {
                    "√" => self.any_root(),
                    "π" => Some(Formula::variable("π")),
                    name => self.function(name),
                };
            }
        }
        let count = run.chars().count();
        let alone = self.spaced && before[length..].chars().next().is_none_or(char::is_whitespace);
        if count > 2 || (count == 2 && alone) {
            return None;
        }
        let first = run.chars().next()?;
        self.skip(first.len_utf8());
        self.variable(first.encode_utf8(&mut [0; 4]))
    }
}

/// Whether a factor may begin so.
fn begins(next: char) -> bool {
    next.is_alphanumeric() || matches!(next, '(' | '[' | '{' | '\\' | '√' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(left: &str, right: &str) -> Option<bool> {
        formula(left)?.equals(&formula(right)?)
    }

    #[test]
    fn formulas_are_equal_by_value() {
        for (left, right) in [
            ("(x+1)^2", "x^2+2x+1"),
            ("x^{2} - y²", "(x-y)(x+y)"),
            (r"\sqrt8", r"2\sqrt{2}"),
            ("√8", "2√2"),
            ("sqrt(8)", "2*sqrt(2)"),
            (r"1/\sqrt{2}", r"\sqrt{2}/2"),
            (r"\sqrt{3/4}", r"\sqrt3/2"),
            (r"1/(1+\sqrt2)", r"\sqrt2-1"),
            (r"\sqrt2\sqrt3", r"\sqrt6"),
            (r"\sqrt{-4}", "2i"),
            ("(1+i)^2", "2i"),
            ("2π/4", "π/2"),
            ("x/2 + x/3", "5x/6"),
            ("(x^2-1)/(x-1)", "x+1"),
            ("2^{10}", "1024"),
            ("4^{1/2}", "2"),
            ("x^{-1}", "1/x"),
            (r"\sqrt[3]{27}", "3"),
            (r"\sin(2x)", r"\sin 2x"),
            ("x_1+x_{2}", "x_2+x_1"),
            ("ab+1", "1+ba"),
            ("-3x", "x*-3"),
        ] {
            assert_eq!(equal(left, right), Some(true), "{left} | {right}");
        }
        for (left, right) in [
            ("4", r"4\sqrt(2)"),
            ("1-1/(e)", "1+1/(e)"),
            ("1/2^{99}", "1/2^{98}"),
            ("x", "y"),
            (r"\sqrt2", "1.4142"),
            (r"\sin x", r"\cos x"),
            (r"\sqrt[3]{2}", r"\sqrt{2}"),
            ("x_1", "x_2"),
        ] {
            assert_eq!(equal(left, right), Some(false), "{left} | {right}");
        }
    }

    #[test]
    fn other_texts_are_no_formulas() {
        for text in [
            "",
            "Ann",
            "41 or 42",
            "Ann or Bob",
            "2 3",
            "12:30",
            "x +",
            "(x",
            "x)",
            "1/0",
            "2024-05-06",
            "3 apples",
            "no",
            "é?",
            "\\",
            r"\sqrt",
            "x^",
            "1,23",
            &"(".repeat(200),
            "2^{2^{2^{2^2}}}",
        ] {
            assert!(formula(text).is_none(), "{text}");
        }
    }
}
