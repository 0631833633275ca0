//! Dates and weekdays: days that pass from a weekday or a date, and the days between two
//! dates, month by month.

use super::chinese::{Words, all_spelled, spelled};
use super::layout::word;
use super::words::{self, labelled, restated};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

const WORDS: &Words = &[
    ("Monday", "星期一"),
    ("Tuesday", "星期二"),
    ("Wednesday", "星期三"),
    ("Thursday", "星期四"),
    ("Friday", "星期五"),
    ("Saturday", "星期六"),
    ("Sunday", "星期日"),
];

const MONTHS: [(&str, i64); 12] = [
    ("January", 31),
    ("February", 28),
    ("March", 31),
    ("April", 30),
    ("May", 31),
    ("June", 30),
    ("July", 31),
    ("August", 31),
    ("September", 30),
    ("October", 31),
    ("November", 30),
    ("December", 31),
];

/// A date; the month counts from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date {
    year: i64,
    month: usize,
    day: i64,
}

impl Date {
    fn draw(rng: &mut CounterRng) -> Self {
        let month = Self { year: rng.between(1980, 2060), month: rng.below(12), day: 1 };
        Self { day: rng.between(1, month.length()), ..month }
    }

    /// How many days its month has.
    fn length(self) -> i64 {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        MONTHS[self.month].1 + i64::from(leap && self.month == 1)
    }

    fn next_month(self) -> Self {
        let year = self.year + i64::from(self.month == 11);
        Self { year, month: (self.month + 1) % 12, ..self }
    }

    fn previous_month(self) -> Self {
        let year = self.year - i64::from(self.month == 0);
        Self { year, month: (self.month + 11) % 12, ..self }
    }

    fn text(self, language: Language) -> String {
        let Self { year, month, day } = self;
        match language {
            Language::En => format!("{day} {} {year}", MONTHS[month].0),
            Language::Zh => format!("{year}年{}月{day}日", month + 1),
        }
    }

    fn month_name(self, language: Language) -> String {
        match language {
            Language::En => MONTHS[self.month].0.to_owned(),
            Language::Zh => format!("{}月", self.month + 1),
        }
    }

    /// Its month and how many days that has.
    fn month_length(self, language: Language) -> String {
        let (month, length) = (self.month_name(language), self.length());
        match language {
            Language::En => format!("{month} {length}"),
            Language::Zh => format!("{month}有{length}天"),
        }
    }

    /// The date some days later or before, and how to get there.
    fn after(self, days: i64, language: Language) -> (Vec<String>, Self) {
        let sign = if days < 0 { '-' } else { '+' };
        let mut date = Self { day: self.day + days, ..self };
        let mut parts = vec![format!("{}{sign}{}={}", self.day, days.abs(), date.day)];
        while date.day > date.length() {
            let length = date.length();
            parts.push(date.month_length(language));
            parts.push(format!("{}-{length}={}", date.day, date.day - length));
            date = Self { day: date.day - length, ..date.next_month() };
        }
        while date.day < 1 {
            date = date.previous_month();
            let length = date.length();
            parts.push(date.month_length(language));
            parts.push(format!("{}+{length}={}", date.day, date.day + length));
            date.day += length;
        }
        parts.push(date.text(language));
        (parts, date)
    }
}

/// What is asked for, and from where.
#[derive(Clone, Copy, Debug)]
enum Start {
    Weekday(usize),
    Date(Date),
    /// The days between two dates.
    Between(Date, Date),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Weekday,
    Date,
    Between,
}

/// A problem.
#[derive(Clone, Debug)]
pub(crate) struct Calendar {
    start: Start,
    /// Days that pass, those before negative; whether they are told as weeks.
    shifts: Vec<(i64, bool)>,
}

impl Calendar {
    /// Draws a problem: `level + 1` shifts of a weekday, `level` shifts of a date, or two
    /// dates some months apart. Above level 1 time may run backwards.
    pub(crate) fn draw(level: u8, kind: Kind, rng: &mut CounterRng) -> Self {
        if kind == Kind::Between {
            let from = Date::draw(rng);
            let days = rng.between(10, 20) + 30 * rng.between(0, 2 * i64::from(level) - 1);
            let to = from.after(days + rng.between(0, 14), Language::En).1;
            return Self { start: Start::Between(from, to), shifts: Vec::new() };
        }
        let count = usize::from(level) + usize::from(kind == Kind::Weekday);
        let mut shifts: Vec<(i64, bool)> = Vec::new();
        while shifts.len() < count {
            let back = level >= 2 && rng.chance(1, 3);
            let (days, weeks) = if rng.chance(1, 5) {
                (7 * rng.between(2, 9), true)
            } else {
                (rng.between(5, 60), false)
            };
            let shift = (if back { -days } else { days }, weeks);
            if shifts.iter().all(|other| other.0 != shift.0) {
                shifts.push(shift);
            }
        }
        let start = match kind {
            Kind::Weekday => Start::Weekday(rng.below(7)),
            _ => Start::Date(Date::draw(rng)),
        };
        Self { start, shifts }
    }

    fn tell(&self, language: Language) -> Vec<String> {
        labelled(self.shifts.iter().map(|&(days, weeks)| {
            let way = if days < 0 { [" before", "前"] } else { [" later", "后"] };
            let (count, unit) = if weeks {
                (days.abs() / 7, [" weeks", "周"])
            } else {
                (days.abs(), [" days", "天"])
            };
            format!("{count}{}{}", word(language, unit), word(language, way))
        }))
    }
}

