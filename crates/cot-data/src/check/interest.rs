//! Interest and present value. The second solver of compound interest works on cents as
//! whole numbers, that of present values brings all payments forward to the last year.
//!
//! The forms bound how many digits a number has, so that nothing overflows.

use std::sync::LazyLock;

use num_rational::Ratio;
use regex::{Captures, Regex};

use super::sheet::{Number, Sheet, Sum, digits, integer, pattern, sums, whole};
use super::{LineChecks, Reading};

static FORMS: LazyLock<[Regex; 3]> = LazyLock::new(|| {
    [
        pattern(
            r"^(?:Simple interest is paid on the first deposit only\.|按单利计息，每年的利息只按本金计算。)$",
        ),
        pattern(concat!(
            r"^(?:A deposit of (\d{1,7}(?:\.\d\d?)?) euros earns compound interest\. Each year's interest is ",
            r"rounded to the cent, half a cent up\.|",
            r"存入(\d{1,7}(?:\.\d\d?)?)元，按复利计息，每年的利息四舍五入到分。)$",
        )),
        pattern(concat!(
            r"^(?:The discount rate is (\d\d?)% a year: divide by (\d\.\d\d?) for each year\.|",
            r"年折现率为(\d\d?)%，每折现一年除以(\d\.\d\d?)。)$",
        )),
    ]
});
static DEPOSIT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(?:a deposit of (\d{1,7}(?:\.\d\d?)?) euros|存入(\d{1,7}(?:\.\d\d?)?)元)$")
});
static RATE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:(\d\d?(?:\.\d\d?)?)% a year|年利率(\d\d?(?:\.\d\d?)?)%)$"));
static YEARS: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(?:(\d\d?) years|存期(\d\d?)年)$"));
static TAX: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(?:a tax of (\d\d?(?:\.\d\d?)?)% on the interest|利息税税率(\d\d?(?:\.\d\d?)?)%)$")
});
static YEAR: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(?:year (\d) at (\d\d?(?:\.\d\d?)?)%|第(\d)年利率(\d\d?(?:\.\d\d?)?)%)$")
});
static PAID: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(?:pay (\d{1,7}(?:\.\d\d?)?) euros now|现在支付(\d{1,7}(?:\.\d\d?)?)元)$")
});
static RECEIVED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"^(?:receive (?<e>\d{1,7}(?:\.\d\d?)?) euros after (?<y>[1-5]) years?|",
        r"(?<z>[1-5])年后收到(?<c>\d{1,7}(?:\.\d\d?)?)元)$",
    ))
});

/// The value of the group that matched, of two that mean the same.
fn either(found: &Captures<'_>, first: usize, second: usize) -> Option<Number> {
    whole(found.get(first).or(found.get(second))?.as_str())
}

/// What an item says.
#[derive(Clone, Copy)]
enum Item {
    Deposit(Number),
    Rate(Number),
    Years(Number),
    Tax(Number),
    /// A year of compound interest, at a rate.
    Year(Number),
    Paid(Number),
    Received(Number, i32),
}

#[derive(Clone, Copy)]
enum Kind {
    Simple,
    Compound { deposit: Number },
    PresentValue { growth: Number },
}

struct Question {
    sheet: Sheet,
    kind: Kind,
    items: Vec<Item>,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    Question::of(question).map(|read| Box::new(read) as Box<dyn Reading>)
}

fn item(text: &str, place: usize) -> Option<Item> {
    let number = |form: &Regex| form.captures(text).and_then(|found| either(&found, 1, 2));
    if let Some(found) = YEAR.captures(text) {
        // Years come one after another.
        let year = either(&found, 1, 3)?;
        return (year == integer(place as i64 + 1)).then_some(Item::Year(either(&found, 2, 4)?));
    }
    if let Some(found) = RECEIVED.captures(text) {
        let amount = whole(found.name("e").or(found.name("c"))?.as_str())?;
        let years = found.name("y").or(found.name("z"))?.as_str().parse().ok()?;
        return Some(Item::Received(amount, years));
    }
    number(&DEPOSIT)
        .map(Item::Deposit)
        .or_else(|| number(&RATE).map(Item::Rate))
        .or_else(|| number(&YEARS).map(Item::Years))
        .or_else(|| number(&TAX).map(Item::Tax))
        .or_else(|| number(&PAID).map(Item::Paid))
}

