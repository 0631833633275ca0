//! One side of an equation in free text: an expression whose numbers may have units, as in
//! `5 hours * $12/hour`, with the words "of", "times", "plus" and "minus" as operators.

use num_rational::Ratio;
use num_traits::{CheckedDiv, Zero};

use super::token::{Kind, Number, Token};
use crate::check::number::{Rational, add, multiply, subtract};

/// How deep parentheses may nest; a model's output may hold any number of them.
const MAX_DEPTH: usize = 16;

/// The first side of an equation is no longer than this; so a text of any length takes a time
/// that grows with it and no faster.
const MOST_TOKENS: usize = 64;

/// More words than this between a number and the next sign are a sentence, not a unit.
const MOST_UNIT_WORDS: usize = 6;

/// How a percentage counts: calculators and people differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Percent {
    /// 20% is 0.2.
    Hundredths,
    /// 20% is 20.
    Plain,
}

/// An expression.
#[derive(Clone, Debug)]
pub(super) struct Side {
    /// Its value with percentages as hundredths; nothing where it divides by zero or
    /// overflows.
    pub(super) value: Option<Rational>,
    /// Its value with percentages as plain numbers, where there are any.
    pub(super) plain: Option<Rational>,
    /// The numbers written in it, in order.
    pub(super) operands: Vec<Number>,
    /// How many operations it has.
    pub(super) num_operations: usize,
    /// Whether a unit or other words stand behind one of its numbers.
    pub(super) units: bool,
    /// Whether it takes a part "of" something.
    pub(super) part: bool,
    /// Index behind its last token, with units where an operator or the end follows them.
    pub(super) end: usize,
}

impl Side {
    /// Reads an expression that begins at a token and ends before `end` or earlier.
    pub(super) fn prefix(text: &str, tokens: &[Token], start: usize, end: usize) -> Option<Self> {
        let read = |percent| Parser::run(text, tokens, start..end, percent);
        let mut side = read(Percent::Hundredths)?;
        if side.operands.iter().any(|operand| operand.percent) {
            side.plain = read(Percent::Plain).and_then(|other| other.value);
        }
        Some(side)
    }

    /// Reads all tokens from `start` to `end` as an expression.
    pub(super) fn whole(text: &str, tokens: &[Token], start: usize, end: usize) -> Option<Self> {
        Self::prefix(text, tokens, start, end).filter(|side| side.end == end)
    }

    /// Reads the expression that ends before `end`, however long the sentence before it.
    pub(super) fn suffix(text: &str, tokens: &[Token], start: usize, end: usize) -> Option<Self> {
        (start.max(end.saturating_sub(MOST_TOKENS))..end).find_map(|first| {
            // Behind a word a sign is an operator: `x -5 * 3`.
            let at_start = first == start || tokens[first - 1].kind == Kind::Open;
            let begins = tokens[first].is_number()
                || tokens[first].kind == Kind::Open
                || (at_start && is_sign_of_number(text, tokens, first, end));
            let free = first == start || may_precede(text, tokens, start, first);
            (begins && free).then(|| Self::whole(text, tokens, first, end)).flatten()
        })
    }

    /// The number that is the whole side.
    pub(super) fn lone(&self) -> Option<Number> {
        match self.operands[..] {
            [number] if self.num_operations == 0 => Some(number),
            _ => None,
        }
    }

    /// The values it may be meant to have.
    pub(super) fn values(&self) -> impl Iterator<Item = (Rational, Percent)> {
        let plain = self.plain.map(|value| (value, Percent::Plain));
        self.value.map(|value| (value, Percent::Hundredths)).into_iter().chain(plain)
    }
}

/// Whether a token is the sign of a number.
fn is_sign_of_number(text: &str, tokens: &[Token], at: usize, end: usize) -> bool {
    at + 1 < end
        && matches!(tokens[at].kind, Kind::Operator('-' | '+'))
        && tokens[at + 1].is_number()
        && matches!(&text[tokens[at].end..tokens[at + 1].start], "" | "$")
}

/// Words that make what follows them part of something larger.
const BINDING: [&str; 12] = [
    "times", "plus", "minus", "by", "over", "twice", "double", "triple", "half", "negative",
    "root", "squared",
];

/// Parts, in words, of which "of" takes a product.
const PARTS: [&str; 12] = [
    "half", "third", "quarter", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth",
    "percent", "multiple",
];

/// Words that are no unit: they begin another clause, compare, or change the number.
const NO_UNITS: [&str; 28] = [
    "and", "or", "but", "then", "so", "if", "because", "is", "are", "was", "were", "more", "less",
    "fewer", "than", "which", "who", "he", "she", "they", "it", "while", "with", "million",
    "billion", "thousand", "cubed", "squared",
];

/// Whether a word may stand behind a number as its unit; a single letter, or a name, that
/// touches the number is a variable.
fn is_unit(word: &str, touches: bool) -> bool {
    let variable = match word.len() {
        1 => {
            !matches!(word, "-" | "/") && (touches || !matches!(word, "a" | "m" | "g" | "h" | "L"))
        }
        _ => touches && word.starts_with(|first: char| first.is_uppercase()),
    };
    !variable && !NO_UNITS.contains(&word) && (!BINDING.contains(&word) || word == "times")
}

