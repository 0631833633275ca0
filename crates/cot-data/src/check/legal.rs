//! Statutes and cases: each section is read from its words, and applied by counting days
//! one at a time.

use std::sync::LazyLock;

use regex::Regex;

use super::calendar::Date;
use super::sheet::{Judged, Number, Sheet, Sum, digits, integer, pattern, sums, whole};
use super::{LineChecks, Reading};
use crate::language::Language;

/// What a section does.
#[derive(Clone, Copy)]
enum Section {
    /// More days where a condition holds: its place in [`CONDITIONS`].
    More(usize, u32),
    Days(u32),
    BusinessDays(u32),
    Months(u32),
    Weekend,
    Late,
    Free(u32),
    EachDay(u32),
    Charity,
    AtMost(u32),
    Least(u32),
}

/// Conditions: what the chain calls them, and how a case says that they hold.
const CONDITIONS: [([&str; 2], [&str; 2]); 4] = [
    (["letter", "信函"], ["posted as a letter", "以信函寄出"]),
    (["abroad", "境外"], ["lives abroad", "居住在境外"]),
    (["hospital", "住院"], ["was in hospital", "正在住院"]),
    (["charity", "慈善机构"], ["payer is a charity", "纳税人是慈善机构"]),
];

const CHARITY: usize = 3;

/// Makes a section of its number.
type Make = fn(u32) -> Section;

static FORMS: LazyLock<Vec<(Regex, Make)>> = LazyLock::new(|| {
    let forms: [(&str, &str, Make); 13] = [
        (
            "a letter is received # days after posting, an e-mail on its day",
            "信函寄出满#日视为收到，电子邮件发出当日视为收到",
            |days| Section::More(0, days),
        ),
        ("an appeal is filed within # days of receipt", "申诉应在收到后#日内提出", Section::Days),
        (
            r"an appeal is filed within # business days \(Mon to Fri\) of receipt",
            "申诉应在收到后#个工作日（周一至周五）内提出",
            Section::BusinessDays,
        ),
        (
            "an appeal is filed within # months? of receipt, or by the month's last day",
            "申诉应在收到后#个月内提出，当月没有对应日的以月末为准",
            Section::Months,
        ),
        (
            "a person abroad has # days more",
            "当事人居住在境外的，期限延长#日",
            |days| Section::More(1, days),
        ),
        (
            "a person in hospital has # days more",
            "收到时正在住院的，期限延长#日",
            |days| Section::More(2, days),
        ),
        (
            "a period that ends on Sat or Sun ends on the next Mon",
            "期限最后一日是周六或周日的，顺延至下一个周一",
            |_| Section::Weekend,
        ),
        (
            "days late are counted from the day after",
            "逾期天数自到期日的次日起计算",
            |_| Section::Late,
        ),
        ("the first # days are free", "前#日不收滞纳金", Section::Free),
        ("each further day costs # euros", "此后每日收取#元", Section::EachDay),
        ("a charity pays half", "慈善机构减半收取", |_| Section::Charity),
        ("at most # euros are owed", "最多收取#元", Section::AtMost),
        ("a sum below # euros is not collected", "不足#元的不予收取", Section::Least),
    ];
    forms
        .into_iter()
        .map(|(english, chinese, make)| {
            (pattern(&format!("^(?:{english}|{chinese})$").replace('#', r"(\d{1,4})")), make)
        })
        .collect()
});
static DATE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d{4}-\d\d-\d\d|\d{4}年\d{1,2}月\d{1,2}日周\p{Han}")
});
static MOVE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^([^+]+)\+(\d{1,4})=(.+)$"));
static COUNTED: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\d{1,3}) (.+)$"));
static COMPARED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(\d{1,9})([<>])(\d{1,9}) (yes|no|是|否)$"));
static FILED: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(.+)<=(.+)(?:, |，)(yes|no|是|否)$"));

#[derive(Clone, Copy, PartialEq)]
enum Asked {
    LastDay,
    InTime,
    Surcharge,
}

#[derive(Clone, Copy)]
struct State {
    date: Date,
    amount: Number,
}

struct Question {
    sheet: Sheet,
    asked: Asked,
    sections: Vec<Section>,
    /// The first date of the case, and the last.
    start: Date,
    other: Date,
    /// Which of [`CONDITIONS`] hold.
    held: [bool; CONDITIONS.len()],
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    Question::of(question).map(|read| Box::new(read) as Box<dyn Reading>)
}

fn section(text: &str) -> Option<Section> {
    FORMS.iter().find_map(|(form, make)| {
        let found = form.captures(text)?;
        match found.get(1).or(found.get(2)) {
            Some(number) => number.as_str().parse().ok().map(make),
            None => Some(make(0)),
        }
    })
}

