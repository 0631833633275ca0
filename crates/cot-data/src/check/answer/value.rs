//! What an answer says: a number with a unit, a formula, a list, a choice, a word.

use num_rational::Ratio;

use super::algebra::Formula;
use super::formula::formula;
use super::latex;
use crate::check::number::{Rational, decimal};

/// How deep lists may nest.
const MAX_DEPTH: usize = 4;

/// A number and what stands around it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Quantity {
    pub(super) value: Rational,
    /// Digits behind the decimal point, as written.
    pub(super) places: usize,
    pub(super) percent: bool,
    /// A currency or the words of a unit; empty where there are none.
    pub(super) unit: String,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Number(Quantity),
    /// With roots, variables or operations.
    Formula(Formula),
    /// `x = 5`: the variable and its value.
    Named(String, Box<Value>),
    /// `2x + 3y = 6`, as what is 0.
    Equation(Formula),
    /// `1 < x ≤ 2`: the variable and its interval.
    Range(String, Box<Value>),
    /// `(1, 2)`.
    Tuple(Vec<Value>),
    /// `[1, 2)`: whether each end belongs to it, and the ends; `∞` is a word. With both
    /// ends open it reads as a tuple, but in a range.
    Interval(bool, Box<[Value; 2]>, bool),
    /// `{1, 2}`, or a bare list; in no order.
    Set(Vec<Value>),
    /// `[1, 2] ∪ [4, 5]`.
    Union(Vec<Value>),
    /// Rows of a matrix.
    Matrix(Vec<Vec<Value>>),
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
    whole(text).or_else(|| of_plain(text, 0))
}

/// What only a whole answer can be; nothing where it is none of it.
fn whole(text: &str) -> Option<Value> {
    if let Some(rows) = matrix(text) {
        return Some(Value::Matrix(rows));
    }
    if let Some((name, set)) = text.split_once('∈') {
        return variable(name).and_then(|_| of_plain(set, 0));
    }
    if text.contains('∪') {
        let parts: Option<Vec<Value>> = text.split('∪').map(|part| of_plain(part, 1)).collect();
        return parts.map(Value::Union);
    }
    if text.contains(['<', '>', '≤', '≥']) {
        return range(text);
    }
    let (left, right) = text.split_once('=')?;
    if right.contains('=') {
        return None;
    }
    if let Some(name) = variable(left) {
        return Some(Value::Named(name, Box::new(of_plain(right, 0)?)));
    }
    let difference = formula(left)?.plus(&formula(right)?.negative())?;
    Some(Value::Equation(difference))
}

/// A variable's name, or a function's with its variable: `x`, `x_1`, `f(x)`.
fn variable(text: &str) -> Option<String> {
    let name: String = text.split_whitespace().collect();
    let mut letters = name.chars();
    letters.next().filter(|first| first.is_alphabetic())?;
    let rest = letters.as_str();
    let inside = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let index = rest.strip_prefix('_').map(|index| index.trim_matches(['{', '}']));
    let short = |text: &str| {
        (1..=2).contains(&text.chars().count()) && text.chars().all(char::is_alphanumeric)
    };
    (rest.is_empty() || inside.is_some_and(short) || index.is_some_and(short)).then_some(name)
}

/// `1 < x ≤ 2`, `x > 1` and their like, with one variable.
fn range(text: &str) -> Option<Value> {
    let text = text.replace("<=", "≤").replace(">=", "≥");
    let signs: Vec<char> = text.chars().filter(|next| "<>≤≥".contains(*next)).collect();
    let parts: Vec<&str> = text.split(['<', '>', '≤', '≥']).map(str::trim).collect();
    let rises = |sign: char| matches!(sign, '<' | '≤');
    let closed = |sign: char| matches!(sign, '≤' | '≥');
    let far = |negative: bool| of_plain(if negative { "-∞" } else { "∞" }, MAX_DEPTH);
    let end = |text: &str| of_plain(text, MAX_DEPTH);
    let (name, low, high) = match (parts.as_slice(), signs.as_slice()) {
        ([low, middle, high], [first, second]) if rises(*first) == rises(*second) => {
            let ends = ((end(low)?, closed(*first)), (end(high)?, closed(*second)));
            let (low, high) = if rises(*first) { ends } else { (ends.1, ends.0) };
            (variable(middle)?, low, high)
        }
        ([left, right], [sign]) => {
            let (name, other, below) = match variable(left) {
                Some(name) => (name, right, rises(*sign)),
                None => (variable(right)?, left, !rises(*sign)),
            };
            let (given, open) = ((end(other)?, closed(*sign)), (far(below)?, false));
            if below { (name, open, given) } else { (name, given, open) }
        }
        _ => return None,
    };
    let interval = Value::Interval(low.1, Box::new([low.0, high.0]), high.1);
    Some(Value::Range(name, Box::new(interval)))
}

/// The rows of a LaTeX matrix, in whatever brackets.
fn matrix(text: &str) -> Option<Vec<Vec<Value>>> {
    const KINDS: [&str; 4] = ["{pmatrix}", "{bmatrix}", "{Bmatrix}", "{matrix}"];
    let rest = text.strip_prefix("\\begin")?;
    let kind = KINDS.into_iter().find(|kind| rest.starts_with(kind))?;
    let inside = rest[kind.len()..].strip_suffix(kind)?.strip_suffix("\\end")?;
    let inside = inside.trim().trim_end_matches(';');
    inside
        .split(';')
        .map(|row| row.split('&').map(|cell| of_plain(cell, MAX_DEPTH)).collect())
        .collect()
}

