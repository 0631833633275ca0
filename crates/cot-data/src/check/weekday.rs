//! Dates and weekdays: dates are counted in days from a fixed one, so that to shift one is
//! to add and the days between two are a difference (Hinnant, "chrono-compatible low-level
//! date algorithms").

use super::label::{ItemLine, items, other_lines};
use super::worked::{Claim, result};
use super::{LineChecks, Reading, StepVerdict};

const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// How a question begins.
const OPENINGS: [&str; 6] = [
    "Today is ",
    "It is ",
    "The date is ",
    "We start on ",
    "#Q How many days is it from ",
    "#Q How many days after ",
];

/// Year, month from 1, day.
type Date = (i64, i64, i64);

/// Days from 1 March of the year 0.
fn day_number((year, month, day): Date) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
}

fn date_of(number: i64) -> Date {
    let (era, day) = (number.div_euclid(146_097), number.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = (shifted + 2) % 12 + 1;
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

fn length((year, month, _): Date) -> i64 {
    let next = if month == 12 { (year + 1, 1, 1) } else { (year, month + 1, 1) };
    day_number(next) - day_number((year, month, 1))
}

fn date(text: &str) -> Option<Date> {
    let [day, month, year] = text.split(' ').collect::<Vec<_>>()[..] else { return None };
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let date = (year.parse().ok()?, month, day.parse().ok()?);
    ((1..=9999).contains(&date.0) && (1..=length(date)).contains(&date.2)).then_some(date)
}

fn date_text((year, month, day): Date) -> String {
    format!("{day} {} {year}", MONTHS[(month - 1) as usize])
}

fn weekday(text: &str) -> Option<i64> {
    WEEKDAYS.iter().position(|name| *name == text).map(|index| index as i64)
}

/// Days that pass.
struct Shift {
    label: char,
    text: String,
    count: i64,
    /// Days of one of those counted, 1 or 7.
    unit: i64,
    sign: i64,
}

/// Where a question starts.
enum Start {
    Weekday(i64),
    Date(Date),
    Between { text: String, from: Date, to: Date },
}

struct Question {
    start: Start,
    shifts: Vec<Shift>,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    // Cheap for the questions of others, which come here too.
    if !OPENINGS.iter().any(|words| question.starts_with(words)) {
        return None;
    }
    let told = items(question)?;
    if let [item] = told.as_slice()
        && item.label == 'Q'
    {
        let text = item.text.strip_suffix('?')?;
        let dates = text
            .strip_prefix("How many days is it from ")
            .and_then(|dates| dates.split_once(" to "))
            .or_else(|| text.strip_prefix("How many days after ")?.split_once(" is "))?;
        let start =
            Start::Between { text: text.to_owned(), from: date(dates.0)?, to: date(dates.1)? };
        return Some(Box::new(Question { start, shifts: Vec::new() }));
    }
    let opening = other_lines(question).next()?.strip_suffix('.')?;
    let start = if let Some(name) =
        opening.strip_prefix("Today is ").or_else(|| opening.strip_prefix("It is "))
    {
        Start::Weekday(weekday(name)?)
    } else {
        let rest = opening
            .strip_prefix("The date is ")
            .or_else(|| opening.strip_prefix("We start on "))?;
        Start::Date(date(rest)?)
    };
    let mut shifts = Vec::new();
    for item in told {
        let [count, unit, way] = item.text.split(' ').collect::<Vec<_>>()[..] else {
            return None;
        };
        let count: i64 = count.parse().ok().filter(|count| (0..=10_000).contains(count))?;
        let unit = match unit {
            "days" => 1,
            "weeks" => 7,
            _ => return None,
        };
        let sign = match way {
            "later" => 1,
            "before" => -1,
            _ => return None,
        };
        shifts.push(Shift { label: item.label, text: item.text.to_owned(), count, unit, sign });
    }
    (!shifts.is_empty()).then(|| Box::new(Question { start, shifts }) as _)
}

impl Shift {
    fn days(&self) -> i64 {
        self.sign * self.count * self.unit
    }

    /// The parts of a line after the one that makes weeks into days, and whether that one
    /// holds.
    fn after_weeks<'a>(&self, parts: &'a [&'a str]) -> Option<(bool, &'a [&'a str])> {
        if self.unit == 1 {
            return Some((true, parts));
        }
        let (first, rest) = parts.split_first()?;
        Some((value(first, &format!("{}*7", self.count))? == Some(self.count * 7), rest))
    }
}

/// What an equality chain comes to, as [`result`].
fn value(chain: &str, first: &str) -> Claim<i64> {
    Some(result(chain, first)?.and_then(|value| i64::try_from(value).ok()))
}

/// Whether the parts of a line lead from a weekday to the last one named, and that.
fn turns(parts: &[&str], from: i64, shift: &Shift) -> Option<(bool, i64)> {
    let (held, parts) = shift.after_weeks(parts)?;
    let (division, named) = parts.split_first()?;
    let names: Vec<i64> = named.iter().map(|name| weekday(name)).collect::<Option<_>>()?;
    let days = shift.days().abs();
    let expected = format!("{days}=7*{}+{}", days / 7, days % 7);
    let steps =
        names.iter().zip(0..).all(|(name, n)| *name == (from + shift.sign * n).rem_euclid(7));
    let held = held && *division == expected && names.len() as i64 == days % 7 + 1 && steps;
    Some((held, *names.last()?))
}

/// Whether the parts of a line lead from a date to the last one, month by month, and that.
fn walks(parts: &[&str], from: Date, shift: &Shift) -> Option<(bool, Date)> {
    let (mut held, parts) = shift.after_weeks(parts)?;
    let (last, parts) = parts.split_last()?;
    let claimed = date(last)?;
    let (first, months) = parts.split_first()?;
    let sign = if shift.sign < 0 { '-' } else { '+' };
    let mut reached = value(first, &format!("{}{sign}{}", from.2, shift.days().abs()))?;
    let (mut year, mut month) = (from.0, from.1);
    for pair in months.chunks(2) {
        let [named, sum] = pair else { return None };
        if shift.sign < 0 {
            (year, month) = if month == 1 { (year - 1, 12) } else { (year, month - 1) };
        }
        let size = length((year, month, 1));
        held &= *named == format!("{} {size}", MONTHS[(month - 1) as usize]);
        held &= reached.is_some();
        let before = reached.unwrap_or(0);
        let sign = if shift.sign < 0 { '+' } else { '-' };
        reached = value(sum, &format!("{before}{sign}{size}"))?;
        if shift.sign > 0 {
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
    }
    held &= reached.is_some_and(|day| claimed == (year, month, day));
    Some((held, claimed))
}

/// Judges the parts of a line, from a state, by the shift that it must be about: whether it
/// holds, and the state that it claims.
type Judge<T> = fn(&[&str], T, &Shift) -> Option<(bool, T)>;

impl Question {
    fn check_shifts<T: Copy>(
        &self,
        lines: &[&str],
        start: T,
        judge: Judge<T>,
        text: fn(T) -> String,
    ) -> LineChecks {
        let mut checks = LineChecks::default();
        let (mut state, mut next) = (start, 0);
        for line in lines {
            let judged = ItemLine::of(line).and_then(|about| {
                let parts: Vec<&str> = about.work.split(", ").collect();
                let Some(shift) = self.shifts.get(next) else { return Some((false, state)) };
                let (held, after) = judge(&parts, state, shift)?;
                Some((held && about.is_about(shift.label, &shift.text), after))
            });
            checks.verdicts.push(StepVerdict::of(judged.map(|(holds, _)| holds)));
            if let Some((_, after)) = judged {
                state = after;
                next += 1;
                checks.conclusion = Some(text(after));
            }
        }
        // A chain that stops early concludes nothing, even where the rest changes nothing.
        if next != self.shifts.len() {
            checks.conclusion = None;
        }
        checks
    }

    /// The lines of the days between two dates: one for each month, and one that answers.
    fn check_between(lines: &[&str], text: &str, from: Date, to: Date) -> LineChecks {
        let mut checks = LineChecks::default();
        let (mut year, mut month) = (from.0, from.1);
        let mut days: Option<i64> = None;
        let mut is_done = false;
        for line in lines {
            if let Some(about) = ItemLine::of(line).filter(|about| about.label() == 'Q') {
                let claimed: Option<i64> = about.work.parse().ok();
                let holds = claimed.map(|_| {
                    about.is_about('Q', text) && is_done && days.is_some() && claimed == days
                });
                checks.verdicts.push(StepVerdict::of(holds));
                checks.conclusion = claimed.map(|days| days.to_string());
                continue;
            }
            let last = (year, month) == (to.0, to.1);
            let size = length((year, month, 1));
            let (end, more) = (if last { to.2 } else { size }, if last { to.2 } else { size });
            let first = match days {
                None => format!("{end}-{}", from.2),
                Some(days) => format!("{days}+{more}"),
            };
            let judged = line
                .split_once(": ")
                .filter(|(name, _)| MONTHS.contains(name))
                .and_then(|(name, sum)| Some((name, value(sum, &first)?, claimed_result(sum)?)));
            let Some((name, right, claimed)) = judged else {
                checks.verdicts.push(StepVerdict::Unchecked);
                continue;
            };
            let holds = !is_done && name == MONTHS[(month - 1) as usize] && right.is_some();
            checks.verdicts.push(StepVerdict::of(Some(holds)));
            days = Some(claimed);
            is_done |= last;
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
        checks
    }
}

/// The last side of an equality chain.
fn claimed_result(chain: &str) -> Option<i64> {
    chain.rsplit_once('=')?.1.parse().ok()
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        let days: i64 = self.shifts.iter().map(Shift::days).sum();
        match &self.start {
            Start::Weekday(first) => {
                Some(WEEKDAYS[(first + days).rem_euclid(7) as usize].to_owned())
            }
            Start::Date(first) => Some(date_text(date_of(day_number(*first) + days))),
            Start::Between { from, to, .. } => {
                Some((day_number(*to) - day_number(*from)).to_string())
            }
        }
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        match &self.start {
            Start::Weekday(first) => self.check_shifts(lines, *first, turns, |weekday| {
                WEEKDAYS[weekday.rem_euclid(7) as usize].to_owned()
            }),
            Start::Date(first) => self.check_shifts(lines, *first, walks, date_text),
            Start::Between { text, from, to } => Self::check_between(lines, text, *from, *to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepVerdict::{Ok, Unchecked, Wrong};

    fn verdicts(question: &str, lines: &[&str]) -> Vec<StepVerdict> {
        read(question).map(|read| read.check(lines).verdicts).unwrap_or_default()
    }

    fn answer(question: &str) -> Option<String> {
        read(question).and_then(|read| read.answer())
    }

    #[test]
    fn dates_are_counted() {
        for (date, number) in [((2000, 3, 1), 730_485), ((1970, 1, 1), 719_468)] {
            assert_eq!(day_number(date), number);
            assert_eq!(date_of(number), date);
        }
        assert!((0..400_000).all(|number| day_number(date_of(number)) == number));
        assert_eq!(
            [length((2024, 2, 1)), length((1900, 2, 1)), length((2023, 12, 1))],
            [29, 28, 31]
        );
    }

    #[test]
    fn weekdays_turn() {
        let asked = "Today is Monday.\n#A 10 days later\n#B 2 weeks before\n#C 5 days before\n\
                     Which weekday is it then?";
        assert_eq!(answer(asked).as_deref(), Some("Saturday"));
        let first = "#A 10 days later: 10=7*1+3, Monday, Tuesday, Wednesday, Thursday";
        let second = "#B 2 weeks before: 2*7=14, 14=7*2+0, Thursday";
        let third = "#C 5 days before: 5=7*0+5, Thursday, Wednesday, Tuesday, Monday, Sunday, \
                     Saturday";
        assert_eq!(verdicts(asked, &[first, second, third]), [Ok; 3]);
        for line in [
            "#A 10 days later: 10=7*1+3, Monday, Tuesday, Wednesday",
            "#A 10 days later: 10=7*1+4, Monday, Tuesday, Wednesday, Thursday, Friday",
            "#A 10 days later: 10=7*1+3, Monday, Sunday, Saturday, Friday",
        ] {
            assert_eq!(verdicts(asked, &[line]), [Wrong], "{line}");
        }
        assert_eq!(verdicts(asked, &["Well.", "#A 10 days later: soon"]), [Unchecked; 2]);
    }

    #[test]
    fn dates_walk_over_months_and_years() {
        let asked = "The date is 5 December 2023.\n#A 60 days later\n#B 10 days before\n\
                     What is the date then?";
        assert_eq!(answer(asked).as_deref(), Some("24 January 2024"));
        let first = "#A 60 days later: 5+60=65, December 31, 65-31=34, January 31, 34-31=3, \
                     3 February 2024";
        let second = "#B 10 days before: 3-10=-7, January 31, -7+31=24, 24 January 2024";
        assert_eq!(verdicts(asked, &[first, second]), [Ok, Ok]);
        for line in [
            &first.replace("January 31", "January 30"),
            &first.replace("2024", "2023"),
            &first.replace("34-31=3,", "34-31=4,"),
            &first.replace("December", "November"),
            "#A 60 days later: 5+60=65, December 31, 65-31=34, 3 February 2024",
        ] {
            assert_eq!(verdicts(asked, &[line]), [Wrong], "{line}");
        }
    }

    #[test]
    fn days_between_two_dates() {
        let asked = "#Q How many days is it from 20 January 2024 to 5 March 2024?";
        assert_eq!(answer(asked).as_deref(), Some("45"));
        let end = "#Q How many days is it from 20 January 2024 to 5 March 2024: 45";
        let lines = ["January: 31-20=11", "February: 11+29=40", "March: 40+5=45", end];
        assert_eq!(verdicts(asked, &lines), [Ok; 4]);
        assert_eq!(verdicts(asked, &[lines[0], "February: 11+28=39"]), [Ok, Wrong]);
        assert_eq!(verdicts(asked, &[lines[0], "March: 11+29=40"]), [Ok, Wrong]);
        assert_eq!(verdicts(asked, &[lines[0], lines[1], &end.replace(": 45", ": 40")])[2], Wrong);
        assert_eq!(verdicts(asked, &["Well."]), [Unchecked]);
    }
}
