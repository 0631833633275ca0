//! Dates and months, as Chinese and English write them.

use std::sync::LazyLock;

use regex::Regex;

use crate::check::sheet::pattern;
use crate::check::weekday::MONTHS;

static DATE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^([1-9]\d{0,3})年([1-9]\d?)月([1-9]\d?)日$"));
static MONTH: LazyLock<Regex> = LazyLock::new(|| pattern(r"^([1-9]\d?)月(?:有([1-9]\d?)天)?$"));

fn month(number: &str) -> Option<&'static str> {
    let index = number.parse::<usize>().ok()?.checked_sub(1)?;
    MONTHS.get(index).copied()
}

/// `2024年2月5日`, `2月`, `2月有29天`; nothing where a text is none of them.
pub(super) fn in_english(text: &str) -> Option<String> {
    if let Some(found) = DATE.captures(text) {
        return Some(format!("{} {} {}", &found[3], month(&found[2])?, &found[1]));
    }
    let found = MONTH.captures(text)?;
    let name = month(&found[1])?;
    Some(match found.get(2) {
        Some(length) => format!("{name} {}", length.as_str()),
        None => name.to_owned(),
    })
}

/// `5 February 2024`; nothing where a text is no date.
pub(super) fn in_chinese(text: &str) -> Option<String> {
    let [day, month, year] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    Some(format!("{year}年{month}月{day}日"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_put_into_english_and_back() {
        let date = in_english("2024年2月5日").unwrap();
        assert_eq!(date, "5 February 2024");
        assert_eq!(in_chinese(&date).as_deref(), Some("2024年2月5日"));
        assert_eq!(in_english("12月").as_deref(), Some("December"));
        assert_eq!(in_english("12月有31天").as_deref(), Some("December 31"));
        for text in ["2024年02月5日", "2024年13月5日", "2月5日", "0月", "5天"] {
            assert_eq!(in_english(text), None, "{text}");
        }
        assert_eq!(in_chinese("5 apples 2"), None);
    }
}