fn of_plain(text: &str, depth: usize) -> Option<Value> {
    let text = text.trim();
    let first = text.chars().next()?;
    let lists = depth < MAX_DEPTH;
    if let Some(letter) = choice(text) {
        return Some(Value::Choice(letter));
    }
    if lists {
        let last = text.chars().next_back()?;
        let inside = text.get(first.len_utf8()..text.len().saturating_sub(last.len_utf8()));
        match (first, last, inside) {
            ('(' | '[', ')' | ']', Some(inside)) if is_group(inside) => {
                if let Some(parts) = parts(inside, depth) {
                    return Some(brackets(first, parts, last));
                }
            }
            ('{', '}', Some(inside)) if is_group(inside) => {
                let parts =
                    parts(inside, depth).or_else(|| Some(vec![of_plain(inside, MAX_DEPTH)?]))?;
                return Some(Value::Set(parts));
            }
            _ => {}
        }
    }
    if let Some(quantity) = quantity(text) {
        return Some(Value::Number(quantity));
    }
    if depth == 0 {
        if let Some(both) = plus_minus(text) {
            return Some(Value::Set(both));
        }
        if let Some(parts) = parts(text, depth) {
            let words = |part: &Value| matches!(part, Value::Text(_) | Value::Word(_));
            if !parts.iter().any(words) {
                return Some(Value::Set(parts));
            }
        }
    }
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let joined = words.join(" ");
    let word = words.len() == 1 && joined.chars().all(|next| next.is_alphanumeric() || next == '∞');
    if word && !joined.contains(|next: char| next.is_ascii_digit()) {
        return Some(Value::Word(joined));
    }
    if let Some(formula) = formula(text) {
        return Some(Value::Formula(formula));
    }
    Some(if word { Value::Word(joined) } else { Value::Text(joined) })
}

/// Whether the brackets around a text belong together, and not to two groups.
fn is_group(inside: &str) -> bool {
    let mut open = 0_usize;
    inside.bytes().all(|byte| match byte {
        b'(' | b'[' | b'{' => {
            open += 1;
            true
        }
        b')' | b']' | b'}' if open == 0 => false,
        b')' | b']' | b'}' => {
            open -= 1;
            true
        }
        _ => true,
    })
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
fn parts(text: &str, depth: usize) -> Option<Vec<Value>> {
    // `1,200` is one number.
    if !text.contains([',', ';']) || decimal(text.trim()).is_some() {
        return None;
    }
    let mut open = 0_usize;
    let split = text.split(|next: char| {
        match next {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        open == 0 && matches!(next, ',' | ';')
    });
    let parts: Vec<Value> = split.map(|part| of_plain(part, depth + 1)).collect::<Option<_>>()?;
    (parts.len() > 1).then_some(parts)
}

/// Both values of what holds one `±`.
fn plus_minus(text: &str) -> Option<Vec<Value>> {
    let (before, after) = text.split_once('±')?;
    if after.contains('±') {
        return None;
    }
    let both = ["+", "-"].map(|sign| {
        let sign = if before.trim().is_empty() && sign == "+" { "" } else { sign };
        of_plain(&format!("{before}{sign}{after}"), MAX_DEPTH)
    });
    both.into_iter().collect()
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
    let number = number.trim().trim_end_matches('-').trim_end();
    let mut value = rational(number)?;
    if negative {
        value = -value;
    }
    let places = match number.rsplit_once('.') {
        Some((_, decimals)) if !number.contains('/') => decimals.len(),
        _ => 0,
    };
    let (percent, unit) = match unit.strip_prefix('%').or_else(|| unit.strip_prefix("percent")) {
        Some(rest) => (true, rest),
        None => (false, unit),
    };
    // `5x` is a product; `5m` is a length.
    let mut letters = unit.chars();
    let variable = letters.next().is_some_and(|first| "abeiknpqrtuvwxyz".contains(first));
    if variable
        && !letters.next().is_some_and(char::is_alphabetic)
        && !rest[..length].ends_with(' ')
    {
        return None;
    }
    let unit = unit.trim().to_lowercase();
    // A square or cubic one.
    let base = ["^2", "^3", "^{2}", "^{3}", "²", "³"]
        .into_iter()
        .find_map(|power| unit.strip_suffix(power))
        .unwrap_or(&unit);
    // Another number behind the unit makes it no quantity: "3 or 4".
    if base.bytes().any(|byte| byte.is_ascii_digit())
        || base.contains(['+', '*', '^', '=', '<', '>', '±', '(', '\\', '{', '√', ':'])
        || [" or ", " and "].iter().any(|word| format!(" {base} ").contains(word))
    {
        return None;
    }
    if !unit.is_empty() && !unit.starts_with(|first: char| first.is_alphabetic() || first == '°') {
        return None;
    }
    if unit.starts_with(['π', '∞']) {
        return None;
    }
    let unit = match (sign, unit.as_str()) {
        (Some((_, name)), "") => (*name).to_owned(),
        (_, unit) => CURRENCIES.iter().find(|(known, _)| *known == unit).map_or_else(
            || unit.replace(['{', '}'], "").replace('²', "^2").replace('³', "^3"),
            |(_, name)| (*name).to_owned(),
        ),
    };
    Some(Quantity { value, places, percent, unit })
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
