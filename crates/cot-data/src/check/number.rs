//! Numbers as they are written: exact rationals with the places they were printed to.

use num_rational::Ratio;
use num_traits::{CheckedAdd, CheckedMul, CheckedSub};

/// An exact number.
pub type Rational = Ratio<i128>;

/// 12 digits keep every product and quotient of two far inside 128 bits.
const MOST_DIGITS: usize = 12;

/// The sum, unless it overflows. Whole numbers, which are most, need no common divisor.
pub(super) fn add(a: Rational, b: Rational) -> Option<Rational> {
    if a.is_integer() && b.is_integer() {
        return a.numer().checked_add(b.numer()).map(Ratio::from_integer);
    }
    a.checked_add(&b)
}

/// The difference, unless it overflows.
pub(super) fn subtract(a: Rational, b: Rational) -> Option<Rational> {
    if a.is_integer() && b.is_integer() {
        return a.numer().checked_sub(b.numer()).map(Ratio::from_integer);
    }
    a.checked_sub(&b)
}

/// The product, unless it overflows.
pub(super) fn multiply(a: Rational, b: Rational) -> Option<Rational> {
    if a.is_integer() && b.is_integer() {
        return a.numer().checked_mul(b.numer()).map(Ratio::from_integer);
    }
    a.checked_mul(&b)
}

/// A number: a sign, digits with or without thousands commas, decimals, or a fraction of
/// two such.
pub(crate) fn number(text: &str) -> Option<Rational> {
    if let Some(value) = whole(text) {
        return Some(value);
    }
    if let Some((top, bottom)) = text.split_once('/') {
        let (top, bottom) = (decimal(top.trim())?, decimal(bottom.trim())?);
        return (bottom != Ratio::from_integer(0)).then(|| top / bottom);
    }
    decimal(text)
}

/// A plain whole number, as nearly all are: nothing but digits, and not too many.
fn whole(text: &str) -> Option<Rational> {
    let digits = text.as_bytes();
    if digits.is_empty() || digits.len() > MOST_DIGITS {
        return None;
    }
    let mut value = 0_i64;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
    }
    Some(Ratio::from_integer(i128::from(value)))
}

/// A number without a fraction bar; its whole part must be written.
pub(super) fn decimal(text: &str) -> Option<Rational> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || (digits.contains('.') && decimals.is_empty()) {
        return None;
    }
    let value = joined(whole, decimals)?;
    Some(if negative { -value } else { value })
}

/// The number of a whole part and its decimals, of which one may be empty.
pub(super) fn joined(whole: &str, decimals: &str) -> Option<Rational> {
    let mut value: i128 = 0;
    let mut num_digits = 0;
    for digit in whole.bytes().filter(|&byte| byte != b',').chain(decimals.bytes()) {
        if !digit.is_ascii_digit() || num_digits == MOST_DIGITS {
            return None;
        }
        num_digits += 1;
        value = value * 10 + i128::from(digit - b'0');
    }
    if num_digits == 0 || !thousands_hold(whole) {
        return None;
    }
    if decimals.is_empty() {
        // Most numbers: no division by a common divisor.
        return Some(Ratio::from_integer(value));
    }
    Some(Ratio::new(value, 10_i128.pow(decimals.len() as u32)))
}

/// Whether commas, if there are any, stand before every third digit.
fn thousands_hold(whole: &str) -> bool {
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default();
    let mut groups = groups.peekable();
    let none = groups.peek().is_none();
    none || ((1..=3).contains(&first.len()) && groups.all(|group| group.len() == 3))
}
