//! A small statute and a case: the last day of a period, whether something was filed in
//! time, and what is owed for being late.

use super::calendar::Day;
use super::layout::{Told, parts, yes_no};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    LastDay,
    InTime,
    Surcharge,
}

/// A section of the statute, with what the case has to say to it.
#[derive(Clone, Copy, Debug)]
enum Section {
    /// A letter is received some days after posting; whether it was one.
    Service(i64, bool),
    Days(i64),
    BusinessDays(i64),
    Months(i64),
    /// More days for a person abroad; whether this one is.
    Abroad(i64, bool),
    /// More days for a person in hospital; whether this one was.
    Hospital(i64, bool),
    /// A weekend moves the last day to Monday.
    Weekend,
    /// How days late are counted, up to the day of payment.
    Late(Day),
    Free(i64),
    EachDay(i64),
    /// A charity pays half; whether this payer is one.
    Charity(bool),
    AtMost(i64),
    /// A sum below this is not collected.
    Least(i64),
}

/// A statute and a case.
#[derive(Clone, Debug)]
pub(crate) struct Legal {
    kind: Kind,
    /// The day of posting, or the day due.
    start: Day,
    sections: Vec<Section>,
    /// Of `InTime`, when the appeal was filed.
    filed: Day,
}

/// What the sections have made of the case so far.
#[derive(Clone, Copy)]
struct State {
    day: Day,
    amount: i64,
}

impl Legal {
    /// Draws a statute of `level + 1` sections, of six where a surcharge has all of its own.
    /// Business days and months come from level 2 on.
    pub(crate) fn draw(level: u8, kind: Kind, rng: &mut CounterRng) -> Self {
        let first = Day::of(2019, 1, 1);
        let start = first.after(rng.between(0, 365 * 11));
        if kind == Kind::Surcharge {
            let free = rng.between(2, 6);
            let late = if rng.chance(1, 6) { rng.between(1, free) } else { rng.between(free, 70) };
            let mut sections = vec![
                Section::Late(start.after(late)),
                Section::Free(free),
                Section::EachDay(2 * rng.between(1, 12)),
                Section::Charity(rng.chance(1, 2)),
            ];
            if level >= 4 {
                sections.push(Section::AtMost(10 * rng.between(5, 60)));
                sections.push(Section::Least(5 * rng.between(1, 9)));
            }
            return Self { kind, start, sections, filed: start };
        }
        let period = match if level == 1 { 0 } else { rng.below(3) } {
            0 => Section::Days(rng.between(5, 40)),
            1 => Section::BusinessDays(rng.between(3, 8)),
            _ => Section::Months(rng.between(1, 4)),
        };
        let mut sections = vec![Section::Service(rng.between(2, 6), rng.chance(2, 3)), period];
        if level >= 3 {
            sections.push(Section::Abroad(rng.between(7, 30), rng.chance(1, 2)));
        }
        if level >= 4 {
            sections.push(Section::Hospital(rng.between(3, 20), rng.chance(1, 2)));
        }
        if level >= 2 {
            sections.push(Section::Weekend);
        }
        let mut problem = Self { kind, start, sections, filed: start };
        if kind == Kind::InTime {
            problem.filed = problem.last_day().after(rng.between(-3, 3));
        }
        problem
    }

    fn last_day(&self) -> Day {
        let state = State { day: self.start, amount: 0 };
        let apply = |state: State, section: &Section| section.applied(state, Language::En).0;
        self.sections.iter().fold(state, apply).day
    }

    fn case(&self, language: Language) -> String {
        let start = self.start.written(language);
        let mut told = Vec::new();
        for section in &self.sections {
            told.push(match (language, *section) {
                (Language::En, Section::Service(_, true)) => {
                    format!("The decision was posted as a letter on {start}.")
                }
                (Language::En, Section::Service(_, false)) => {
                    format!("The decision was sent as an e-mail on {start}.")
                }
                (Language::Zh, Section::Service(_, true)) => {
                    format!("决定书于{start}以信函寄出。")
                }
                (Language::Zh, Section::Service(_, false)) => {
                    format!("决定书于{start}以电子邮件发出。")
                }
                (Language::En, Section::Abroad(_, true)) => "The person lives abroad.".to_owned(),
                (Language::En, Section::Abroad(_, false)) => {
                    "The person lives in the country.".to_owned()
                }
                (Language::Zh, Section::Abroad(_, true)) => "当事人居住在境外。".to_owned(),
                (Language::Zh, Section::Abroad(_, false)) => "当事人居住在境内。".to_owned(),
                (Language::En, Section::Hospital(_, true)) => {
                    "The person was in hospital.".to_owned()
                }
                (Language::En, Section::Hospital(_, false)) => "The person was at home.".to_owned(),
                (Language::Zh, Section::Hospital(_, true)) => "收到时当事人正在住院。".to_owned(),
                (Language::Zh, Section::Hospital(_, false)) => "收到时当事人在家。".to_owned(),
                (Language::En, Section::Late(paid)) => {
                    format!("A tax was due on {start} and paid on {}.", paid.written(language))
                }
                (Language::Zh, Section::Late(paid)) => {
                    format!("一笔税款于{start}到期，于{}缴纳。", paid.written(language))
                }
                (Language::En, Section::Charity(true)) => "The payer is a charity.".to_owned(),
                (Language::En, Section::Charity(false)) => "The payer is a company.".to_owned(),
                (Language::Zh, Section::Charity(true)) => "纳税人是慈善机构。".to_owned(),
                (Language::Zh, Section::Charity(false)) => "纳税人是公司。".to_owned(),
                _ => continue,
            });
        }
        if self.kind == Kind::InTime {
            let filed = self.filed.written(language);
            told.push(match language {
                Language::En => format!("The appeal was filed on {filed}."),
                Language::Zh => format!("申诉于{filed}提出。"),
            });
        }
        told.join(if language == Language::En { " " } else { "" })
    }
}

