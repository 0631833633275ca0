//! Where the operands of an equation may come from: the question, an earlier result, or
//! what everyone knows.

use std::collections::HashSet;

use num_rational::Ratio;
use num_traits::CheckedSub;

use super::token::{Kind, Number, tokens};
use crate::check::number::Rational;

/// Numbers that need no source: counts of days, hours, months, inches, eggs, cents; the
/// pair and the half; the whole of a percentage.
const CONSTANTS: [i128; 22] =
    [1, 2, 3, 4, 7, 10, 12, 16, 24, 28, 30, 31, 36, 52, 60, 90, 100, 180, 360, 365, 1000, 3600];

/// Numbers in words.
const WORDS: [(&str, i128, i128); 64] = [
    ("zero", 0, 1),
    ("one", 1, 1),
    ("two", 2, 1),
    ("three", 3, 1),
    ("four", 4, 1),
    ("five", 5, 1),
    ("six", 6, 1),
    ("seven", 7, 1),
    ("eight", 8, 1),
    ("nine", 9, 1),
    ("ten", 10, 1),
    ("eleven", 11, 1),
    ("twelve", 12, 1),
    ("thirteen", 13, 1),
    ("fourteen", 14, 1),
    ("fifteen", 15, 1),
    ("sixteen", 16, 1),
    ("seventeen", 17, 1),
    ("eighteen", 18, 1),
    ("nineteen", 19, 1),
    ("twenty", 20, 1),
    ("thirty", 30, 1),
    ("forty", 40, 1),
    ("fifty", 50, 1),
    ("sixty", 60, 1),
    ("seventy", 70, 1),
    ("eighty", 80, 1),
    ("ninety", 90, 1),
    ("hundred", 100, 1),
    ("thousand", 1000, 1),
    ("million", 1_000_000, 1),
    ("half", 1, 2),
    ("halves", 1, 2),
    ("halved", 1, 2),
    ("third", 1, 3),
    ("thirds", 1, 3),
    ("quarter", 1, 4),
    ("quarters", 1, 4),
    ("fourth", 1, 4),
    ("fourths", 1, 4),
    ("fifth", 1, 5),
    ("fifths", 1, 5),
    ("sixth", 1, 6),
    ("sixths", 1, 6),
    ("seventh", 1, 7),
    ("eighth", 1, 8),
    ("eighths", 1, 8),
    ("ninth", 1, 9),
    ("tenth", 1, 10),
    ("tenths", 1, 10),
    ("once", 1, 1),
    ("twice", 2, 1),
    ("thrice", 3, 1),
    ("double", 2, 1),
    ("doubled", 2, 1),
    ("doubles", 2, 1),
    ("triple", 3, 1),
    ("tripled", 3, 1),
    ("quadruple", 4, 1),
    ("quadrupled", 4, 1),
    ("dozen", 12, 1),
    ("score", 20, 1),
    ("fortnight", 14, 1),
    ("decade", 10, 1),
];

/// The numbers that an operand may be.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    known: HashSet<Rational>,
}

impl Sources {
    /// Those of a question, and those that need no source.
    pub(super) fn of(question: &str) -> Self {
        let mut sources = Self::default();
        for constant in CONSTANTS {
            sources.add(Ratio::from_integer(constant));
        }
        sources.told(question);
        sources
    }

    /// The numbers of a text, in digits and in words.
    pub(super) fn told(&mut self, text: &str) {
        // The tens of a compound such as "twenty-five", or the factor of "two hundred".
        let mut before: Option<(i128, usize)> = None;
        for token in tokens(text) {
            match token.kind {
                Kind::Number(number) => {
                    before = Some((number.value.to_integer(), token.end));
                    self.printed(&number);
                }
                Kind::Word => {
                    let word = text[token.start..token.end].to_lowercase();
                    let Some((value, part)) = of_word(&word) else { continue };
                    self.add(Ratio::new(value, part));
                    self.add(Ratio::from_integer(part));
                    let near = before.filter(|(_, end)| *end + 1 >= token.start);
                    before = Some((value, token.end));
                    let Some((other, _)) = near else { continue };
                    let both = match (value, part) {
                        (1..=9, 1) if other % 10 == 0 => Ratio::from_integer(other + value),
                        (100.. | 12, 1) => Ratio::from_integer(other.saturating_mul(value)),
                        (_, 2..) => Ratio::new(other, part),
                        _ => continue,
                    };
                    before = Some((both.to_integer(), token.end));
                    self.add(both);
                }
                _ => {}
            }
        }
    }

    /// Takes in a number as it is printed.
    pub(super) fn printed(&mut self, number: &Number) {
        self.add(number.value);
        if number.percent {
            self.percentage(number.value);
        }
    }

    /// A percentage also gives what is left of the whole and what it grows to, each as a
    /// number of hundredths too.
    fn percentage(&mut self, value: Rational) {
        let hundred = Ratio::from_integer(100);
        for value in [Some(value), hundred.checked_sub(&value), Some(hundred + value)] {
            let Some(value) = value else { continue };
            self.add(value);
            self.add(value / hundred);
        }
    }

    pub(super) fn add(&mut self, value: Rational) {
        self.known.insert(value);
    }

    /// Whether an operand may come from here.
    pub(super) fn hold(&self, operand: &Number) -> bool {
        let positive =
            if operand.value < Ratio::from_integer(0) { -operand.value } else { operand.value };
        self.known.contains(&operand.value)
            || self.known.contains(&positive)
            || (operand.percent && self.known.contains(&(operand.value / Ratio::from_integer(100))))
            // Cents as dollars.
            || (operand.decimals > 0 && self.known.contains(&(operand.value * Ratio::from_integer(100))))
    }
}

fn of_word(word: &str) -> Option<(i128, i128)> {
    WORDS.iter().find(|(known, ..)| *known == word).map(|&(_, value, part)| (value, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_digits_words_and_shares() {
        let sources = Sources::of(
            "Ann has twenty-five eggs, 30% more than Bob's two hundred; three quarters are gone, \
             half of 1,200 too, at 40 cents each.",
        );
        let known = |top, bottom, percent| {
            sources.hold(&Number {
                value: Ratio::new(top, bottom),
                decimals: 1,
                percent,
                cut: false,
            })
        };
        for (top, bottom) in [
            (25, 1),
            (30, 1),
            (3, 10),
            (13, 10),
            (7, 10),
            (200, 1),
            (3, 4),
            (1, 2),
            (1200, 1),
            (2, 5),
        ] {
            assert!(known(top, bottom, false), "{top}/{bottom}");
        }
        assert!(known(70, 1, true));
        for (top, bottom) in [(26, 1), (201, 1), (13, 1)] {
            assert!(!known(top, bottom, false), "{top}/{bottom}");
        }
    }
}
