//! Whole numbers: each division of a line must be one, and the answers are found by trying
//! divisors and multiples in turn.

use super::label::{ItemLine, items, other_lines};
use super::worked::result;
use super::{LineChecks, Reading, StepVerdict};

/// Above this, trying numbers in turn takes too long.
const MOST: i128 = 1_000_000;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Divisor,
    Multiple,
    Remainder { start: i128, modulus: i128 },
    Primes,
}

struct Item {
    label: char,
    text: String,
    multiplies: bool,
    number: i128,
}

struct Question {
    kind: Kind,
    items: Vec<Item>,
}

/// A number divided: `84=36*2+12`.
struct Division {
    number: i128,
    by: i128,
    rest: i128,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    let mut lines = other_lines(question);
    let (opening, asked) = (lines.next()?, lines.next_back()?);
    let kind = match asked {
        "What is the greatest common divisor?"
        | "What is the largest number that divides them all?" => Kind::Divisor,
        "What is the least common multiple?"
        | "What is the smallest number that they all divide?" => Kind::Multiple,
        "How many of them are prime?" | "How many primes are there?" => Kind::Primes,
        _ => {
            let start = opening.strip_prefix("The first number is ")?.strip_suffix('.')?;
            let modulus = asked.strip_prefix("What is the remainder modulo ")?.strip_suffix('?')?;
            let (start, modulus) = (whole(start)?, whole(modulus)?);
            (modulus > 0).then_some(Kind::Remainder { start, modulus })?
        }
    };
    let mut told = Vec::new();
    for item in items(question)? {
        let (multiplies, number) = match (kind, item.text.split_once(' ')) {
            (Kind::Remainder { .. }, Some(("times", number))) => (true, number),
            (Kind::Remainder { .. }, Some(("plus", number))) => (false, number),
            (Kind::Divisor | Kind::Multiple | Kind::Primes, None) => (false, item.text),
            _ => return None,
        };
        let number = whole(number).filter(|number| *number > 0)?;
        told.push(Item { label: item.label, text: item.text.to_owned(), multiplies, number });
    }
    (!told.is_empty()).then(|| Box::new(Question { kind, items: told }) as _)
}

fn whole(text: &str) -> Option<i128> {
    text.parse().ok().filter(|number| (0..=MOST).contains(number))
}

fn division(part: &str) -> Option<Division> {
    let (number, rest) = part.split_once('=')?;
    let (by, rest) = rest.split_once('*')?;
    let (quotient, rest) = rest.split_once('+')?;
    let (number, by, quotient, rest) = (whole(number)?, whole(by)?, whole(quotient)?, whole(rest)?);
    // One that is not true divides another number.
    let number = if number == by * quotient + rest && rest < by { number } else { -1 };
    Some(Division { number, by, rest })
}

/// Whether the parts are Euclid's divisions of two numbers, and the divisor they end with.
fn euclid(parts: &[&str], one: i128, other: i128) -> Option<(bool, i128)> {
    let (mut large, mut small) = (one.max(other), one.min(other));
    let mut held = true;
    for part in parts {
        let found = division(part)?;
        held &= found.number == large && found.by == small;
        (large, small) = (found.by, found.rest);
    }
    Some((held && small == 0, large))
}