/// Whether an expression may begin at a token behind others of its clause: not where the
/// words before it go with an operator, as in `x + 3 * 4` or `twice 3 * 4`.
fn may_precede(text: &str, tokens: &[Token], start: usize, first: usize) -> bool {
    let word = |at: usize| &text[tokens[at].start..tokens[at].end];
    let is_word = |at: usize| tokens[at].kind == Kind::Word;
    let other = (start..first).rev().find(|&at| !is_word(at));
    let open = other.is_some_and(|at| tokens[at].kind == Kind::Open);
    let other = if open { other.filter(|&at| at > start).map(|at| at - 1) } else { other };
    if other.is_some_and(|at| matches!(tokens[at].kind, Kind::Operator(_))) {
        return false;
    }
    if !is_word(first - 1) {
        return open;
    }
    let before = (first - 1).checked_sub(1).filter(|&at| at >= start);
    match word(first - 1) {
        "of" => {
            before.is_none_or(|at| is_word(at) && !PARTS.contains(&word(at).trim_end_matches('s')))
        }
        "and" => before.is_none_or(|at| !tokens[at].is_number()),
        word => !BINDING.contains(&word),
    }
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
    end: usize,
    percent: Percent,
    depth: usize,
    operands: Vec<Number>,
    num_operations: usize,
    units: bool,
    part: bool,
}

/// Outer nothing: no expression. Inner nothing: an expression without a value.
type Value = Option<Option<Rational>>;

