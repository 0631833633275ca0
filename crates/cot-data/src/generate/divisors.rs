//! Whole numbers: greatest common divisors, least common multiples, remainders and primes,
//! each as a running value that takes in one item after another.

use super::chinese::{Words, all_spelled};
use super::layout::word;
use super::words::{labelled, restated};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Divisor,
    Multiple,
    Remainder,
    Primes,
}

const WORDS: &Words = &[("prime", "是质数"), ("not prime", "不是质数")];

/// A problem; in one about remainders, an item may multiply.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    kind: Kind,
    /// Of remainders: the modulus, and the number to start with.
    modulus: i64,
    start: i64,
    items: Vec<(bool, i64)>,
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// `84=2*36+12, 36=3*12+0`: Euclid's divisions.
fn euclid(a: i64, b: i64) -> Vec<String> {
    let (mut large, mut small) = (a.max(b), a.min(b));
    let mut parts = Vec::new();
    while small != 0 {
        parts.push(division(large, small));
        (large, small) = (small, large % small);
    }
    parts
}

fn division(number: i64, by: i64) -> String {
    format!("{number}={by}*{}+{}", number / by, number % by)
}

/// The divisions that show whether a number is prime: by primes up to its root, until one
/// leaves nothing.
fn trials(number: i64) -> (Vec<String>, bool) {
    let mut parts = Vec::new();
    for prime in [2, 3, 5, 7, 11, 13, 17, 19] {
        if prime * prime > number {
            break;
        }
        parts.push(division(number, prime));
        if number % prime == 0 {
            return (parts, false);
        }
    }
    (parts, true)
}

impl Numbers {
    /// Draws a problem of `level + 1` numbers, at most four for divisors and multiples.
    pub(crate) fn draw(level: u8, kind: Kind, rng: &mut CounterRng) -> Self {
        let level = i64::from(level);
        let most = [0, 60, 120, 240, 360][level as usize];
        let count = match kind {
            Kind::Divisor | Kind::Multiple => (level + 1).min(4),
            Kind::Remainder | Kind::Primes => level + 1,
        } as usize;
        let modulus = rng.between(5, 10 + 5 * level);
        let start = rng.between(1, modulus - 1);
        // Numbers with a divisor in common, so that the answer is seldom 1.
        let common = rng.between(2, 6 + 3 * level);
        let mut items: Vec<(bool, i64)> = Vec::new();
        let mut value = 1;
        while items.len() < count {
            let multiplies = kind == Kind::Remainder && rng.chance(1, 2);
            let number = match kind {
                Kind::Divisor => common * rng.between(2, (most / common).max(4)),
                Kind::Multiple => rng.between(3, 12 + 4 * level),
                Kind::Remainder if multiplies => rng.between(2, 12),
                Kind::Remainder => rng.between(10, 99),
                Kind::Primes => prime_or_near(most, rng),
            };
            if kind == Kind::Multiple {
                let after = value / gcd(value, number) * number;
                if after > 5_000 {
                    value = 1;
                    items.clear();
                    continue;
                }
                value = after;
            }
            if items.iter().all(|item| item.1 != number) {
                items.push((multiplies, number));
            }
        }
        Self { kind, modulus, start, items }
    }

    fn tell(&self, (multiplies, number): (bool, i64), language: Language) -> String {
        let verb = match (self.kind, multiplies) {
            (Kind::Remainder, true) => ["times ", "乘以"],
            (Kind::Remainder, false) => ["plus ", "加上"],
            _ => [""; 2],
        };
        format!("{}{number}", word(language, verb))
    }

    /// The work on each item, and the value after the last.
    fn works(&self) -> (Vec<String>, i64) {
        let mut value = if self.kind == Kind::Remainder { self.start } else { 0 };
        let mut works = Vec::with_capacity(self.items.len());
        for (index, &(multiplies, number)) in self.items.iter().enumerate() {
            let mut parts = Vec::new();
            match self.kind {
                Kind::Divisor | Kind::Multiple if index == 0 => value = number,
                Kind::Divisor => {
                    parts = euclid(value, number);
                    value = gcd(value, number);
                }
                Kind::Multiple => {
                    parts = euclid(value, number);
                    let common = gcd(value, number);
                    let share = value / common;
                    let after = share * number;
                    parts.push(format!("{value}/{common}*{number}={share}*{number}={after}"));
                    value = after;
                }
                Kind::Remainder => {
                    let (sign, after) =
                        if multiplies { ('*', value * number) } else { ('+', value + number) };
                    parts.push(format!("{value}{sign}{number}={after}"));
                    parts.push(division(after, self.modulus));
                    value = after % self.modulus;
                }
                Kind::Primes => {
                    let (divisions, prime) = trials(number);
                    parts = divisions;
                    parts.push(if prime { "prime" } else { "not prime" }.to_owned());
                    value += i64::from(prime);
                }
            }
            parts.push(value.to_string());
            works.push(parts.join(", "));
        }
        (works, value)
    }
}

/// A prime or a number without the divisors 2 and 5, half and half or so.
fn prime_or_near(most: i64, rng: &mut CounterRng) -> i64 {
    let wants_prime = rng.chance(1, 2);
    loop {
        let number = rng.between(11, most + 40);
        if number % 2 != 0 && number % 5 != 0 && (!wants_prime || trials(number).1) {
            return number;
        }
    }
}

impl Problem for Numbers {
    fn signature(&self) -> String {
        let told = self.items.iter().map(|item| self.tell(*item, Language::En));
        let items: Vec<String> = told.collect();
        let start = match self.kind {
            Kind::Remainder => format!("{} {} ", self.modulus, self.start),
            _ => String::new(),
        };
        format!("number/{}/{start}{}", self.kind_name(), items.join(" "))
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Divisor => "divisor",
            Kind::Multiple => "multiple",
            Kind::Remainder => "remainder",
            Kind::Primes => "primes",
        }
    }

    fn render(&self, language: Language, rng: &mut CounterRng) -> Rendered {
        let items = labelled(self.items.iter().map(|item| self.tell(*item, language)));
        let asked = match (self.kind, rng.below(2)) {
            (Kind::Divisor, 0) => ["What is the greatest common divisor?", "最大公约数是多少？"],
            (Kind::Divisor, _) => [
                "What is the largest number that divides them all?",
                "能整除所有这些数的最大的数是多少？",
            ],
            (Kind::Multiple, 0) => ["What is the least common multiple?", "最小公倍数是多少？"],
            (Kind::Multiple, _) => [
                "What is the smallest number that they all divide?",
                "能被所有这些数整除的最小的正整数是多少？",
            ],
            (Kind::Remainder, _) => ["", ""],
            (Kind::Primes, 0) => ["How many of them are prime?", "其中有多少个是质数？"],
            (Kind::Primes, _) => ["How many primes are there?", "一共有多少个质数？"],
        };
        let (opening, asked) = match (self.kind, language) {
            (Kind::Remainder, Language::En) => (
                format!("The first number is {}.", self.start),
                format!("What is the remainder modulo {}?", self.modulus),
            ),
            (Kind::Remainder, Language::Zh) => (
                format!("第一个数是{}。", self.start),
                format!("最后的数除以{}的余数是多少？", self.modulus),
            ),
            _ => {
                let opening = word(language, ["Look at the numbers.", "请看这些数。"]);
                (opening.to_owned(), word(language, asked).to_owned())
            }
        };
        let (works, value) = self.works();
        let question = format!("{opening}\n{}\n{asked}", items.join("\n"));
        let steps = all_spelled(language, restated(&items, works), WORDS);
        Rendered { question, steps, answer: value.to_string() }
    }
}
