//! Equality of answers: as numbers, as points, or else as words. There is no credit for
//! an answer that merely contains the right one.

use num_rational::Ratio;

/// An answer in normal form.
#[derive(Debug, PartialEq, Eq)]
enum Normal {
    Number(Ratio<i128>),
    Point(Vec<Ratio<i128>>),
    Words(String),
}

/// Whether two answers are the same: numbers as exact rationals (`0.5` is `1/2`, `1,200`
/// is `1200`), points by their coordinates, anything else without regard to case, white
/// space at the ends and a final full stop.
pub fn answers_equal(left: &str, right: &str) -> bool {
    let (left, right) = (normal(left), normal(right));
    left == right && left != Normal::Words(String::new())
}

fn normal(text: &str) -> Normal {
    let text = text.trim();
    let text = text.strip_suffix('.').unwrap_or(text).trim_end();
    if let Some(number) = number(text) {
        return Normal::Number(number);
    }
    let inside = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    if let Some(point) =
        inside.and_then(|inside| inside.split(',').map(|part| number(part.trim())).collect())
    {
        return Normal::Point(point);
    }
    Normal::Words(text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" "))
}

/// A number: a sign, digits with or without thousands commas, decimals, or a fraction of
/// two such.
pub(crate) fn number(text: &str) -> Option<Ratio<i128>> {
    if let Some((top, bottom)) = text.split_once('/') {
        let (top, bottom) = (decimal(top.trim())?, decimal(bottom.trim())?);
        return (bottom != Ratio::from_integer(0)).then(|| top / bottom);
    }
    decimal(text)
}

fn decimal(text: &str) -> Option<Ratio<i128>> {
    // 12 digits keep every product and quotient of two far inside 128 bits.
    const MOST_DIGITS: usize = 12;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = without_thousands(whole)?;
    let has_point = digits.contains('.');
    let all_digits = whole.bytes().chain(decimals.bytes()).all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || (has_point && decimals.is_empty())
        || !all_digits
        || whole.len() + decimals.len() > MOST_DIGITS
    {
        return None;
    }
    let value: i128 = format!("{whole}{decimals}").parse().ok()?;
    let value = if negative { -value } else { value };
    Some(Ratio::new(value, 10_i128.pow(decimals.len() as u32)))
}

/// Takes commas out where they stand before every third digit; nothing where they are
/// misplaced.
fn without_thousands(whole: &str) -> Option<String> {
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default();
    let mut digits = first.to_owned();
    for group in groups {
        if group.len() != 3 || first.is_empty() || first.len() > 3 {
            return None;
        }
        digits.push_str(group);
    }
    Some(digits)
}

#[cfg(test)]
mod tests {
    use super::answers_equal;

    #[test]
    fn equal_values_in_other_clothes_are_equal() {
        for (left, right) in [
            ("42", " 42. "),
            ("0.5", "1/2"),
            ("1,200", "1200"),
            ("-3", "-3.0"),
            ("(5, 7)", "(5,7)"),
            ("Ann", " ann"),
            ("north", "North."),
        ] {
            assert!(answers_equal(left, right), "{left} {right}");
        }
    }

    #[test]
    fn there_is_no_credit_for_a_part() {
        for (left, right) in [
            ("42", "142"),
            ("42", "42 apples"),
            ("Ann", "Ann or Bob"),
            ("(5, 7)", "(7, 5)"),
            ("(5, 7)", "5, 7, 9"),
            ("", ""),
            ("1,2", "12"),
            ("1/0", "2/0"),
            ("5", "5-"),
        ] {
            assert!(!answers_equal(left, right), "{left} {right}");
        }
    }
}
