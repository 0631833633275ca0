//! What an answer says: a number with a unit, a list, a choice, a word.

use num_rational::Ratio;

use super::latex;
use crate::check::number::{Rational, decimal};

/// A number and what stands around it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantity {
    pub(super) value: Rational,
    pub(super) percent: bool,
    /// A currency or the words of a unit; empty where there are none.
    pub(super) unit: String,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(Quantity),
    /// `(1, 2)`.
    Tuple(Vec<Value>),
    /// `[1, 2)`: whether each end belongs to it, and the ends; `∞` is a word. With both
    /// ends open it reads as a tuple.
    Interval(bool, Box<[Value; 2]>, bool),
    /// `{1, 2}`, or a bare list; in no order.
    Set(Vec<Value>),
    /// The letter of a choice.
    Choice(char),
    /// One word, such as yes or a name.
    Word(String),
    /// Anything else that has a text.
    Text(String),
}

const CURRENCIES: [(&str, &str); 8] = [
    ("$", "dollar"),
    ("€", "euro"),
    ("£", "pound"),
    ("usd", "dollar"),
    ("dollars", "dollar"),
    ("dollar", "dollar"),
    ("euros", "euro"),
    ("pounds sterling", "pound"),
];

/// The value of an answer's text; nothing where it is empty.
pub(super) fn value(text: &str) -> Option<Value> {
    let plain = latex::plain(text);
    let text = plain.trim().trim_end_matches(['.', '!']).trim();
    let text = match text.split_once('=') {
        // `x = 5`
        Some((name, rest)) if name.trim().len() == 1 && !rest.contains('=') => rest.trim(),
        _ => text,
    };
    of_plain(text, true)
}

fn of_plain(text: &str, lists: bool) -> Option<Value> {
    let text = text.trim();
    let first = text.chars().next()?;
    if let Some(letter) = choice(text) {
        return Some(Value::Choice(letter));
    }
    if lists {
        let last = text.chars().next_back()?;
        let inside = text.get(first.len_utf8()..text.len().saturating_sub(last.len_utf8()));
        match (first, last, inside) {
            ('(' | '[', ')' | ']', Some(inside)) => {
                if let Some(parts) = parts(inside) {
                    return Some(brackets(first, parts, last));
                }
            }
            ('{', '}', Some(inside)) => {
                let parts = parts(inside).or_else(|| Some(vec![of_plain(inside, false)?]))?;
                return Some(Value::Set(parts));
            }
            _ => {}
        }
    }
    if let Some(quantity) = quantity(text) {
        return Some(Value::Number(quantity));
    }
    if lists && let Some(parts) = parts(text) {
        let numbers = parts.iter().all(|part| matches!(part, Value::Number(_)));
        if numbers {
            return Some(Value::Set(parts));
        }
    }
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let joined = words.join(" ");
    let word = words.len() == 1 && joined.chars().all(|next| next.is_alphanumeric() || next == '∞');
    Some(if word { Value::Word(joined) } else { Value::Text(joined) })
}

fn brackets(first: char, mut parts: Vec<Value>, last: char) -> Value {
    let closed = (first == '[', last == ']');
    if parts.len() == 2 && closed != (false, false) {
        let (Some(high), Some(low)) = (parts.pop(), parts.pop()) else { return Value::Set(parts) };
        return Value::Interval(closed.0, Box::new([low, high]), closed.1);
    }
    Value::Tuple(parts)
}

/// The parts of a list with commas, at least two.
fn parts(text: &str) -> Option<Vec<Value>> {
    // `1,200` is one number.
    if decimal(text.trim()).is_some() {
        return None;
    }
    let parts: Vec<Value> =
        text.split([',', ';']).map(|part| of_plain(part, false)).collect::<Option<_>>()?;
    (parts.len() > 1).then_some(parts)
}

/// A choice: `B`, `(b)`, `B)`, `B.`; a lone small letter may be a variable.
fn choice(text: &str) -> Option<char> {
    let bare = text.trim_start_matches('(').trim_end_matches([')', '.', ':']);
    let marked = bare.len() < text.len() && text.ends_with([')', '.', ':']);
    let mut letters = bare.chars();
    let letter = letters.next().filter(char::is_ascii_alphabetic)?;
    let alone = letters.next().is_none();
    let in_range = letter.to_ascii_uppercase() <= 'J';
    (alone && in_range && (marked || letter.is_ascii_uppercase()))
        .then(|| letter.to_ascii_uppercase())
}

/// A number with a currency, a percent sign or a unit.
fn quantity(text: &str) -> Option<Quantity> {
    let (negative, text) = match text.strip_prefix(['-', '−']) {
        Some(rest) => (true, rest.trim_start()),
        None => (false, text),
    };
    let sign = CURRENCIES.iter().find(|(sign, _)| {
        text.starts_with(sign) && !sign.is_ascii() || sign == &"$" && text.starts_with('$')
    });
    let rest = sign.map_or(text, |(sign, _)| text[sign.len()..].trim_start());
    let length = rest
        .find(|next: char| !(next.is_ascii_digit() || matches!(next, '.' | ',' | '/' | ' ' | '-')))
        .unwrap_or(rest.len());
    let (number, unit) = rest.split_at(length);
    let mut value = rational(number.trim().trim_end_matches('-').trim_end())?;
    if negative {
        value = -value;
    }
    let (percent, unit) = match unit.strip_prefix('%').or_else(|| unit.strip_prefix("percent")) {
        Some(rest) => (true, rest),
        None => (false, unit),
    };
    let unit = unit.trim().to_lowercase();
    // Another number behind the unit makes it no quantity: "3 or 4".
    if unit.bytes().any(|byte| byte.is_ascii_digit())
        || [" or ", " and "].iter().any(|word| format!(" {unit} ").contains(word))
    {
        return None;
    }
    if !unit.is_empty() && !unit.starts_with(|first: char| first.is_alphabetic() || first == '°') {
        return None;
    }
    let unit = match (sign, unit.as_str()) {
        (Some((_, name)), "") => (*name).to_owned(),
        (_, unit) => CURRENCIES
            .iter()
            .find(|(known, _)| *known == unit)
            .map_or_else(|| unit.to_owned(), |(_, name)| (*name).to_owned()),
    };
    Some(Quantity { value, percent, unit })
}

/// `1,200.5`, `.5`, `1/2` or `2 1/2`.
fn rational(text: &str) -> Option<Rational> {
    let text = text.trim().trim_end_matches([',', '.']);
    if let Some((top, bottom)) = text.split_once('/') {
        let (whole, top) = match top.trim().split_once(' ') {
            Some((whole, top)) => (decimal(whole)?, top),
            None => (Ratio::from_integer(0), top),
        };
        let (top, bottom) = (decimal(top.trim())?, decimal(bottom.trim())?);
        return (bottom != Ratio::from_integer(0)).then(|| whole + top / bottom);
    }
    match text.strip_prefix('.') {
        Some(_) => decimal(&format!("0{text}")),
        None => decimal(text),
    }
}
