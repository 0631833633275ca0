//! Simple and compound interest, and net present value, in exact decimals.

use num_rational::Ratio;

use super::layout::{Told, decimal, parts};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The balance of a deposit whose interest earns none.
    Simple,
    /// The balance of a deposit whose rounded interest is added each year.
    Compound,
    /// The value today of a few payments.
    PresentValue,
}

/// A problem. Rates are in hundredths of a per cent, sums in cents.
#[derive(Clone, Debug)]
pub(crate) enum Interest {
    Simple { deposit: i64, rate: i64, years: i64, tax: Option<i64> },
    Compound { deposit: i64, rates: Vec<i64> },
    PresentValue { rate: i64, paid: i64, received: Vec<(i64, Ratio<i128>)> },
}

impl Interest {
    /// Draws a problem. Simple interest is taxed from level 2; compound interest runs for
    /// `level + 1` years; `level` payments are discounted, to whole sums.
    pub(crate) fn draw(level: u8, kind: Kind, rng: &mut CounterRng) -> Self {
        match kind {
            Kind::Simple => Self::Simple {
                deposit: 10_000 * rng.between(2, 90),
                rate: 25 * rng.between(4, 32),
                years: rng.between(2, 9),
                tax: (level >= 2).then(|| 5 * rng.between(2, 6)),
            },
            Kind::Compound => Self::Compound {
                deposit: 10_000 * rng.between(2, 90),
                rates: (0..=level).map(|_| 50 * rng.between(2, 16)).collect(),
            },
            Kind::PresentValue => {
                let rate = 100 * rng.pick(&[5, 10, 20, 25]);
                let growth = Ratio::new(10_000 + i128::from(rate), 10_000);
                let mut received = Vec::new();
                for year in 1..=i64::from(level) {
                    let factor = (0..year).fold(Ratio::from_integer(1), |sum, _| sum * growth);
                    // The smallest whole sum whose future value is exact in cents.
                    let unit = (1..=80)
                        .map(|count| Ratio::from_integer(100 * count))
                        .find(|unit| (factor * unit * Ratio::from_integer(100)).is_integer());
                    // The largest that these rates need in four years is 8000, at 5%.
                    let Some(unit) = unit else { continue };
                    let times = Ratio::from_integer(i128::from(rng.between(1, 9)));
                    received.push((year, unit * times * factor));
                }
                Self::PresentValue { rate, paid: 10_000 * rng.between(1, 40), received }
            }
        }
    }
}

fn cents(value: i64) -> Ratio<i128> {
    Ratio::new(i128::from(value), 100)
}

/// To the cent, half a cent up.
fn rounded(value: Ratio<i128>) -> Ratio<i128> {
    let hundred = Ratio::from_integer(100);
    (value * hundred + Ratio::new(1, 2)).floor() / hundred
}

fn simple(language: Language, deposit: i64, rate: i64, years: i64, tax: Option<i64>) -> Told {
    let (deposit, percent) = (cents(deposit), cents(rate));
    let hundred = Ratio::from_integer(100);
    let yearly = deposit * percent / hundred;
    let total = yearly * Ratio::from_integer(i128::from(years));
    let (d, p, y, t) = (decimal(deposit), decimal(percent), decimal(yearly), decimal(total));
    let mut items = match language {
        Language::En => {
            vec![
                (format!("a deposit of {d} euros"), d.clone()),
                (format!("{p}% a year"), format!("{d}*{p}/100={y}")),
                (format!("{years} years"), format!("{y}*{years}={t}")),
            ]
        }
        Language::Zh => {
            vec![
                (format!("存入{d}元"), d.clone()),
                (format!("年利率{p}%"), format!("{d}*{p}/100={y}")),
                (format!("存期{years}年"), format!("{y}*{years}={t}")),
            ]
        }
    };
    let mut earned = total;
    if let Some(tax) = tax {
        let due = total * Ratio::from_integer(i128::from(tax)) / hundred;
        earned = total - due;
        let works = [
            format!("{t}*{tax}/100={}", decimal(due)),
            format!("{t}-{}={}", decimal(due), decimal(earned)),
        ];
        let item = match language {
            Language::En => format!("a tax of {tax}% on the interest"),
            Language::Zh => format!("利息税税率{tax}%"),
        };
        items.push((item, parts(language, &works)));
    }
    let answer = decimal(deposit + earned);
    let (opening, asked) = match language {
        Language::En => (
            "Simple interest is paid on the first deposit only.",
            "How many euros are in the account at the end",
        ),
        Language::Zh => ("按单利计息，每年的利息只按本金计算。", "到期后账户里共有多少元"),
    };
    let conclusion = format!("{d}+{}={answer}", decimal(earned));
    Told { opening: opening.to_owned(), items, asked: asked.to_owned(), conclusion, answer }
}