/// Steps from a date, each `date+days=date`, or the date itself where there is none: whether
/// they hold, where they end, and how many days they are. Nothing where one is no step.
fn steps(parts: &[&str], from: Date, language: Language) -> Option<(bool, Date, u32)> {
    if let [only] = parts
        && let Some(date) = Date::read(only, language)
    {
        return Some((date == Some(from), date.unwrap_or(from), 0));
    }
    let (mut held, mut reached, mut total) = (!parts.is_empty(), from, 0);
    for part in parts {
        let found = MOVE.captures(part)?;
        let days: u32 = found[2].parse().ok()?;
        let (start, end) = (Date::read(&found[1], language)?, Date::read(&found[3], language)?);
        held &= start == Some(reached) && days > 0;
        held &= start.is_some_and(|start| end == Some(start.after(days)));
        reached = end.unwrap_or(reached);
        total += days;
    }
    Some((held, reached, total))
}

impl Question {
    fn of(question: &str) -> Option<Self> {
        let sheet = Sheet::of(question)?;
        let asked = match sheet.asked.as_str() {
            "What is the last day for the appeal" | "提出申诉的最后一日是哪一天" => {
                Asked::LastDay
            }
            "Is the appeal in time" | "申诉是否在期限内提出" => Asked::InTime,
            "How many euros are owed for being late" | "应缴滞纳金多少元" => {
                Asked::Surcharge
            }
            _ => return None,
        };
        let opening = sheet.opening();
        let dates: Option<Vec<Date>> = DATE
            .find_iter(&opening)
            .map(|found| Date::read(found.as_str(), sheet.language)?)
            .collect();
        let dates = dates?;
        let (start, other) = (*dates.first()?, *dates.last()?);
        if dates.len() != (if asked == Asked::LastDay { 1 } else { 2 }) {
            return None;
        }
        let held = CONDITIONS.map(|(_, said)| opening.contains(sheet.word(said)));
        let sections: Option<Vec<Section>> =
            sheet.items.iter().map(|(_, text)| section(text)).collect();
        Some(Self { sections: sections?, asked, start, other, held, sheet })
    }

    /// What a section makes of a state.
    fn applied(&self, state: State, section: Section) -> State {
        let State { date, amount } = state;
        let number = |value: u32| integer(i64::from(value));
        let date = match section {
            Section::More(condition, days) if self.held[condition] => date.after(days),
            Section::Days(days) => date.after(days),
            Section::BusinessDays(days) => {
                let mut reached = date;
                let mut left = days;
                while left > 0 {
                    reached = reached.next();
                    left -= u32::from(!reached.is_weekend());
                }
                reached
            }
            Section::Months(months) => date.months_after(months),
            Section::Weekend => {
                let mut reached = date;
                while reached.is_weekend() {
                    reached = reached.next();
                }
                reached
            }
            _ => date,
        };
        let amount = match section {
            Section::Late => {
                let mut reached = date;
                let mut days = 0;
                // A case of more days than this is not counted.
                while reached < self.other && days < 10_000 {
                    reached = reached.next();
                    days += 1;
                }
                integer(days)
            }
            Section::Free(days) if amount > number(days) => amount - number(days),
            Section::Free(_) => integer(0),
            Section::EachDay(sum) => amount * number(sum),
            Section::Charity if self.held[CHARITY] => amount / integer(2),
            Section::AtMost(most) => amount.min(number(most)),
            Section::Least(least) if amount < number(least) => integer(0),
            _ => amount,
        };
        State { date, amount }
    }

    fn first(&self) -> State {
        State { date: self.start, amount: integer(0) }
    }

