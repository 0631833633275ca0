//! Days as numbers, and how they are written: Hinnant's "chrono-compatible low-level date
//! algorithms".

use crate::language::Language;

const WEEKDAYS: [[&str; 2]; 7] = [
    ["Mon", "周一"],
    ["Tue", "周二"],
    ["Wed", "周三"],
    ["Thu", "周四"],
    ["Fri", "周五"],
    ["Sat", "周六"],
    ["Sun", "周日"],
];

/// A day, by its number from 1970-01-01, a Thursday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Day(pub(super) i64);

impl Day {
    pub(super) fn of(year: i64, month: i64, day: i64) -> Self {
        // Years begin in March, so that a leap day comes last.
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        Self(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
    }

    /// Year, month and day.
    pub(super) fn civil(self) -> (i64, i64, i64) {
        let shifted = self.0 + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let place = (5 * of_year + 2) / 153;
        let month = if place < 10 { place + 3 } else { place - 9 };
        let day = of_year - (153 * place + 2) / 5 + 1;
        (year + era * 400 + i64::from(month <= 2), month, day)
    }

    /// From 0 for Monday.
    fn weekday(self) -> usize {
        (self.0 + 3).rem_euclid(7) as usize
    }

    pub(super) fn is_weekend(self) -> bool {
        self.weekday() >= 5
    }

    pub(super) fn after(self, days: i64) -> Self {
        Self(self.0 + days)
    }

    /// The same day some months later, or the last of that month where it has none such.
    pub(super) fn months_after(self, months: i64) -> Self {
        let (year, month, day) = self.civil();
        let place = month - 1 + months;
        let (year, month) = (year + place.div_euclid(12), place.rem_euclid(12) + 1);
        Self::of(year, month, day.min(month_length(year, month)))
    }

    pub(super) fn weekday_name(self, language: Language) -> &'static str {
        WEEKDAYS[self.weekday()][usize::from(language == Language::Zh)]
    }

    pub(super) fn written(self, language: Language) -> String {
        let ((year, month, day), weekday) = (self.civil(), self.weekday_name(language));
        match language {
            Language::En => format!("{weekday} {year}-{month:02}-{day:02}"),
            Language::Zh => format!("{year}年{month}月{day}日{weekday}"),
        }
    }

    /// Steps of so many days that each stay in a month or enter the next on its first.
    pub(super) fn steps(self, days: i64) -> Vec<i64> {
        let (mut day, mut left) = (self, days);
        let mut steps = Vec::new();
        while left > 0 {
            let (year, month, of_month) = day.civil();
            let step = match month_length(year, month) - of_month {
                0 => 1,
                room => room.min(left),
            };
            steps.push(step);
            day = day.after(step);
            left -= step;
        }
        steps
    }
}

fn month_length(year: i64, month: i64) -> i64 {
    let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    Day::of(next_year, next, 1).0 - Day::of(year, month, 1).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_through_leap_years_and_month_ends() {
        assert_eq!(Day::of(1970, 1, 1), Day(0));
        assert_eq!(Day::of(2000, 3, 1).0 - Day::of(2000, 2, 28).0, 2);
        assert_eq!(Day::of(1900, 3, 1).0 - Day::of(1900, 2, 28).0, 1);
        for number in -200_000..200_000 {
            let (year, month, day) = Day(number).civil();
            assert_eq!(Day::of(year, month, day), Day(number));
        }
        let leap = Day::of(2024, 2, 27);
        assert_eq!(leap.written(Language::En), "Tue 2024-02-27");
        assert_eq!(leap.written(Language::Zh), "2024年2月27日周二");
        assert_eq!(leap.steps(14), [2, 1, 11]);
        assert_eq!(Day::of(2024, 1, 31).months_after(1), Day::of(2024, 2, 29));
        assert_eq!(Day::of(2023, 12, 31).months_after(2), Day::of(2024, 2, 29));
    }
}
