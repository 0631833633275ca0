//! Dates, by counting on from one day to the next; weekdays by Sakamoto's table.

use std::sync::LazyLock;

use regex::Regex;

use super::sheet::pattern;
use crate::language::Language;

static ENGLISH: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(Mon|Tue|Wed|Thu|Fri|Sat|Sun) (\d{4})-(\d\d)-(\d\d)$"));
static CHINESE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(\d{4})年(\d{1,2})月(\d{1,2})日(周[一二三四五六日])$"));

/// Names of the weekdays from Sunday on.
const NAMES: [[&str; 2]; 7] = [
    ["Sun", "周日"],
    ["Mon", "周一"],
    ["Tue", "周二"],
    ["Wed", "周三"],
    ["Thu", "周四"],
    ["Fri", "周五"],
    ["Sat", "周六"],
];

/// A day of the Gregorian calendar; ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Date {
    year: u32,
    month: u32,
    day: u32,
}

fn length(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl Date {
    /// Reads a date with its weekday. Outer nothing: it is none. Inner nothing: there is no
    /// such day, or its weekday is another.
    #[expect(
        clippy::option_option,
        reason = "a line with a day that is none is wrong, not unknown"
    )]
    pub(super) fn read(text: &str, language: Language) -> Option<Option<Self>> {
        let (found, [name, year, month, day]) = match language {
            Language::En => (ENGLISH.captures(text)?, [1, 2, 3, 4]),
            Language::Zh => (CHINESE.captures(text)?, [4, 1, 2, 3]),
        };
        let part = |group: usize| found[group].parse::<u32>().ok();
        let date = Self { year: part(year)?, month: part(month)?, day: part(day)? };
        let exists = (1..=12).contains(&date.month)
            && (1..=length(date.year, date.month)).contains(&date.day)
            && date.year >= 1583;
        Some((exists && date.weekday(language) == &found[name]).then_some(date))
    }

    pub(super) fn next(self) -> Self {
        let Self { year, month, day } = self;
        if day < length(year, month) {
            Self { day: day + 1, ..self }
        } else if month < 12 {
            Self { year, month: month + 1, day: 1 }
        } else {
            Self { year: year + 1, month: 1, day: 1 }
        }
    }

    pub(super) fn after(self, days: u32) -> Self {
        (0..days).fold(self, |date, _| date.next())
    }

    /// The same day of the month some months later, else that month's last.
    pub(super) fn months_after(self, months: u32) -> Self {
        let (mut year, mut month) = (self.year, self.month);
        for _ in 0..months {
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
        Self { year, month, day: self.day.min(length(year, month)) }
    }

    /// From 0 for Sunday.
    fn weekday_number(self) -> u32 {
        const SHIFTS: [u32; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let year = if self.month < 3 { self.year - 1 } else { self.year };
        let shift = SHIFTS[self.month as usize - 1];
        (year + year / 4 - year / 100 + year / 400 + shift + self.day) % 7
    }

    pub(super) fn is_weekend(self) -> bool {
        matches!(self.weekday_number(), 0 | 6)
    }

    pub(super) fn weekday(self, language: Language) -> &'static str {
        NAMES[self.weekday_number() as usize][usize::from(language == Language::Zh)]
    }

    pub(super) fn written(self, language: Language) -> String {
        let Self { year, month, day } = self;
        let weekday = self.weekday(language);
        match language {
            Language::En => format!("{weekday} {year:04}-{month:02}-{day:02}"),
            Language::Zh => format!("{year}年{month}月{day}日{weekday}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_that_do_not_exist_are_found() {
        let read = |text| Date::read(text, Language::En);
        assert!(read("Thu 2024-02-29").unwrap().is_some());
        for text in ["Wed 2023-02-29", "Fri 2024-02-29", "Thu 2024-13-01", "Sun 1900-02-29"] {
            assert_eq!(read(text), Some(None), "{text}");
        }
        assert_eq!(read("2024-02-29"), None);
        let last = Date::read("2023年12月31日周日", Language::Zh).unwrap().unwrap();
        assert_eq!(last.next().written(Language::Zh), "2024年1月1日周一");
        assert_eq!(last.months_after(2).written(Language::En), "Thu 2024-02-29");
        assert_eq!(last.after(366).written(Language::En), "Tue 2024-12-31");
    }
}
