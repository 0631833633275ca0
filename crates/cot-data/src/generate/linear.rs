//! Linear equations: one with one unknown, or two with two, all solutions whole numbers.

use super::chinese::{Words, all_spelled};
use super::layout::word;
use super::words::{self, labelled};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

const WORDS: &Words = &[("times", "乘以"), ("sum", "相加"), ("difference", "相减")];

/// `x`, `y` and the constant of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Side {
    x: i64,
    y: i64,
    constant: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Equation {
    left: Side,
    right: Side,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    X,
    Y,
    Sum,
}

/// A problem.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    equations: Vec<Equation>,
    x: i64,
    y: i64,
    asked: Asked,
}

fn term(coefficient: i64, name: &str) -> String {
    let sign = if coefficient < 0 { '-' } else { '+' };
    match coefficient.abs() {
        0 => String::new(),
        1 if !name.is_empty() => format!("{sign}{name}"),
        size => format!("{sign}{size}{name}"),
    }
}

fn sum(terms: &[String]) -> String {
    let text = terms.concat();
    match text.strip_prefix('+') {
        Some(rest) => rest.to_owned(),
        None if text.is_empty() => "0".to_owned(),
        None => text,
    }
}

impl Side {
    fn text(self) -> String {
        sum(&[term(self.x, "x"), term(self.y, "y"), term(self.constant, "")])
    }

    fn times(self, factor: i64) -> Self {
        Self { x: self.x * factor, y: self.y * factor, constant: self.constant * factor }
    }
}

impl Equation {
    fn text(self) -> String {
        format!("{}={}", self.left.text(), self.right.text())
    }

    fn times(self, factor: i64) -> Self {
        Self { left: self.left.times(factor), right: self.right.times(factor) }
    }
}

/// A number that is not 0, from `-most` to `most`.
fn nonzero(most: i64, rng: &mut CounterRng) -> i64 {
    let size = rng.between(1, most);
    if rng.chance(1, 2) { size } else { -size }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}

/// `ax=c, x=c/a=…`, the last two where a is not 1.
fn solved(coefficient: i64, name: &str, constant: i64) -> String {
    let value = constant / coefficient;
    if coefficient == 1 {
        format!("{name}={value}")
    } else {
        let divisor =
            if coefficient < 0 { format!("({coefficient})") } else { coefficient.to_string() };
        format!("{name}={constant}/{divisor}={value}")
    }
}

impl Linear {
    /// Draws a problem: `ax+b=c`, `ax+b=cx+d`, two equations with small coefficients one of
    /// whose unknowns is asked for, or two of which the sum of both is.
    pub(crate) fn draw(level: u8, rng: &mut CounterRng) -> Self {
        let (x, y) = (nonzero(12, rng), nonzero(12, rng));
        if level <= 2 {
            let size = rng.between(2, 12);
            let a = if level == 2 && rng.chance(1, 4) { -size } else { size };
            let b = nonzero(40, rng);
            let c = if level == 1 { 0 } else { nonzero(9, rng) };
            if a == c || a - c == 1 {
                return Self::draw(level, rng);
            }
            let left = Side { x: a, y: 0, constant: b };
            let right = Side { x: c, y: 0, constant: (a - c) * x + b };
            return Self { equations: vec![Equation { left, right }], x, y: 0, asked: Asked::X };
        }
        let most = if level == 3 { 5 } else { 9 };
        loop {
            let mut equation = || {
                let (a, b) = (nonzero(most, rng), nonzero(most, rng));
                let left = Side { x: a.abs(), y: b, constant: 0 };
                let right = Side { x: 0, y: 0, constant: a.abs() * x + b * y };
                Equation { left, right }
            };
            let (first, second) = (equation(), equation());
            let determinant = first.left.x * second.left.y - first.left.y * second.left.x;
            if determinant != 0 && first.right.constant != 0 && second.right.constant != 0 {
                let asked = match level {
                    3 if rng.chance(1, 2) => Asked::X,
                    3 => Asked::Y,
                    _ => Asked::Sum,
                };
                return Self { equations: vec![first, second], x, y, asked };
            }
        }
    }

    fn answer(&self) -> i64 {
        match self.asked {
            Asked::X => self.x,
            Asked::Y => self.y,
            Asked::Sum => self.x + self.y,
        }
    }