/// The days between two dates, a line for each month.
fn between(from: Date, to: Date, language: Language) -> (Vec<String>, i64) {
    let first = from.month_name(language);
    if (from.year, from.month) == (to.year, to.month) {
        let days = to.day - from.day;
        return (vec![format!("{first}: {}-{}={days}", to.day, from.day)], days);
    }
    let mut days = from.length() - from.day;
    let mut lines = vec![format!("{first}: {}-{}={days}", from.length(), from.day)];
    let mut month = from.next_month();
    loop {
        let last = (month.year, month.month) == (to.year, to.month);
        let more = if last { to.day } else { month.length() };
        lines.push(format!("{}: {days}+{more}={}", month.month_name(language), days + more));
        days += more;
        if last {
            return (lines, days);
        }
        month = month.next_month();
    }
}

/// The line of a shift of a weekday, and the weekday after it.
fn turn(weekday: usize, days: i64) -> (String, usize) {
    let size = days.unsigned_abs() as usize;
    let step = if days < 0 { 6 } else { 1 };
    let mut parts = vec![format!("{size}=7*{}+{}", size / 7, size % 7)];
    parts.extend((0..=size % 7).map(|n| WEEKDAYS[(weekday + step * n) % 7].to_owned()));
    (parts.join(", "), (weekday + step * (size % 7)) % 7)
}

impl Problem for Calendar {
    fn signature(&self) -> String {
        let start = match self.start {
            Start::Weekday(weekday) => WEEKDAYS[weekday].to_owned(),
            Start::Date(date) => date.text(Language::En),
            Start::Between(from, to) => {
                format!("{} {}", from.text(Language::En), to.text(Language::En))
            }
        };
        let shifts: Vec<String> = self.shifts.iter().map(|shift| shift.0.to_string()).collect();
        format!("calendar/{}/{start} {}", self.kind_name(), shifts.join(" "))
    }

    fn kind_name(&self) -> &'static str {
        match self.start {
            Start::Weekday(_) => "weekday",
            Start::Date(_) => "date",
            Start::Between(..) => "between",
        }
    }

    fn render(&self, language: Language, rng: &mut CounterRng) -> Rendered {
        let items = self.tell(language);
        let template = rng.below(2);
        match self.start {
            Start::Between(from, to) => {
                let (start, end) = (from.text(language), to.text(language));
                let asked = match (language, template) {
                    (Language::En, 0) => format!("How many days is it from {start} to {end}"),
                    (Language::En, _) => format!("How many days after {start} is {end}"),
                    (Language::Zh, 0) => format!("从{start}到{end}有多少天"),
                    (Language::Zh, _) => format!("{start}之后多少天是{end}"),
                };
                let (mut steps, days) = between(from, to, language);
                let answer = days.to_string();
                steps.push(words::answered(&asked, &answer));
                let steps = all_spelled(language, steps, WORDS);
                Rendered { question: words::asked(language, &asked), steps, answer }
            }
            Start::Weekday(first) => {
                let mut weekday = first;
                let mut works = Vec::new();
                for &(days, weeks) in &self.shifts {
                    let (mut work, after) = turn(weekday, days);
                    if weeks {
                        work = format!("{}*7={}, {work}", days.abs() / 7, days.abs());
                    }
                    works.push(work);
                    weekday = after;
                }
                let name = spelled(language, WEEKDAYS[first], WORDS);
                let (opening, asked) = match (language, template) {
                    (Language::En, 0) => (format!("Today is {name}."), "Which weekday is it then?"),
                    (Language::En, _) => {
                        (format!("It is {name}."), "What day of the week is it then?")
                    }
                    (Language::Zh, 0) => (format!("今天是{name}。"), "那一天是星期几？"),
                    (Language::Zh, _) => (format!("某天是{name}。"), "到那时是星期几？"),
                };
                let question = format!("{opening}\n{}\n{asked}", items.join("\n"));
                let answer = spelled(language, WEEKDAYS[weekday], WORDS);
                let steps = all_spelled(language, restated(&items, works), WORDS);
                Rendered { question, steps, answer }
            }
            Start::Date(first) => {
                let mut date = first;
                let mut works = Vec::new();
                for &(days, weeks) in &self.shifts {
                    let (mut parts, after) = date.after(days, language);
                    if weeks {
                        parts.insert(0, format!("{}*7={}", days.abs() / 7, days.abs()));
                    }
                    works.push(parts.join(", "));
                    date = after;
                }
                let start = first.text(language);
                let (opening, asked) = match (language, template) {
                    (Language::En, 0) => {
                        (format!("The date is {start}."), "What is the date then?")
                    }
                    (Language::En, _) => {
                        (format!("We start on {start}."), "On which date do we end?")
                    }
                    (Language::Zh, 0) => (format!("今天是{start}。"), "那一天是几年几月几日？"),
                    (Language::Zh, _) => (format!("从{start}算起。"), "最后是几年几月几日？"),
                };
                let question = format!("{opening}\n{}\n{asked}", items.join("\n"));
                let steps = all_spelled(language, restated(&items, works), WORDS);
                Rendered { question, steps, answer: date.text(language) }
            }
        }
    }
}