    /// Judges the work on a section and takes what it claims as given.
    fn line(&self, state: &mut State, section: Section, work: &str) -> Option<bool> {
        let language = self.sheet.language;
        let before = *state;
        let expected = self.applied(before, section);
        let parts = self.sheet.parts(work);
        let decision = |name: &str, holds: bool| format!("{name} {}", self.sheet.yes_no(holds));
        match section {
            Section::More(..) | Section::Weekend if parts.len() >= 2 => {
                let decided = if let Section::More(condition, _) = section {
                    let (name, _) = CONDITIONS[condition];
                    decision(self.sheet.word(name), self.held[condition])
                } else {
                    decision(before.date.weekday(language), before.date.is_weekend())
                };
                let (held, reached, _) = steps(&parts[1..], before.date, language)?;
                state.date = reached;
                Some(held && parts[0] == decided && reached == expected.date)
            }
            Section::Days(_) | Section::Months(_) => {
                let (held, reached, _) = steps(&parts, before.date, language)?;
                state.date = reached;
                Some(held && reached == expected.date)
            }
            Section::BusinessDays(days) => {
                let mut held = parts.len() == days as usize;
                for (part, count) in parts.iter().zip(1_u32..) {
                    let found = COUNTED.captures(part)?;
                    let date = Date::read(&found[2], language)?;
                    let next = self.applied(*state, Section::BusinessDays(1)).date;
                    held &= found[1] == count.to_string() && date == Some(next);
                    state.date = date.unwrap_or(state.date);
                }
                Some(held)
            }
            Section::Late => {
                let (sum, moves) = parts.split_last()?;
                let (held, reached, days) = steps(moves, before.date, language)?;
                let claimed = sum.rsplit('=').next().and_then(whole)?;
                let terms: Option<Vec<Number>> =
                    sum.split('=').next()?.split('+').map(whole).collect();
                let terms = terms?;
                let counts: Vec<Number> =
                    (moves.iter()).filter_map(|part| whole(&MOVE.captures(part)?[2])).collect();
                state.amount = claimed;
                Some(
                    held && reached == self.other
                        && terms == counts
                        && sum.split('=').count() == 1 + usize::from(moves.len() > 1)
                        && claimed == integer(i64::from(days)),
                )
            }
            Section::EachDay(sum) => {
                let sum = integer(i64::from(sum));
                let expected = Sum::of(&[before.amount, sum], expected.amount);
                let (held, reached) = sums(&parts, &[expected])?;
                state.amount = reached;
                Some(held)
            }
            Section::Free(_) | Section::Charity | Section::AtMost(_) | Section::Least(_) => {
                let [decided, rest] = parts[..] else { return None };
                let (symbol, limit, changes) = match section {
                    Section::Free(days) => (">", days, before.amount > number(days)),
                    Section::AtMost(most) => (">", most, before.amount > number(most)),
                    Section::Least(least) => ("<", least, before.amount < number(least)),
                    _ => ("", 2, self.held[CHARITY]),
                };
                let is_decided = if symbol.is_empty() {
                    decided == decision(self.sheet.word(CONDITIONS[CHARITY].0), changes)
                } else {
                    let found = COMPARED.captures(decided)?;
                    whole(&found[1])? == before.amount
                        && &found[2] == symbol
                        && whole(&found[3])? == number(limit)
                        && &found[4] == self.sheet.yes_no(changes)
                };
                let works = matches!(section, Section::Free(_) | Section::Charity) && changes;
                let numbers =
                    if works { vec![before.amount, number(limit)] } else { vec![expected.amount] };
                let (held, reached) = sums(&[rest], &[Sum::of(&numbers, expected.amount)])?;
                state.amount = reached;
                Some(held && is_decided)
            }
            Section::More(..) | Section::Weekend => None,
        }
    }

    fn last(&self, state: State, work: &str) -> Judged {
        let language = self.sheet.language;
        match self.asked {
            Asked::LastDay => {
                let date = Date::read(work, language)?;
                Some((date == Some(state.date), work.to_owned()))
            }
            Asked::InTime => {
                let found = FILED.captures(work)?;
                let (filed, last) =
                    (Date::read(&found[1], language)?, Date::read(&found[2], language)?);
                let held = filed == Some(self.other)
                    && last == Some(state.date)
                    && &found[3] == self.sheet.yes_no(self.other <= state.date);
                Some((held, found[3].to_owned()))
            }
            Asked::Surcharge => {
                let amount = whole(work)?;
                Some((amount == state.amount, digits(amount)))
            }
        }
    }
}