/// The steps from a day by so many days, and where they end.
fn moved(day: Day, steps: &[i64], language: Language) -> (Day, Vec<String>) {
    let mut reached = day;
    let mut works = Vec::new();
    for &step in steps {
        let before = reached.written(language);
        reached = reached.after(step);
        works.push(format!("{before}+{step}={}", reached.written(language)));
    }
    (reached, works)
}

impl Section {
    fn told(self, language: Language) -> String {
        match (language, self) {
            (Language::En, Self::Service(days, _)) => {
                format!("a letter is received {days} days after posting, an e-mail on its day")
            }
            (Language::Zh, Self::Service(days, _)) => {
                format!("信函寄出满{days}日视为收到，电子邮件发出当日视为收到")
            }
            (Language::En, Self::Days(days)) => {
                format!("an appeal is filed within {days} days of receipt")
            }
            (Language::Zh, Self::Days(days)) => format!("申诉应在收到后{days}日内提出"),
            (Language::En, Self::BusinessDays(days)) => {
                format!("an appeal is filed within {days} business days (Mon to Fri) of receipt")
            }
            (Language::Zh, Self::BusinessDays(days)) => {
                format!("申诉应在收到后{days}个工作日（周一至周五）内提出")
            }
            (Language::En, Self::Months(1)) => {
                "an appeal is filed within 1 month of receipt, or by the month's last day"
                    .to_owned()
            }
            (Language::En, Self::Months(months)) => format!(
                "an appeal is filed within {months} months of receipt, or by the month's last day"
            ),
            (Language::Zh, Self::Months(months)) => {
                format!("申诉应在收到后{months}个月内提出，当月没有对应日的以月末为准")
            }
            (Language::En, Self::Abroad(days, _)) => {
                format!("a person abroad has {days} days more")
            }
            (Language::Zh, Self::Abroad(days, _)) => {
                format!("当事人居住在境外的，期限延长{days}日")
            }
            (Language::En, Self::Hospital(days, _)) => {
                format!("a person in hospital has {days} days more")
            }
            (Language::Zh, Self::Hospital(days, _)) => {
                format!("收到时正在住院的，期限延长{days}日")
            }
            (Language::En, Self::Weekend) => {
                "a period that ends on Sat or Sun ends on the next Mon".to_owned()
            }
            (Language::Zh, Self::Weekend) => {
                "期限最后一日是周六或周日的，顺延至下一个周一".to_owned()
            }
            (Language::En, Self::Late(_)) => "days late are counted from the day after".to_owned(),
            (Language::Zh, Self::Late(_)) => "逾期天数自到期日的次日起计算".to_owned(),
            (Language::En, Self::Free(days)) => format!("the first {days} days are free"),
            (Language::Zh, Self::Free(days)) => format!("前{days}日不收滞纳金"),
            (Language::En, Self::EachDay(sum)) => format!("each further day costs {sum} euros"),
            (Language::Zh, Self::EachDay(sum)) => format!("此后每日收取{sum}元"),
            (Language::En, Self::Charity(_)) => "a charity pays half".to_owned(),
            (Language::Zh, Self::Charity(_)) => "慈善机构减半收取".to_owned(),
            (Language::En, Self::AtMost(sum)) => format!("at most {sum} euros are owed"),
            (Language::Zh, Self::AtMost(sum)) => format!("最多收取{sum}元"),
            (Language::En, Self::Least(sum)) => {
                format!("a sum below {sum} euros is not collected")
            }
            (Language::Zh, Self::Least(sum)) => format!("不足{sum}元的不予收取"),
        }
    }

