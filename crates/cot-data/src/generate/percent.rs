//! Percentages, rates and units: a running value, changed by each item of the question.

use super::chinese::{all_spelled, name};
use super::layout::word;
use super::words::{NAMES, labelled, restated};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A price that goes down and up by percentages.
    Price,
    /// Legs of a trip, each with its time and speed.
    Trip,
    /// A sum of quantities in two units.
    Units,
}

/// An item; all results are whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    PercentOff(i64),
    PercentMore(i64),
    Off(i64),
    More(i64),
    Hours(i64, i64),
    Minutes(i64, i64),
    /// So many of the large unit and of the small one; either may be 0.
    Amount(i64, i64),
}

/// A text in English and Chinese.
type Text = [&'static str; 2];

/// A large unit, how many small ones it has, the small one, and what is added up.
struct Unit {
    large: Text,
    ratio: i64,
    small: Text,
    opening: Text,
    asked: Text,
}

const UNITS: [Unit; 4] = [
    Unit {
        large: ["m", "米"],
        ratio: 100,
        small: ["cm", "厘米"],
        opening: ["Boards are laid end to end.", "几块木板首尾相接。"],
        asked: ["How many cm is that?", "总长是多少厘米？"],
    },
    Unit {
        large: ["kg", "千克"],
        ratio: 1000,
        small: ["g", "克"],
        opening: ["Bags are put on a scale.", "秤上放着几个袋子。"],
        asked: ["How many g is that?", "总重是多少克？"],
    },
    Unit {
        large: ["hours", "小时"],
        ratio: 60,
        small: ["minutes", "分钟"],
        opening: ["Films are shown one after another.", "几部电影接连放映。"],
        asked: ["How many minutes is that?", "一共是多少分钟？"],
    },
    Unit {
        large: ["weeks", "周"],
        ratio: 7,
        small: ["days", "天"],
        opening: ["Trips follow one another.", "几次旅行一次接着一次。"],
        asked: ["How many days is that?", "一共是多少天？"],
    },
];

const GOODS: [Text; 8] = [
    ["coat", "一件外套"],
    ["bike", "一辆自行车"],
    ["lamp", "一盏台灯"],
    ["desk", "一张书桌"],
    ["phone", "一部手机"],
    ["chair", "一把椅子"],
    ["clock", "一个闹钟"],
    ["bag", "一个背包"],
];

/// A problem.
#[derive(Clone, Debug)]
pub(crate) struct Percent {
    kind: Kind,
    unit: usize,
    start: i64,
    events: Vec<Event>,
}

impl Percent {
    /// Draws a problem of `level + 1` items, no two the same.
    pub(crate) fn draw(level: u8, kind: Kind, rng: &mut CounterRng) -> Self {
        let unit = rng.below(UNITS.len());
        let start = if kind == Kind::Price { 10 * rng.between(2, 60) } else { 0 };
        let mut events: Vec<Event> = Vec::new();
        let mut value = start;
        while events.len() < usize::from(level) + 1 {
            let event = match kind {
                Kind::Price => price_event(value, rng),
                Kind::Trip => trip_event(rng),
                Kind::Units => {
                    let ratio = UNITS[unit].ratio;
                    let (large, small) = (rng.between(1, 9), rng.between(1, (ratio - 1).min(999)));
                    match rng.below(3) {
                        0 => Event::Amount(large, 0),
                        1 => Event::Amount(0, small),
                        _ => Event::Amount(large, small),
                    }
                }
            };
            let after = work(event, value, UNITS[unit].ratio).1;
            // A sum of amounts only grows, so a bound might leave none that fits.
            let fits = kind != Kind::Price || (2..=9_999).contains(&after);
            if fits && !events.contains(&event) {
                value = after;
                events.push(event);
            }
        }
        Self { kind, unit, start, events }
    }

    fn tell(&self, event: Event, language: Language) -> String {
        let Unit { large, small, .. } = UNITS[self.unit];
        let (large, small) = (word(language, large), word(language, small));
        if language == Language::Zh {
            return match event {
                Event::PercentOff(percent) => format!("降价{percent}%"),
                Event::PercentMore(percent) => format!("涨价{percent}%"),
                Event::Off(amount) => format!("降价{amount}元"),
                Event::More(amount) => format!("涨价{amount}元"),
                Event::Hours(hours, speed) => format!("以每小时{speed}公里的速度行驶{hours}小时"),
                Event::Minutes(minutes, speed) => {
                    format!("以每小时{speed}公里的速度行驶{minutes}分钟")
                }
                Event::Amount(count, 0) => format!("{count}{large}"),
                Event::Amount(0, count) => format!("{count}{small}"),
                Event::Amount(count, rest) => format!("{count}{large}{rest}{small}"),
            };
        }
        match event {
            Event::PercentOff(percent) => format!("{percent}% off"),
            Event::PercentMore(percent) => format!("{percent}% more"),
            Event::Off(amount) => format!("{amount} dollars off"),
            Event::More(amount) => format!("{amount} dollars more"),
            Event::Hours(hours, speed) => format!("{hours} hours at {speed} km an hour"),
            Event::Minutes(minutes, speed) => format!("{minutes} minutes at {speed} km an hour"),
            Event::Amount(count, 0) => format!("{count} {large}"),
            Event::Amount(0, count) => format!("{count} {small}"),
            Event::Amount(count, rest) => format!("{count} {large} {rest} {small}"),
        }
    }
}

fn price_event(value: i64, rng: &mut CounterRng) -> Event {
    let whole: Vec<i64> = (1..=19).map(|n| 5 * n).filter(|p| value * p % 100 == 0).collect();
    match rng.below(6) {
        0..=2 if !whole.is_empty() => {
            let percent = whole[rng.below(whole.len())];
            if percent <= 50 && rng.chance(1, 3) {
                Event::PercentMore(percent)
            } else {
                Event::PercentOff(percent)
            }
        }
        3 => Event::More(rng.between(2, 30)),
        4 => Event::Off(rng.between(2, 30)),
        // To the next ten, of which there are many whole percentages.
        _ => Event::More((10 - value % 10) + 10 * rng.between(0, 2)),
    }
}

fn trip_event(rng: &mut CounterRng) -> Event {
    if rng.chance(1, 2) {
        return Event::Hours(rng.between(2, 5), 5 * rng.between(4, 24));
    }
    let minutes = rng.pick(&[10, 12, 15, 20, 24, 30, 36, 40, 45, 48, 50]);
    loop {
        let speed = 5 * rng.between(4, 24);
        if speed * minutes % 60 == 0 {
            return Event::Minutes(minutes, speed);
        }
    }
}

/// The sums of an item, and the value after it.
fn work(event: Event, value: i64, ratio: i64) -> (String, i64) {
    let part = |percent: i64| {
        let product = value * percent;
        (format!("{value}*{percent}/100={product}/100={}", product / 100), product / 100)
    };
    let (sums, sign, amount) = match event {
        Event::PercentOff(percent) => {
            let (sums, amount) = part(percent);
            (sums, '-', amount)
        }
        Event::PercentMore(percent) => {
            let (sums, amount) = part(percent);
            (sums, '+', amount)
        }
        Event::Off(amount) => (String::new(), '-', amount),
        Event::More(amount) | Event::Amount(0, amount) => (String::new(), '+', amount),
        Event::Hours(hours, speed) => {
            (format!("{hours}*{speed}={}", hours * speed), '+', hours * speed)
        }
        Event::Minutes(minutes, speed) => {
            let product = minutes * speed;
            let sums = format!("{minutes}*{speed}/60={product}/60={}", product / 60);
            (sums, '+', product / 60)
        }
        Event::Amount(count, 0) => {
            (format!("{count}*{ratio}={}", count * ratio), '+', count * ratio)
        }
        Event::Amount(count, rest) => {
            let product = count * ratio;
            let amount = product + rest;
            (format!("{count}*{ratio}={product}, {product}+{rest}={amount}"), '+', amount)
        }
    };
    let after = if sign == '+' { value + amount } else { value - amount };
    let between = if sums.is_empty() { "" } else { ", " };
    (format!("{sums}{between}{value}{sign}{amount}={after}"), after)
}

impl Problem for Percent {
    fn signature(&self) -> String {
        let told = self.events.iter().map(|event| self.tell(*event, Language::En));
        let events: Vec<String> = told.collect();
        format!("percent/{}/{} {}", self.kind_name(), self.start, events.join(", "))
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Price => "price",
            Kind::Trip => "trip",
            Kind::Units => "units",
        }
    }

    fn render(&self, language: Language, rng: &mut CounterRng) -> Rendered {
        let (opening, asked) = match self.kind {
            Kind::Price => {
                let good = word(language, rng.pick(&GOODS));
                let opening = match (language, rng.below(2)) {
                    (Language::En, 0) => format!("A {good} costs {} dollars.", self.start),
                    (Language::En, _) => {
                        format!("The price of a {good} is {} dollars.", self.start)
                    }
                    (Language::Zh, 0) => format!("{good}售价{}元。", self.start),
                    (Language::Zh, _) => format!("{good}的价格是{}元。", self.start),
                };
                let asked = ["What does it cost now, in dollars?", "现在的价格是多少元？"];
                (opening, word(language, asked).to_owned())
            }
            Kind::Trip => {
                let driver = rng.pick(&NAMES);
                match language {
                    Language::En => {
                        (format!("{driver} drives."), format!("How many km does {driver} go?"))
                    }
                    Language::Zh => {
                        let driver = name(driver);
                        (format!("{driver}开车出行。"), format!("{driver}一共行驶了多少公里？"))
                    }
                }
            }
            Kind::Units => {
                let Unit { opening, asked, .. } = UNITS[self.unit];
                (word(language, opening).to_owned(), word(language, asked).to_owned())
            }
        };
        let events = labelled(self.events.iter().map(|event| self.tell(*event, language)));
        let mut value = self.start;
        let works: Vec<String> = (self.events.iter())
            .map(|event| {
                let (sums, after) = work(*event, value, UNITS[self.unit].ratio);
                value = after;
                sums
            })
            .collect();
        let question = format!("{opening}\n{}\n{asked}", events.join("\n"));
        let steps = all_spelled(language, restated(&events, works), &[]);
        Rendered { question, steps, answer: value.to_string() }
    }
}