fn number(value: u32) -> Number {
    integer(i64::from(value))
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        let end =
            self.sections.iter().fold(self.first(), |state, section| self.applied(state, *section));
        Some(match self.asked {
            Asked::LastDay => end.date.written(self.sheet.language),
            Asked::InTime => self.sheet.yes_no(self.other <= end.date).to_owned(),
            Asked::Surcharge => digits(end.amount),
        })
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        self.sheet.check(
            lines,
            self.first(),
            |state, index, work| self.line(state, *self.sections.get(index)?, work),
            |state, work| self.last(*state, work),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::StepVerdict::{Ok, Wrong};

    #[test]
    fn periods_run_over_leap_days_and_weekends() {
        let text = "The decision was posted as a letter on Tue 2024-02-27. The person lives in \
                    the country. The appeal was filed on Mon 2024-03-18.\n\
                    #A a letter is received 3 days after posting, an e-mail on its day\n\
                    #B an appeal is filed within 15 days of receipt\n\
                    #C a person abroad has 30 days more\n\
                    #D a period that ends on Sat or Sun ends on the next Mon\n\
                    #Q Is the appeal in time?";
        let question = Question::of(text).unwrap();
        assert_eq!(question.answer().as_deref(), Some("yes"));
        let item = |index: usize| text.lines().nth(index).unwrap();
        let works = [
            "letter yes, Tue 2024-02-27+2=Thu 2024-02-29, Thu 2024-02-29+1=Fri 2024-03-01",
            "Fri 2024-03-01+15=Sat 2024-03-16",
            "abroad no, Sat 2024-03-16",
            "Sat yes, Sat 2024-03-16+2=Mon 2024-03-18",
        ];
        let mut chain: Vec<String> = works
            .iter()
            .enumerate()
            .map(|(at, work)| format!("{}: {work}", item(at + 1)))
            .collect();
        chain.push("#Q Is the appeal in time: Mon 2024-03-18<=Mon 2024-03-18, yes".to_owned());
        let verdicts = |chain: &[String]| {
            question.check(&chain.iter().map(String::as_str).collect::<Vec<_>>()).verdicts
        };
        assert_eq!(verdicts(&chain), [Ok; 5]);
        for (index, work, why) in [
            (0, "letter yes, Tue 2024-02-27+3=Thu 2024-02-29", "no leap day"),
            (0, "letter no, Tue 2024-02-27", "it was a letter"),
            (1, "Fri 2024-03-01+14=Fri 2024-03-15", "a day too few"),
            (1, "Fri 2024-03-01+15=Sun 2024-03-16", "another weekday"),
            (
                2,
                "abroad yes, Sat 2024-03-16+15=Sun 2024-03-31, Sun 2024-03-31+1=Mon 2024-04-01",
                "at home",
            ),
            (3, "Sat yes, Sat 2024-03-16+1=Sun 2024-03-17", "still a weekend"),
        ] {
            let mut lines = chain.clone();
            lines[index] = format!("{}: {work}", item(index + 1));
            assert_eq!(verdicts(&lines)[index], Wrong, "{why}");
        }
        let mut lines = chain.clone();
        lines[4] = "#Q Is the appeal in time: Mon 2024-03-18<=Mon 2024-03-18, no".to_owned();
        assert_eq!(verdicts(&lines)[4], Wrong);
    }

    #[test]
    fn months_end_on_their_last_day_and_business_days_skip_weekends() {
        for (start, period, last) in [
            (
                "Wed 2024-01-31",
                "within 1 month of receipt, or by the month's last day",
                "Thu 2024-02-29",
            ),
            (
                "Tue 2023-01-31",
                "within 1 month of receipt, or by the month's last day",
                "Tue 2023-02-28",
            ),
            ("Fri 2024-03-01", "within 6 business days (Mon to Fri) of receipt", "Mon 2024-03-11"),
            ("Sun 2024-03-03", "within 1 business days (Mon to Fri) of receipt", "Mon 2024-03-04"),
        ] {
            let text = format!(
                "The decision was sent as an e-mail on {start}.\n#A an appeal is filed {period}\n\
                 #Q What is the last day for the appeal?"
            );
            let found = Question::of(&text).and_then(|question| question.answer());
            assert_eq!(found.as_deref(), Some(last), "{text}");
        }
    }

    #[test]
    fn a_surcharge_is_worked_out_section_by_section() {
        let text = "一笔税款于2024年2月23日周五到期，于2024年3月11日周一缴纳。纳税人是慈善机构。\n\
                    #A 逾期天数自到期日的次日起计算\n#B 前3日不收滞纳金\n#C 此后每日收取8元\n\
                    #D 慈善机构减半收取\n#E 最多收取50元\n#F 不足10元的不予收取\n#Q 应缴滞纳金多少元？";
        let question = Question::of(text).unwrap();
        assert_eq!(question.answer().as_deref(), Some("50"));
        let chain = [
            "#A 逾期天数自到期日的次日起计算：2024年2月23日周五+6=2024年2月29日周四，\
             2024年2月29日周四+1=2024年3月1日周五，2024年3月1日周五+10=2024年3月11日周一，6+1+10=17",
            "#B 前3日不收滞纳金：17>3 是，17-3=14",
            "#C 此后每日收取8元：14*8=112",
            "#D 慈善机构减半收取：慈善机构 是，112/2=56",
            "#E 最多收取50元：56>50 是，50",
            "#F 不足10元的不予收取：50<10 否，50",
            "#Q 应缴滞纳金多少元：50",
        ];
        assert_eq!(question.check(&chain).verdicts, [Ok; 7]);
        for (index, line) in [
            (1, "#B 前3日不收滞纳金：17>3 否，17"),
            (2, "#C 此后每日收取8元：14*8=102"),
            (3, "#D 慈善机构减半收取：慈善机构 否，112"),
            (4, "#E 最多收取50元：56>50 是，56"),
            (5, "#F 不足10元的不予收取：50<10 是，0"),
            (6, "#Q 应缴滞纳金多少元：56"),
        ] {
            let mut lines = chain;
            lines[index] = line;
            assert_eq!(question.check(&lines).verdicts[index], Wrong, "{line}");
        }
    }
}