    /// What the section makes of a state, and the work that says so.
    fn applied(self, state: State, language: Language) -> (State, String) {
        let State { day, amount } = state;
        let dated = |day, works: Vec<String>| (State { day, amount }, parts(language, &works));
        let counted = |amount, works: Vec<String>| (State { day, amount }, parts(language, &works));
        let word = |words: [&str; 2], holds| {
            let word = words[usize::from(language == Language::Zh)];
            format!("{word} {}", yes_no(language, holds))
        };
        // More days under a condition; the day stays where it does not hold.
        let more = |words, days, holds| {
            let mut works = vec![word(words, holds)];
            if !holds {
                works.push(day.written(language));
                return dated(day, works);
            }
            let (reached, steps) = moved(day, &day.steps(days), language);
            works.extend(steps);
            dated(reached, works)
        };
        match self {
            Self::Service(days, letter) => more(["letter", "信函"], days, letter),
            Self::Abroad(days, abroad) => more(["abroad", "境外"], days, abroad),
            Self::Hospital(days, there) => more(["hospital", "住院"], days, there),
            Self::Days(days) => {
                let (reached, works) = moved(day, &day.steps(days), language);
                dated(reached, works)
            }
            Self::BusinessDays(days) => {
                let mut reached = day;
                let works = (1..=days)
                    .map(|count| {
                        reached = reached.after(1);
                        while reached.is_weekend() {
                            reached = reached.after(1);
                        }
                        format!("{count} {}", reached.written(language))
                    })
                    .collect();
                dated(reached, works)
            }
            Self::Months(months) => {
                let ends: Vec<Day> = (0..=months).map(|count| day.months_after(count)).collect();
                let steps: Vec<i64> = ends.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
                let (reached, works) = moved(day, &steps, language);
                dated(reached, works)
            }
            Self::Weekend => {
                let name = day.weekday_name(language);
                let mut works = vec![word([name; 2], day.is_weekend())];
                let mut monday = day;
                while monday.is_weekend() {
                    monday = monday.after(1);
                }
                if monday == day {
                    works.push(day.written(language));
                } else {
                    works.extend(moved(day, &[monday.0 - day.0], language).1);
                }
                dated(monday, works)
            }
            Self::Late(paid) => {
                let steps = day.steps(paid.0 - day.0);
                let (_, mut works) = moved(day, &steps, language);
                let total: i64 = steps.iter().sum();
                if steps.len() > 1 {
                    let steps: Vec<String> = steps.iter().map(i64::to_string).collect();
                    works.push(format!("{}={total}", steps.join("+")));
                } else {
                    works.push(total.to_string());
                }
                counted(total, works)
            }
            Self::Free(days) => {
                let left = (amount - days).max(0);
                let rest =
                    if amount > days { format!("{amount}-{days}={left}") } else { "0".into() };
                let decided = format!("{amount}>{days} {}", yes_no(language, amount > days));
                counted(left, vec![decided, rest])
            }
            Self::EachDay(sum) => {
                counted(amount * sum, vec![format!("{amount}*{sum}={}", amount * sum)])
            }
            Self::Charity(half) => {
                let decided = word(["charity", "慈善机构"], half);
                if half {
                    let rest = amount / 2;
                    counted(rest, vec![decided, format!("{amount}/2={rest}")])
                } else {
                    counted(amount, vec![decided, amount.to_string()])
                }
            }
            Self::AtMost(most) => {
                let kept = amount.min(most);
                let decided = format!("{amount}>{most} {}", yes_no(language, amount > most));
                counted(kept, vec![decided, kept.to_string()])
            }
            Self::Least(least) => {
                let kept = if amount < least { 0 } else { amount };
                let decided = format!("{amount}<{least} {}", yes_no(language, amount < least));
                counted(kept, vec![decided, kept.to_string()])
            }
        }
    }
}

impl Problem for Legal {
    fn signature(&self) -> String {
        format!("legal/{self:?}")
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::LastDay => "last-day",
            Kind::InTime => "in-time",
            Kind::Surcharge => "surcharge",
        }
    }

    fn render(&self, language: Language, _rng: &mut CounterRng) -> Rendered {
        let mut state = State { day: self.start, amount: 0 };
        let mut items = Vec::new();
        for section in &self.sections {
            let (after, work) = section.applied(state, language);
            items.push((section.told(language), work));
            state = after;
        }
        let last = state.day.written(language);
        let asked = match (language, self.kind) {
            (Language::En, Kind::LastDay) => "What is the last day for the appeal",
            (Language::En, Kind::InTime) => "Is the appeal in time",
            (Language::En, Kind::Surcharge) => "How many euros are owed for being late",
            (Language::Zh, Kind::LastDay) => "提出申诉的最后一日是哪一天",
            (Language::Zh, Kind::InTime) => "申诉是否在期限内提出",
            (Language::Zh, Kind::Surcharge) => "应缴滞纳金多少元",
        };
        let (conclusion, answer) = match self.kind {
            Kind::LastDay => (last.clone(), last),
            Kind::InTime => {
                let answer = yes_no(language, self.filed <= state.day).to_owned();
                let compared = format!("{}<={last}", self.filed.written(language));
                (parts(language, &[compared, answer.clone()]), answer)
            }
            Kind::Surcharge => (state.amount.to_string(), state.amount.to_string()),
        };
        let (opening, asked) = (self.case(language), asked.to_owned());
        Told { opening, items, asked, conclusion, answer }.laid_out(language)
    }
}