impl Question {
    /// Whether a line holds for the item it must be about, and the value that it claims;
    /// nothing where its form is unknown.
    fn line(&self, line: &str, next: usize, value: i128) -> Option<(bool, i128)> {
        let about = ItemLine::of(line)?;
        let parts: Vec<&str> = about.work.split(", ").collect();
        let (last, parts) = parts.split_last()?;
        let claimed = whole(last)?;
        let Some(item) = self.items.get(next) else { return Some((false, claimed)) };
        let is_about = about.is_about(item.label, &item.text);
        let held = match self.kind {
            Kind::Divisor | Kind::Multiple if next == 0 => {
                parts.is_empty() && claimed == item.number
            }
            Kind::Divisor => {
                let (held, divisor) = euclid(parts, value, item.number)?;
                held && claimed == divisor
            }
            Kind::Multiple => {
                let (product, divisions) = parts.split_last()?;
                let (held, divisor) = euclid(divisions, value, item.number)?;
                let first = format!("{value}/{divisor}*{}", item.number);
                held && result(product, &first)? == Some(claimed)
            }
            Kind::Remainder { modulus, .. } => {
                let [sum, rest] = parts else { return None };
                let sign = if item.multiplies { '*' } else { '+' };
                let reached = result(sum, &format!("{value}{sign}{}", item.number))?;
                let found = division(rest)?;
                reached == Some(found.number) && found.by == modulus && found.rest == claimed
            }
            Kind::Primes => {
                let (verdict, divisions) = parts.split_last()?;
                let prime = match *verdict {
                    "prime" => true,
                    "not prime" => false,
                    _ => return None,
                };
                let found: Vec<Division> =
                    divisions.iter().map(|part| division(part)).collect::<Option<_>>()?;
                let divides = |division: &Division| division.rest == 0;
                let shown = if prime {
                    // Every prime up to the root was tried.
                    (2..=MOST)
                        .take_while(|d| d * d <= item.number)
                        .filter(|d| is_prime(*d))
                        .all(|d| found.iter().any(|division| division.by == d))
                        && !found.iter().any(divides)
                } else {
                    found
                        .last()
                        .is_some_and(|last| divides(last) && 1 < last.by && last.by < item.number)
                };
                found.iter().all(|division| division.number == item.number)
                    && shown
                    && claimed == value + i128::from(prime)
            }
        };
        Some((is_about && held, claimed))
    }
}

