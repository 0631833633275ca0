//! Equality of answers: as numbers, as points, or else as words. There is no credit for
//! an answer that merely contains the right one.

mod algebra;
mod equivalence;
mod extract;
mod formula;
mod latex;
mod value;

pub use equivalence::{Equivalence, equivalence};
pub use extract::{AnswerMark, ExtractedAnswer, extract_answer};

use super::number::{Rational, number};

/// An answer in normal form.
#[derive(Debug, PartialEq, Eq)]
enum Normal {
    Number(Rational),
    Point(Vec<Rational>),
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
    let text = text.strip_suffix(['.', '。']).unwrap_or(text).trim_end();
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
