//! Fractions: a program over fractions in lowest terms, and parts of what a tank holds.

use super::chinese::all_spelled;
use super::layout::word;
use super::words::{labelled, restated};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Program,
    Parts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// A positive fraction in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fraction {
    top: i64,
    bottom: i64,
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Fraction {
    fn new(top: i64, bottom: i64) -> Self {
        let common = gcd(top, bottom);
        Self { top: top / common, bottom: bottom / common }
    }

    /// A proper fraction whose denominator is small.
    fn draw(most: i64, rng: &mut CounterRng) -> Self {
        let bottom = rng.between(2, most);
        Self::new(rng.between(1, bottom - 1), bottom)
    }

    fn text(self) -> String {
        raw(self.top, self.bottom)
    }
}

fn raw(top: i64, bottom: i64) -> String {
    if bottom == 1 { top.to_string() } else { format!("{top}/{bottom}") }
}

/// A problem.
#[derive(Clone, Debug)]
pub(crate) struct Fractions {
    kind: Kind,
    start: Fraction,
    steps: Vec<(Operator, Fraction)>,
}

/// The sums of an operation, and the value after it.
fn work(operator: Operator, value: Fraction, by: Fraction) -> (String, Fraction) {
    let mut sides = Vec::new();
    let (top, bottom) = match operator {
        Operator::Add | Operator::Subtract => {
            let sign = if operator == Operator::Add { '+' } else { '-' };
            sides.push(format!("{}{sign}{}", value.text(), by.text()));
            let common = value.bottom / gcd(value.bottom, by.bottom) * by.bottom;
            let (left, right) =
                (value.top * (common / value.bottom), by.top * (common / by.bottom));
            if value.bottom != common || by.bottom != common {
                sides.push(format!("{}{sign}{}", raw(left, common), raw(right, common)));
            }
            (if operator == Operator::Add { left + right } else { left - right }, common)
        }
        Operator::Multiply => {
            sides.push(format!("{}*{}", value.text(), by.text()));
            (value.top * by.top, value.bottom * by.bottom)
        }
        Operator::Divide => {
            sides.push(format!("{}*{}", value.text(), raw(by.bottom, by.top)));
            (value.top * by.bottom, value.bottom * by.top)
        }
    };
    let after = Fraction::new(top, bottom);
    sides.push(raw(top, bottom));
    if after.bottom != bottom {
        sides.push(after.text());
    }
    (sides.join("="), after)
}

/// The sums for a part that goes.
fn part(value: i64, by: Fraction) -> (String, i64) {
    let each = value / by.bottom;
    let gone = each * by.top;
    let left = value - gone;
    let product = if by.top > 1 { format!("{each}*{}={gone}, ", by.top) } else { String::new() };
    (format!("{value}/{}={each}, {product}{value}-{gone}={left}", by.bottom), left)
}

impl Fractions {
    /// Draws a problem of `level + 1` operations; numerators stay below 100 and
    /// denominators below 73.
    pub(crate) fn draw(level: u8, kind: Kind, rng: &mut CounterRng) -> Self {
        loop {
            let most = if level <= 2 { 6 } else { 9 };
            let start = match kind {
                Kind::Program => Fraction::draw(most, rng),
                Kind::Parts => Fraction::new(12 * rng.between(3, 80), 1),
            };
            let mut value = start;
            let mut steps: Vec<(Operator, Fraction)> = Vec::new();
            // A value that nothing fits comes up now and then.
            for _ in 0..60 {
                if steps.len() == usize::from(level) + 1 {
                    return Self { kind, start, steps };
                }
                let by = Fraction::draw(most, rng);
                let (operator, after) = match kind {
                    Kind::Parts if value.top % by.bottom == 0 => (
                        Operator::Multiply,
                        Fraction::new(value.top / by.bottom * (by.bottom - by.top), 1),
                    ),
                    Kind::Parts => continue,
                    Kind::Program => {
                        let smaller = by.top * value.bottom < value.top * by.bottom;
                        let operator = match rng.below(4) {
                            0 => Operator::Multiply,
                            1 if level >= 2 => Operator::Divide,
                            2 if smaller => Operator::Subtract,
                            _ => Operator::Add,
                        };
                        (operator, work(operator, value, by).1)
                    }
                };
                let fits = match kind {
                    Kind::Program => after.top < 100 && after.bottom <= 72,
                    Kind::Parts => after.top >= 2,
                };
                if fits && !steps.contains(&(operator, by)) {
                    value = after;
                    steps.push((operator, by));
                }
            }
        }
    }
}

impl Problem for Fractions {
    fn signature(&self) -> String {
        let steps: Vec<String> =
            self.steps.iter().map(|(operator, by)| format!("{operator:?} {}", by.text())).collect();
        format!("fractions/{}/{} {}", self.kind_name(), self.start.text(), steps.join(", "))
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Program => "program",
            Kind::Parts => "parts",
        }
    }

    fn render(&self, language: Language, rng: &mut CounterRng) -> Rendered {
        let start = self.start.text();
        // Before and behind the number, and what is asked.
        let (before, behind, asked) = match (self.kind, rng.below(2)) {
            (Kind::Program, 0) => (
                ["Begin with ", "从"],
                [".", "开始。"],
                ["What is the result in lowest terms?", "结果化到最简是多少？"],
            ),
            (Kind::Program, _) => (
                ["The number is ", "这个数是"],
                [".", "。"],
                ["What is it now, in lowest terms?", "现在这个数化到最简是多少？"],
            ),
            (Kind::Parts, 0) => (
                ["A tank holds ", "水箱里有"],
                [" litres.", "升水。"],
                ["How many litres are left?", "还剩多少升水？"],
            ),
            (Kind::Parts, _) => (
                ["A barn holds ", "谷仓里有"],
                [" sacks.", "袋粮食。"],
                ["How many sacks are left?", "还剩多少袋粮食？"],
            ),
        };
        let opening = format!("{}{start}{}", word(language, before), word(language, behind));
        let asked = word(language, asked);
        let items = labelled(self.steps.iter().map(|(operator, by)| {
            let by = by.text();
            let verb = match (self.kind, operator) {
                (Kind::Parts, _) => {
                    return match language {
                        Language::En => format!("{by} of the rest goes"),
                        Language::Zh => format!("取走剩下的{by}"),
                    };
                }
                (_, Operator::Add) => ["add ", "加上"],
                (_, Operator::Subtract) => ["subtract ", "减去"],
                (_, Operator::Multiply) => ["multiply by ", "乘以"],
                (_, Operator::Divide) => ["divide by ", "除以"],
            };
            format!("{}{by}", word(language, verb))
        }));
        let mut value = self.start;
        let mut works = Vec::with_capacity(self.steps.len());
        for &(operator, by) in &self.steps {
            let (sums, after) = match self.kind {
                Kind::Program => work(operator, value, by),
                Kind::Parts => {
                    let (sums, left) = part(value.top, by);
                    (sums, Fraction::new(left, 1))
                }
            };
            works.push(sums);
            value = after;
        }
        let question = format!("{opening}\n{}\n{asked}", items.join("\n"));
        let steps = all_spelled(language, restated(&items, works), &[]);
        Rendered { question, steps, answer: value.text() }
    }
}