impl Parser<'_> {
    fn run(
        text: &str,
        tokens: &[Token],
        range: std::ops::Range<usize>,
        percent: Percent,
    ) -> Option<Side> {
        let mut parser = Parser {
            text,
            tokens,
            at: range.start,
            end: range.end,
            percent,
            depth: 0,
            operands: Vec::new(),
            num_operations: 0,
            units: false,
            part: false,
        };
        let value = parser.sum()?;
        Some(Side {
            value,
            plain: None,
            operands: parser.operands,
            num_operations: parser.num_operations,
            units: parser.units,
            part: parser.part,
            end: parser.at,
        })
    }

    fn kind(&self, at: usize) -> Option<Kind> {
        (at < self.end).then(|| self.tokens[at].kind)
    }

    fn word(&self, at: usize) -> Option<&str> {
        (self.kind(at)? == Kind::Word)
            .then(|| &self.text[self.tokens[at].start..self.tokens[at].end])
    }

    fn begins_operand(&self, at: usize) -> bool {
        matches!(self.kind(at), Some(Kind::Number(_) | Kind::Open))
            || is_sign_of_number(self.text, self.tokens, at, self.end)
    }

    /// Whether two tokens touch.
    fn touches(&self, at: usize) -> bool {
        at > 0 && at < self.end && self.tokens[at - 1].end == self.tokens[at].start
    }

    /// The operator at a place, and how many tokens it takes; `behind` is what "of" may
    /// take a part of.
    fn operator(&self, at: usize, part_before: bool) -> Option<(char, usize)> {
        if let Some(Kind::Operator(sign)) = self.kind(at) {
            return self.begins_operand(at + 1).then_some((sign, 1));
        }
        if self.kind(at) == Some(Kind::Open) && self.touches(at) {
            let times = !matches!(self.kind(at - 1), Some(Kind::Word));
            return times.then_some(('*', 0));
        }
        let word = self.word(at)?;
        let (sign, length) = match word {
            "times" => ('*', 1),
            "plus" => ('+', 1),
            "minus" => ('-', 1),
            "multiplied" if self.word(at + 1) == Some("by") => ('*', 2),
            "divided" if self.word(at + 1) == Some("by") => ('/', 2),
            "of" if part_before => {
                let article = matches!(self.word(at + 1), Some("the" | "his" | "her" | "their"));
                ('*', 1 + usize::from(article))
            }
            _ => return None,
        };
        self.begins_operand(at + length).then_some((sign, length))
    }

    fn sum(&mut self) -> Value {
        let mut total = self.product()?;
        while let Some((sign @ ('+' | '-'), length)) = self.operator(self.at, false) {
            let before = (self.at, self.operands.len(), self.num_operations);
            self.at += length;
            self.num_operations += 1;
            let Some(next) = self.product() else {
                self.back_to(before);
                break;
            };
            total = total
                .zip(next)
                .and_then(|(a, b)| if sign == '+' { add(a, b) } else { subtract(a, b) });
        }
        Some(total)
    }

    fn product(&mut self) -> Value {
        let mut total = self.operand()?;
        let mut part = self.is_part_before(false);
        while let Some((sign @ ('*' | '/'), length)) = self.operator(self.at, part) {
            let before = (self.at, self.operands.len(), self.num_operations);
            self.part |= self.word(self.at) == Some("of");
            self.at += length;
            self.num_operations += 1;
            let Some(next) = self.operand() else {
                self.back_to(before);
                break;
            };
            total = total.zip(next).and_then(|(a, b)| {
                if sign == '*' {
                    multiply(a, b)
                } else if b.is_zero() {
                    None
                } else {
                    a.checked_div(&b)
                }
            });
            part = self.is_part_before(sign == '/');
        }
        // A power makes another value of what was read.
        let power = self.kind(self.at) == Some(Kind::Operator('^'));
        (!power).then_some(total)
    }

    /// Whether "of" at this place takes a part: of `1/2`, `20%`, `0.3`, or of so many
    /// boxes; "3 of 5" is none.
    fn is_part_before(&self, divided: bool) -> bool {
        let word = |back: usize| self.at >= back && self.word(self.at - back).is_some();
        let unit = word(1) && !word(2);
        let number = self.operands.last();
        divided || unit || number.is_some_and(|number| number.percent || number.decimals > 0)
    }

    fn back_to(&mut self, (at, operands, operations): (usize, usize, usize)) {
        self.at = at;
        self.operands.truncate(operands);
        self.num_operations = operations;
    }

    fn operand(&mut self) -> Value {
        let signed = is_sign_of_number(self.text, self.tokens, self.at, self.end);
        let negative = signed && self.kind(self.at) == Some(Kind::Operator('-'));
        if signed {
            self.at += 1;
        }
        let value = match self.kind(self.at)? {
            Kind::Open => {
                self.depth += 1;
                if self.depth > MAX_DEPTH {
                    return None;
                }
                self.at += 1;
                let value = self.sum()?;
                self.depth -= 1;
                if self.kind(self.at)? != Kind::Close {
                    return None;
                }
                self.at += 1;
                value
            }
            Kind::Number(mut number) => {
                if negative {
                    number.value = -number.value;
                }
                self.operands.push(number);
                self.at += 1;
                let hundredths = number.percent && self.percent == Percent::Hundredths;
                Some(if hundredths {
                    number.value / Ratio::from_integer(100)
                } else {
                    number.value
                })
            }
            _ => return None,
        };
        self.skip_units();
        Some(value)
    }

    /// Passes over units where a sign or the end of the side follows them.
    fn skip_units(&mut self) {
        let mut at = self.at;
        let mut num_words = 0;
        loop {
            // "5 boxes of 12" multiplies, and so ends the unit.
            let operator = self.operator(at, num_words == 1);
            if operator.is_some() && self.kind(at) == Some(Kind::Word) {
                break;
            }
            let unit = self.word(at).is_some_and(|word| is_unit(word, self.touches(at)));
            if !unit || num_words == MOST_UNIT_WORDS {
                break;
            }
            at += 1;
            num_words += 1;
        }
        let goes_on = match self.kind(at) {
            None | Some(Kind::Close | Kind::Operator(_)) => true,
            _ => self.operator(at, num_words == 1).is_some(),
        };
        if goes_on {
            self.units |= at > self.at;
            self.at = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::token::tokens;
    use super::*;

    fn value(text: &str) -> Option<(i128, i128)> {
        let tokens = tokens(text);
        let side = Side::whole(text, &tokens, 0, tokens.len())?;
        side.value.map(|value| (*value.numer(), *value.denom()))
    }

    #[test]
    fn units_and_words_are_read_over() {
        for (text, top, bottom) in [
            ("5 hours * $12/hour", 60, 1),
            ("2 ten-pound bags", 2, 1),
            ("20% of 50", 10, 1),
            ("1/2 of the 30", 15, 1),
            ("5 boxes of 12 pens + 3 pens", 63, 1),
            ("3 times 4 plus 2", 14, 1),
            ("2(3+4)", 14, 1),
            ("-$5 + 8", 3, 1),
            ("10 - -4", 14, 1),
            ("(3 dogs + 4 cats) x 2", 14, 1),
            (r"\frac{3}{4} \times 2", 3, 2),
            ("100% - 20%", 4, 5),
            ("60 miles per hour x 2 hours", 120, 1),
        ] {
            assert_eq!(value(text), Some((top, bottom)), "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_none() {
        for text in [
            "",
            "apples",
            "3 of 5",
            "2 +",
            "2x + 5",
            "3^2",
            "5 and 6 * 2",
            "4 more than 5 * 2",
            "(2",
            "2n * 3",
            "2L + 4",
            "1Ann + 2",
            "3 million * 2",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
        assert_eq!(value(&"(".repeat(10_000)), None);
        assert_eq!(value("1 / 0"), None);
    }

    #[test]
    fn an_expression_ends_a_sentence_that_does_not_belong_to_it() {
        let found = |text: &str| {
            let tokens = tokens(text);
            Side::suffix(text, &tokens, 0, tokens.len()).and_then(|side| side.value)
        };
        for text in ["Ann's 3 bags hold a total of 4 * 5", "So she has (4 * 5", "20 is 4 * 5"] {
            assert_eq!(found(text), Some(Ratio::from_integer(20)), "{text}");
        }
        for text in [
            "x + 4 * 5",
            "x + (4 * 5",
            "rent + Ann's 4 * 5",
            "1 and 1/4",
            "x-4 * 5",
            "half of 4 * 5",
            "twice 4 * 5",
            "the cost - 4 * 5",
            "3 4 * 5",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
