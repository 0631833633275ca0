//! Doses by weight, and creatinine clearance after Cockcroft and Gault (1976).

use num_rational::Ratio;

use super::layout::{Told, decimal, parts, yes_no};
use crate::language::Language;
use crate::rng::CounterRng;

/// An order of a dose by weight. All amounts in milligrams.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dose {
    weight: i64,
    per_kilogram: i64,
    most: i64,
    /// Doses a day and the most in a day, where the day's amount is asked for.
    daily: Option<(i64, i64)>,
}

impl Dose {
    /// Draws an order; from level 2 the day's amount is asked for. A dose or a day is above
    /// its maximum in about one case of three.
    pub(super) fn draw(level: u8, rng: &mut CounterRng) -> Self {
        let weight = rng.between(6, 95);
        let per_kilogram = rng.between(2, 40);
        let near = |amount: i64, step: i64, rng: &mut CounterRng| {
            let share = if rng.chance(1, 3) { rng.between(55, 95) } else { rng.between(105, 180) };
            (amount * share / 100 / step).max(1) * step
        };
        let most = near(weight * per_kilogram, 10, rng);
        let daily = (level >= 2).then(|| {
            let doses = rng.between(2, 6);
            (doses, near(doses * most.min(weight * per_kilogram), 50, rng))
        });
        Self { weight, per_kilogram, most, daily }
    }

    pub(super) fn told(self, language: Language) -> Told {
        let Self { weight, per_kilogram, most, daily } = self;
        let capped = |amount: i64, most: i64| {
            let kept = amount.min(most);
            let holds = yes_no(language, amount > most);
            (kept, parts(language, &[format!("{amount}>{most} {holds}"), kept.to_string()]))
        };
        let full = weight * per_kilogram;
        let (mut dose, work) = capped(full, most);
        let mut items = match language {
            Language::En => vec![
                (format!("weight {weight} kg"), weight.to_string()),
                (format!("{per_kilogram} mg/kg a dose"), format!("{weight}*{per_kilogram}={full}")),
                (format!("at most {most} mg a dose"), work),
            ],
            Language::Zh => vec![
                (format!("体重{weight}kg"), weight.to_string()),
                (format!("每次{per_kilogram}mg/kg"), format!("{weight}*{per_kilogram}={full}")),
                (format!("单次最大剂量{most}mg"), work),
            ],
        };
        let mut asked = match language {
            Language::En => "How many mg is one dose",
            Language::Zh => "每次应给多少mg",
        };
        if let Some((doses, most)) = daily {
            let all = doses * dose;
            let sum = format!("{dose}*{doses}={all}");
            let (kept, work) = capped(all, most);
            dose = kept;
            let (times, limit) = match language {
                Language::En => {
                    (format!("{doses} doses a day"), format!("at most {most} mg a day"))
                }
                Language::Zh => (format!("每日{doses}次"), format!("每日最大剂量{most}mg")),
            };
            items.extend([(times, sum), (limit, work)]);
            asked = match language {
                Language::En => "How many mg is it in a day",
                Language::Zh => "每日共给多少mg",
            };
        }
        let opening = match language {
            Language::En => "An exercise: a dose is ordered by weight.",
            Language::Zh => "练习题：按体重计算给药剂量。",
        };
        let answer = format!("{dose} mg");
        Told {
            opening: opening.to_owned(),
            items,
            asked: asked.to_owned(),
            conclusion: answer.clone(),
            answer,
        }
    }
}

/// A case of Cockcroft and Gault's formula: (140 - age) × weight / (72 × creatinine in
/// mg/dL), for women times 0.85, in mL/min.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clearance {
    age: i64,
    weight: i64,
    /// Tenths of mg/dL.
    creatinine: i64,
    woman: bool,
}

impl Clearance {
    /// Draws a case in which the quotient is whole.
    pub(super) fn draw(rng: &mut CounterRng) -> Self {
        loop {
            let age = rng.between(18, 92);
            let weight = rng.between(40, 120);
            let creatinine = rng.between(5, 40);
            let woman = rng.chance(1, 2);
            if (140 - age) * weight * 10 % (72 * creatinine) == 0 {
                return Self { age, weight, creatinine, woman };
            }
        }
    }

    pub(super) fn told(self, language: Language) -> Told {
        let Self { age, weight, creatinine, woman } = self;
        let creatinine = Ratio::new(i128::from(creatinine), 10);
        let (years, divisor) = (140 - age, creatinine * Ratio::from_integer(72));
        let product = years * weight;
        let quotient = Ratio::from_integer(i128::from(product)) / divisor;
        let clearance = if woman { quotient * Ratio::new(85, 100) } else { quotient };
        let (level, below, found) = (decimal(creatinine), decimal(divisor), decimal(quotient));
        let last =
            if woman { format!("{found}*0.85={}", decimal(clearance)) } else { found.clone() };
        let works = [
            format!("140-{age}={years}"),
            format!("{years}*{weight}={product}"),
            parts(language, &[format!("72*{level}={below}"), format!("{product}/{below}={found}")]),
            last,
        ];
        let items = match language {
            Language::En => [
                format!("age {age} years"),
                format!("weight {weight} kg"),
                format!("serum creatinine {level} mg/dL"),
                if woman { "a woman".to_owned() } else { "a man".to_owned() },
            ],
            Language::Zh => [
                format!("年龄{age}岁"),
                format!("体重{weight}kg"),
                format!("血清肌酐{level}mg/dL"),
                if woman { "女性".to_owned() } else { "男性".to_owned() },
            ],
        };
        let (opening, asked) = match language {
            Language::En => (
                "An exercise: creatinine clearance by the Cockcroft-Gault formula.",
                "What is the creatinine clearance in mL/min",
            ),
            Language::Zh => {
                ("练习题：用Cockcroft-Gault公式估算肌酐清除率。", "肌酐清除率是多少mL/min")
            }
        };
        let answer = format!("{} mL/min", decimal(clearance));
        Told {
            opening: opening.to_owned(),
            items: items.into_iter().zip(works).collect(),
            asked: asked.to_owned(),
            conclusion: answer.clone(),
            answer,
        }
    }
}