    /// Takes the constant to the right, the unknown to the left, and divides.
    fn one_unknown(equation: Equation) -> String {
        let Equation { left, right } = equation;
        let mut parts = Vec::new();
        let coefficient = left.x - right.x;
        let constant = right.constant - left.constant;
        let moved = sum(&[term(right.constant, ""), term(-left.constant, "")]);
        if right.x == 0 {
            parts.push(format!("{}={moved}={constant}", sum(&[term(left.x, "x")])));
        } else {
            let unknowns = sum(&[term(left.x, "x"), term(-right.x, "x")]);
            parts.push(format!("{unknowns}={moved}"));
            parts.push(format!("{}={constant}", sum(&[term(coefficient, "x")])));
        }
        if coefficient != 1 {
            parts.push(solved(coefficient, "x", constant));
        }
        parts.join(", ")
    }

    /// Makes the coefficients of one unknown equal, takes it out, and solves for the other;
    /// where both are asked for, puts that into the first equation.
    fn two_unknowns(&self, items: &[String], first: Equation, second: Equation) -> Vec<String> {
        let keeps_x = self.asked != Asked::Y;
        let (name, gone) = if keeps_x { ("x", "y") } else { ("y", "x") };
        let of = |side: Side, wanted: &str| if wanted == "x" { side.x } else { side.y };
        let (left, right) = (of(first.left, gone), of(second.left, gone));
        let common = gcd(left, right);
        let factors = [right.abs() / common, left.abs() / common];
        let scaled = [first.times(factors[0]), second.times(factors[1])];
        let mut steps: Vec<String> = (items.iter().zip(factors).zip(scaled))
            .map(|((item, factor), equation)| {
                format!("{item}: times {factor}, {}", equation.text())
            })
            .collect();
        let (word, sign) = if left * right < 0 { ("sum", 1) } else { ("difference", -1) };
        let coefficient = of(scaled[0].left, name) + sign * of(scaled[1].left, name);
        let constant = scaled[0].right.constant + sign * scaled[1].right.constant;
        let mut parts = vec![format!("{}={constant}", sum(&[term(coefficient, name)]))];
        if coefficient != 1 {
            parts.push(solved(coefficient, name, constant));
        }
        steps.push(format!("{word}: {}", parts.join(", ")));
        if self.asked == Asked::Sum {
            let Equation { left, right } = first;
            let put = left.x * self.x;
            let rest = right.constant - put;
            let product = if self.x < 0 {
                format!("{}*({})", left.x, self.x)
            } else {
                format!("{}*{}", left.x, self.x)
            };
            let mut parts = vec![
                format!("{product}{}={}", term(left.y, "y"), right.constant),
                format!(
                    "{}={}={rest}",
                    sum(&[term(left.y, "y")]),
                    sum(&[right.constant.to_string(), term(-put, "")])
                ),
            ];
            if left.y != 1 {
                parts.push(solved(left.y, "y", rest));
            }
            steps.push(format!("{}: {}", items[0], parts.join(", ")));
        }
        steps
    }
}

impl Problem for Linear {
    fn signature(&self) -> String {
        let equations: Vec<String> = self.equations.iter().map(|one| one.text()).collect();
        format!("linear/{} {:?}", equations.join(" "), self.asked)
    }

    fn kind_name(&self) -> &'static str {
        if self.equations.len() == 1 { "one" } else { "two" }
    }

    fn render(&self, language: Language, rng: &mut CounterRng) -> Rendered {
        let items = labelled(self.equations.iter().map(|one| one.text()));
        let asked = match self.asked {
            Asked::X => ["What is x", "x等于多少"],
            Asked::Y => ["What is y", "y等于多少"],
            Asked::Sum => ["What is x+y", "x+y等于多少"],
        };
        let asked = word(language, asked);
        let mut steps = match self.equations.as_slice() {
            [first, second] => self.two_unknowns(&items, *first, *second),
            _ => vec![format!("{}: {}", items[0], Self::one_unknown(self.equations[0]))],
        };
        let answer = self.answer().to_string();
        let last = match self.asked {
            Asked::Sum => format!("{}{}={answer}", self.x, term(self.y, "")),
            _ => answer.clone(),
        };
        steps.push(words::answered(asked, &last));
        let opening = match rng.below(2) {
            0 => ["Solve the equations.", "解方程。"],
            _ => ["These equations hold.", "已知以下等式成立。"],
        };
        let opening = word(language, opening);
        let items = items.join("\n");
        let question = format!("{opening}\n{items}\n{}", words::asked(language, asked));
        let steps = all_spelled(language, steps, WORDS);
        Rendered { question, steps, answer }
    }
}