fn compound(language: Language, deposit: i64, rates: &[i64]) -> Told {
    let mut balance = cents(deposit);
    let first = decimal(balance);
    let mut items = Vec::new();
    for (&rate, year) in rates.iter().zip(1..) {
        let percent = decimal(cents(rate));
        let exact = balance * cents(rate) / Ratio::from_integer(100);
        let interest = rounded(exact);
        let before = decimal(balance);
        balance += interest;
        let mut earned = format!("{before}*{percent}/100={}", decimal(exact));
        if interest != exact {
            earned = format!("{earned} -> {}", decimal(interest));
        }
        let sum = format!("{before}+{}={}", decimal(interest), decimal(balance));
        let item = match language {
            Language::En => format!("year {year} at {percent}%"),
            Language::Zh => format!("第{year}年利率{percent}%"),
        };
        items.push((item, parts(language, &[earned, sum])));
    }
    let answer = decimal(balance);
    let years = rates.len();
    let (opening, asked) = match language {
        Language::En => (
            format!(
                "A deposit of {first} euros earns compound interest. Each year's interest is \
                 rounded to the cent, half a cent up."
            ),
            format!("How many euros are in the account after {years} years"),
        ),
        Language::Zh => (
            format!("存入{first}元，按复利计息，每年的利息四舍五入到分。"),
            format!("{years}年后账户里共有多少元"),
        ),
    };
    Told { opening, items, asked, conclusion: answer.clone(), answer }
}

fn present_value(
    language: Language,
    rate: i64,
    paid: i64,
    received: &[(i64, Ratio<i128>)],
) -> Told {
    let growth = Ratio::new(10_000 + i128::from(rate), 10_000);
    let (percent, divisor, paid) = (decimal(cents(rate)), decimal(growth), cents(paid));
    let item = match language {
        Language::En => format!("pay {} euros now", decimal(paid)),
        Language::Zh => format!("现在支付{}元", decimal(paid)),
    };
    let mut items = vec![(item, format!("0-{0}=-{0}", decimal(paid)))];
    let mut total = -paid;
    for &(year, amount) in received {
        let mut value = amount;
        let mut works = Vec::new();
        for _ in 0..year {
            let before = decimal(value);
            value /= growth;
            works.push(format!("{before}/{divisor}={}", decimal(value)));
        }
        works.push(format!("{}+{}={}", decimal(total), decimal(value), decimal(total + value)));
        total += value;
        let amount = decimal(amount);
        let item = match (language, year) {
            (Language::En, 1) => format!("receive {amount} euros after 1 year"),
            (Language::En, _) => format!("receive {amount} euros after {year} years"),
            (Language::Zh, _) => format!("{year}年后收到{amount}元"),
        };
        items.push((item, parts(language, &works)));
    }
    let answer = decimal(total);
    let (opening, asked) = match language {
        Language::En => (
            format!("The discount rate is {percent}% a year: divide by {divisor} for each year."),
            "What is the net present value in euros",
        ),
        Language::Zh => {
            (format!("年折现率为{percent}%，每折现一年除以{divisor}。"), "净现值是多少元")
        }
    };
    Told { opening, items, asked: asked.to_owned(), conclusion: answer.clone(), answer }
}

impl Problem for Interest {
    fn signature(&self) -> String {
        format!("finance/{self:?}")
    }

    fn kind_name(&self) -> &'static str {
        match self {
            Self::Simple { .. } => "simple-interest",
            Self::Compound { .. } => "compound-interest",
            Self::PresentValue { .. } => "present-value",
        }
    }

    fn render(&self, language: Language, _rng: &mut CounterRng) -> Rendered {
        let told = match self {
            Self::Simple { deposit, rate, years, tax } => {
                simple(language, *deposit, *rate, *years, *tax)
            }
            Self::Compound { deposit, rates } => compound(language, *deposit, rates),
            Self::PresentValue { rate, paid, received } => {
                present_value(language, *rate, *paid, received)
            }
        };
        told.laid_out(language)
    }
}