fn is_prime(number: i128) -> bool {
    number > 1 && (2..number).take_while(|d| d * d <= number).all(|d| number % d != 0)
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        let numbers = || self.items.iter().map(|item| item.number);
        let answer = match self.kind {
            Kind::Divisor => {
                let least = numbers().min()?;
                (1..=least).rev().find(|divisor| numbers().all(|n| n % divisor == 0))?
            }
            Kind::Multiple => {
                let most = numbers().max()?;
                (1..=MOST / most).map(|n| n * most).find(|m| numbers().all(|n| m % n == 0))?
            }
            Kind::Remainder { start, modulus } => {
                // Worked out in full, and divided once.
                let full = self.items.iter().try_fold(start, |value, item| {
                    if item.multiplies {
                        value.checked_mul(item.number)
                    } else {
                        value.checked_add(item.number)
                    }
                })?;
                full % modulus
            }
            Kind::Primes => numbers().filter(|number| is_prime(*number)).count() as i128,
        };
        Some(answer.to_string())
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        let mut checks = LineChecks::default();
        let mut value = if let Kind::Remainder { start, .. } = self.kind { start } else { 0 };
        let mut next = 0;
        for line in lines {
            let judged = self.line(line, next, value);
            checks.verdicts.push(StepVerdict::of(judged.map(|(holds, _)| holds)));
            if let Some((_, claimed)) = judged {
                next += 1;
                value = claimed;
                checks.conclusion = Some(claimed.to_string());
            }
        }
        // A chain that stops early concludes nothing, even where the rest changes nothing.
        if next != self.items.len() {
            checks.conclusion = None;
        }
        checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepVerdict::{Ok, Unchecked, Wrong};

    fn question(opening: &str, items: &[&str], asked: &str) -> String {
        let items: Vec<String> =
            ('A'..).zip(items).map(|(label, item)| format!("#{label} {item}")).collect();
        format!("{opening}\n{}\n{asked}", items.join("\n"))
    }

    fn verdicts(question: &str, lines: &[&str]) -> Vec<StepVerdict> {
        read(question).map(|read| read.check(lines).verdicts).unwrap_or_default()
    }

    const LOOK: &str = "Look at the numbers.";

    #[test]
    fn a_greatest_common_divisor_is_euclid_s() {
        let asked = question(LOOK, &["84", "36"], "What is the greatest common divisor?");
        assert_eq!(read(&asked).unwrap().answer().as_deref(), Some("12"));
        let second = "#B 36: 84=36*2+12, 36=12*3+0, 12";
        assert_eq!(verdicts(&asked, &["#A 84: 84", second]), [Ok, Ok]);
        for line in [
            "#B 36: 84=36*2+12, 36=12*3+0, 36",
            "#B 36: 84=36*2+12, 12",
            "#B 36: 84=36*2+13, 36=12*3+0, 12",
            "#B 36: 36=12*3+0, 12",
            "#A 84: 84=36*2+12, 36=12*3+0, 12",
        ] {
            assert_eq!(verdicts(&asked, &["#A 84: 84", line]), [Ok, Wrong], "{line}");
        }
    }

    #[test]
    fn a_least_common_multiple_needs_the_divisor() {
        let asked = question(LOOK, &["12", "18"], "What is the least common multiple?");
        assert_eq!(read(&asked).unwrap().answer().as_deref(), Some("36"));
        let second = "#B 18: 18=12*1+6, 12=6*2+0, 12/6*18=2*18=36";
        assert_eq!(verdicts(&asked, &["#A 12: 12", &format!("{second}, 36")]), [Ok, Ok]);
        assert_eq!(verdicts(&asked, &["#A 12: 12", &format!("{second}, 37")]), [Ok, Wrong]);
        let product = "#B 18: 18=12*1+6, 12=6*2+0, 12*18=216, 216";
        assert_eq!(verdicts(&asked, &["#A 12: 12", product]), [Ok, Wrong]);
    }

    #[test]
    fn remainders_and_primes() {
        let asked = question(
            "The first number is 3.",
            &["plus 30", "times 4"],
            "What is the remainder modulo 7?",
        );
        // 33 * 4 = 132 = 18 * 7 + 6.
        assert_eq!(read(&asked).unwrap().answer().as_deref(), Some("6"));
        let first = "#A plus 30: 3+30=33, 33=7*4+5, 5";
        assert_eq!(verdicts(&asked, &[first, "#B times 4: 5*4=20, 20=7*2+6, 6"]), [Ok, Ok]);
        assert_eq!(verdicts(&asked, &[first, "#B times 4: 5+4=9, 9=7*1+2, 2"]), [Ok, Wrong]);
        assert_eq!(verdicts(&asked, &[first, "#B times 4: 5*4=20, 20=6*3+2, 2"]), [Ok, Wrong]);
        let asked = question(LOOK, &["91", "97", "51"], "How many of them are prime?");
        assert_eq!(read(&asked).unwrap().answer().as_deref(), Some("1"));
        let first = "#A 91: 91=2*45+1, 91=3*30+1, 91=5*18+1, 91=7*13+0, not prime, 0";
        let second = "#B 97: 97=2*48+1, 97=3*32+1, 97=5*19+2, 97=7*13+6, prime, 1";
        let third = "#C 51: 51=2*25+1, 51=3*17+0, not prime, 1";
        assert_eq!(verdicts(&asked, &[first, second, third]), [Ok; 3]);
        for line in [
            "#B 97: 97=2*48+1, 97=3*32+1, 97=5*19+2, prime, 1",
            "#B 97: 97=2*48+1, 97=3*32+1, 97=5*19+2, 97=7*13+6, not prime, 0",
            "#B 97: 97=2*48+1, 97=3*32+1, 97=5*19+2, 97=7*13+6, prime, 2",
        ] {
            assert_eq!(verdicts(&asked, &[first, line]), [Ok, Wrong], "{line}");
        }
        assert_eq!(verdicts(&asked, &["#A 91: no", "Well."]), [Unchecked; 2]);
    }
}