/// What a chain has reached.
#[derive(Clone, Copy)]
struct State {
    deposit: Number,
    /// Interest so far, a balance, or a present value.
    value: Number,
}

fn half_up(value: Number) -> Number {
    let cents = value * integer(200) + integer(1);
    Ratio::from_integer((cents / integer(2)).to_integer()) / integer(100)
}

impl Question {
    fn of(question: &str) -> Option<Self> {
        let sheet = Sheet::of(question)?;
        let opening = sheet.opening();
        let kind = if FORMS[0].is_match(&opening) {
            Kind::Simple
        } else if let Some(found) = FORMS[1].captures(&opening) {
            Kind::Compound { deposit: either(&found, 1, 2)? }
        } else {
            let found = FORMS[2].captures(&opening)?;
            let growth = either(&found, 2, 4)?;
            if growth != integer(1) + either(&found, 1, 3)? / integer(100) {
                return None;
            }
            Kind::PresentValue { growth }
        };
        let items = sheet.items.iter().enumerate();
        let items: Option<Vec<Item>> = items.map(|(place, (_, text))| item(text, place)).collect();
        Some(Self { kind, items: items?, sheet })
    }

    /// The sums that a line about an item must have.
    fn expected(&self, state: State, item: Item) -> Vec<Sum> {
        let (hundred, State { deposit, value }) = (integer(100), state);
        match item {
            Item::Deposit(sum) => vec![Sum::of(&[sum], sum)],
            Item::Rate(rate) => {
                vec![Sum::of(&[deposit, rate, hundred], deposit * rate / hundred)]
            }
            Item::Years(years) => vec![Sum::of(&[value, years], value * years)],
            Item::Tax(rate) => {
                let due = value * rate / hundred;
                vec![Sum::of(&[value, rate, hundred], due), Sum::of(&[value, due], value - due)]
            }
            Item::Year(rate) => {
                let exact = value * rate / hundred;
                let rounded = half_up(exact);
                vec![
                    Sum {
                        numbers: vec![value, rate, hundred],
                        value: exact,
                        rounded: (rounded != exact).then_some(rounded),
                    },
                    Sum::of(&[value, rounded], value + rounded),
                ]
            }
            Item::Paid(sum) => vec![Sum::of(&[integer(0), sum], -sum)],
            Item::Received(sum, years) => {
                let Kind::PresentValue { growth } = self.kind else { return Vec::new() };
                let mut worth = sum;
                let mut expected = Vec::new();
                for _ in 0..years {
                    expected.push(Sum::of(&[worth, growth], worth / growth));
                    worth /= growth;
                }
                expected.push(Sum::of(&[value, worth], value + worth));
                expected
            }
        }
    }
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        let hundred = integer(100);
        let found = match self.kind {
            Kind::Simple => {
                // All factors at once: what is left of each euro of interest, for each year.
                let (mut deposit, mut factor) = (None, integer(1));
                for item in &self.items {
                    match *item {
                        Item::Deposit(sum) => deposit = Some(sum),
                        Item::Rate(rate) => factor *= rate / hundred,
                        Item::Years(years) => factor *= years,
                        Item::Tax(rate) => factor *= (hundred - rate) / hundred,
                        _ => return None,
                    }
                }
                deposit? * (integer(1) + factor)
            }
            Kind::Compound { deposit } => {
                let mut cents = (deposit * hundred).to_integer();
                for item in &self.items {
                    let Item::Year(rate) = item else { return None };
                    // The rate in hundredths of a per cent, so that all is whole.
                    let basis = (rate * hundred).to_integer();
                    cents += (cents * basis + 5_000) / 10_000;
                }
                Ratio::from_integer(cents) / hundred
            }
            Kind::PresentValue { growth } => {
                let last = self.items.iter().map(|item| match item {
                    Item::Received(_, years) => *years,
                    _ => 0,
                });
                let last = last.max()?;
                let mut forward = integer(0);
                for item in &self.items {
                    forward += match item {
                        Item::Paid(sum) => -sum * growth.pow(last),
                        Item::Received(sum, years) => sum * growth.pow(last - years),
                        _ => return None,
                    };
                }
                forward / growth.pow(last)
            }
        };
        Some(digits(found))
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        let start = match self.kind {
            Kind::Compound { deposit } => State { deposit, value: deposit },
            _ => State { deposit: integer(0), value: integer(0) },
        };
        self.sheet.check(
            lines,
            start,
            |state, index, work| {
                let item = *self.items.get(index)?;
                let (held, reached) = sums(&self.sheet.parts(work), &self.expected(*state, item))?;
                match item {
                    Item::Deposit(_) => state.deposit = reached,
                    _ => state.value = reached,
                }
                Some(held)
            },
            |&State { deposit, value }, work| {
                let expected = match self.kind {
                    Kind::Simple => Sum::of(&[deposit, value], deposit + value),
                    _ => Sum::of(&[value], value),
                };
                let (held, reached) = sums(&self.sheet.parts(work), &[expected])?;
                Some((held, digits(reached)))
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::StepVerdict::{Ok, Wrong};

    #[test]
    fn interest_is_rounded_half_a_cent_up_each_year() {
        let text = "A deposit of 1001 euros earns compound interest. Each year's interest is \
                    rounded to the cent, half a cent up.\n#A year 1 at 1.5%\n#B year 2 at 2%\n\
                    #Q How many euros are in the account after 2 years?";
        let question = Question::of(text).unwrap();
        // 1001 * 1.5% = 15.015, so 15.02; 1016.02 * 2% = 20.3204, so 20.32.
        assert_eq!(question.answer().as_deref(), Some("1036.34"));
        let chain = [
            "#A year 1 at 1.5%: 1001*1.5/100=15.015 -> 15.02, 1001+15.02=1016.02",
            "#B year 2 at 2%: 1016.02*2/100=20.3204 -> 20.32, 1016.02+20.32=1036.34",
            "#Q How many euros are in the account after 2 years: 1036.34",
        ];
        assert_eq!(question.check(&chain).verdicts, [Ok; 3]);
        for line in [
            "#A year 1 at 1.5%: 1001*1.5/100=15.015 -> 15.01, 1001+15.01=1016.01",
            "#A year 1 at 1.5%: 1001*1.5/100=15.015, 1001+15.015=1016.015",
            "#A year 1 at 1.5%: 1001*2/100=20.02, 1001+20.02=1021.02",
        ] {
            assert_eq!(question.check(&[line]).verdicts, [Wrong], "{line}");
        }
    }

    #[test]
    fn present_values_are_brought_back_year_by_year() {
        let text = "The discount rate is 10% a year: divide by 1.1 for each year.\n\
                    #A pay 1000 euros now\n#B receive 550 euros after 1 year\n\
                    #C receive 726 euros after 2 years\n#Q What is the net present value in euros?";
        let question = Question::of(text).unwrap();
        assert_eq!(question.answer().as_deref(), Some("100"));
        let chain = [
            "#A pay 1000 euros now: 0-1000=-1000",
            "#B receive 550 euros after 1 year: 550/1.1=500, -1000+500=-500",
            "#C receive 726 euros after 2 years: 726/1.1=660, 660/1.1=600, -500+600=100",
            "#Q What is the net present value in euros: 100",
        ];
        assert_eq!(question.check(&chain).verdicts, [Ok; 4]);
        let short = "#C receive 726 euros after 2 years: 726/1.1=660, -500+660=160";
        assert_eq!(question.check(&[chain[0], chain[1], short]).verdicts[2], Wrong);
    }
}
