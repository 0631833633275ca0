//! Payments that stated rules give points to: a payment is fraud from a number of points on.

use super::layout::{Told, parts, yes_no};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

/// Countries, in English and Chinese.
const COUNTRIES: [[&str; 2]; 8] = [
    ["France", "法国"],
    ["Spain", "西班牙"],
    ["Italy", "意大利"],
    ["Poland", "波兰"],
    ["Norway", "挪威"],
    ["Egypt", "埃及"],
    ["India", "印度"],
    ["Brazil", "巴西"],
];

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feature {
    Amount,
    Hour,
    Recent,
    AccountAge,
    Distance,
    WrongPins,
    Abroad,
    NewDevice,
}

const FEATURES: [Feature; 8] = [
    Feature::Amount,
    Feature::Hour,
    Feature::Recent,
    Feature::AccountAge,
    Feature::Distance,
    Feature::WrongPins,
    Feature::Abroad,
    Feature::NewDevice,
];

/// A rule and what it looks at in the payment.
#[derive(Clone, Copy, Debug)]
struct Rule {
    feature: Feature,
    /// The value; of `Abroad` where it was paid, of `NewDevice` 1 for a new one.
    value: i64,
    /// What the value is compared with; of `Abroad` where the card is from.
    limit: i64,
    points: i64,
}

impl Rule {
    fn draw(feature: Feature, rng: &mut CounterRng) -> Self {
        // A value is near its limit on either side about as often.
        let (value, limit) = match feature {
            Feature::Amount => {
                let limit = 100 * rng.between(2, 20);
                (limit + 10 * rng.between(-15, 15), limit)
            }
            Feature::Hour => {
                let limit = rng.between(4, 7);
                (
                    if rng.chance(1, 2) {
                        rng.between(0, limit - 1)
                    } else {
                        rng.between(limit, 23)
                    },
                    limit,
                )
            }
            Feature::Recent => {
                let limit = rng.between(2, 6);
                (rng.between(1, 2 * limit), limit)
            }
            Feature::AccountAge => {
                let limit = 10 * rng.between(2, 9);
                (rng.between(1, 2 * limit), limit)
            }
            Feature::Distance => {
                let limit = 100 * rng.between(2, 9);
                (10 * rng.between(1, limit / 5), limit)
            }
            Feature::WrongPins => {
                let limit = rng.between(2, 3);
                (rng.between(0, 4), limit)
            }
            Feature::Abroad => {
                let home = rng.between(0, 7);
                let away = (home + rng.between(1, 7)) % 8;
                (if rng.chance(1, 2) { home } else { away }, home)
            }
            Feature::NewDevice => (rng.between(0, 1), 1),
        };
        Self { feature, value, limit, points: 5 * rng.between(1, 8) }
    }

    fn applies(self) -> bool {
        match self.feature {
            Feature::Amount | Feature::Recent | Feature::Distance => self.value > self.limit,
            Feature::Hour | Feature::AccountAge => self.value < self.limit,
            Feature::WrongPins => self.value >= self.limit,
            Feature::Abroad => self.value != self.limit,
            Feature::NewDevice => self.value == 1,
        }
    }

    /// What the payment has of it.
    fn fact(self, language: Language) -> String {
        let (value, place) = (self.value, COUNTRIES[self.value.unsigned_abs() as usize % 8]);
        let home = COUNTRIES[self.limit.unsigned_abs() as usize % 8];
        match (language, self.feature) {
            (Language::En, Feature::Amount) => format!("{value} euros"),
            (Language::En, Feature::Hour) => format!("at {value} o'clock"),
            (Language::En, Feature::Recent) if value == 1 => {
                "1 payment in the last hour".to_owned()
            }
            (Language::En, Feature::Recent) => format!("{value} payments in the last hour"),
            (Language::En, Feature::AccountAge) if value == 1 => {
                "account opened 1 day ago".to_owned()
            }
            (Language::En, Feature::AccountAge) => format!("account opened {value} days ago"),
            (Language::En, Feature::Distance) => format!("{value} km from the last payment"),
            (Language::En, Feature::WrongPins) if value == 1 => "1 wrong PIN entry".to_owned(),
            (Language::En, Feature::WrongPins) => format!("{value} wrong PIN entries"),
            (Language::En, Feature::Abroad) => {
                format!("paid in {} with a card from {}", place[0], home[0])
            }
            (Language::En, Feature::NewDevice) if value == 1 => "from a new device".to_owned(),
            (Language::En, Feature::NewDevice) => "from a known device".to_owned(),
            (Language::Zh, Feature::Amount) => format!("金额{value}元"),
            (Language::Zh, Feature::Hour) => format!("付款时间{value}点"),
            (Language::Zh, Feature::Recent) => format!("最近1小时内共付款{value}次"),
            (Language::Zh, Feature::AccountAge) => format!("账户开立{value}天"),
            (Language::Zh, Feature::Distance) => format!("距上一笔付款地点{value}公里"),
            (Language::Zh, Feature::WrongPins) => format!("输错密码{value}次"),
            (Language::Zh, Feature::Abroad) => {
                format!("在{}使用{}发行的银行卡", place[1], home[1])
            }
            (Language::Zh, Feature::NewDevice) if value == 1 => "使用新设备".to_owned(),
            (Language::Zh, Feature::NewDevice) => "使用常用设备".to_owned(),
        }
    }

    fn told(self, language: Language) -> String {
        let Self { feature, limit, points, .. } = self;
        let rule = match (language, feature) {
            (Language::En, Feature::Amount) => format!("more than {limit} euros"),
            (Language::En, Feature::Hour) => format!("before {limit} o'clock"),
            (Language::En, Feature::Recent) => {
                format!("more than {limit} payments in the last hour")
            }
            (Language::En, Feature::AccountAge) => {
                format!("account opened less than {limit} days ago")
            }
            (Language::En, Feature::Distance) => {
                format!("more than {limit} km from the last payment")
            }
            (Language::En, Feature::WrongPins) => format!("at least {limit} wrong PIN entries"),
            (Language::En, Feature::Abroad) => "paid outside the card's country".to_owned(),
            (Language::En, Feature::NewDevice) => "from a new device".to_owned(),
            (Language::Zh, Feature::Amount) => format!("金额超过{limit}元"),
            (Language::Zh, Feature::Hour) => format!("付款时间早于{limit}点"),
            (Language::Zh, Feature::Recent) => format!("最近1小时内付款超过{limit}次"),
            (Language::Zh, Feature::AccountAge) => format!("账户开立不足{limit}天"),
            (Language::Zh, Feature::Distance) => format!("距上一笔付款地点超过{limit}公里"),
            (Language::Zh, Feature::WrongPins) => format!("输错密码至少{limit}次"),
            (Language::Zh, Feature::Abroad) => "在发卡国以外付款".to_owned(),
            (Language::Zh, Feature::NewDevice) => "使用新设备".to_owned(),
        };
        match language {
            Language::En => format!("{rule}, {points} points"),
            Language::Zh => format!("{rule}，计{points}分"),
        }
    }

    /// The comparison that decides it.
    fn decision(self, language: Language) -> String {
        let (value, limit) = (self.value, self.limit);
        let column = usize::from(language == Language::Zh);
        let country = |index: i64| COUNTRIES[index.unsigned_abs() as usize % 8][column];
        let compared = match self.feature {
            Feature::Amount | Feature::Recent | Feature::Distance => format!("{value}>{limit}"),
            Feature::Hour | Feature::AccountAge => format!("{value}<{limit}"),
            Feature::WrongPins => format!("{value}>={limit}"),
            Feature::Abroad => format!("{}!={}", country(value), country(limit)),
            Feature::NewDevice => match (language, value) {
                (Language::En, 1) => "new".to_owned(),
                (Language::En, _) => "known".to_owned(),
                (Language::Zh, 1) => "新设备".to_owned(),
                (Language::Zh, _) => "常用设备".to_owned(),
            },
        };
        format!("{compared} {}", yes_no(language, self.applies()))
    }
}

/// A payment and the rules that judge it.
#[derive(Clone, Debug)]
pub(crate) struct Risk {
    rules: Vec<Rule>,
    threshold: i64,
    /// The order in which the payment's facts are told.
    told: Vec<usize>,
}

impl Risk {
    /// Draws `2 level` rules. About as many payments are fraud as are not.
    pub(crate) fn draw(level: u8, rng: &mut CounterRng) -> Self {
        let mut features = FEATURES;
        rng.shuffle(&mut features);
        let count = 2 * usize::from(level);
        let rules: Vec<Rule> =
            features[..count].iter().map(|&feature| Rule::draw(feature, rng)).collect();
        let total = points(&rules);
        let threshold = if total > 0 && rng.chance(1, 2) {
            total - 5 * rng.between(0, total.min(30) / 5 - 1)
        } else {
            total + 5 * rng.between(1, 6)
        };
        let mut told: Vec<usize> = (0..count).collect();
        rng.shuffle(&mut told);
        Self { rules, threshold, told }
    }
}

fn points(rules: &[Rule]) -> i64 {
    rules.iter().filter(|rule| rule.applies()).map(|rule| rule.points).sum()
}

impl Problem for Risk {
    fn signature(&self) -> String {
        let mut rules: Vec<String> = (self.rules.iter())
            .map(|rule| format!("{:?}{},{},{}", rule.feature, rule.value, rule.limit, rule.points))
            .collect();
        rules.sort();
        format!("finance/risk/{} {}", self.threshold, rules.join(" "))
    }

    fn kind_name(&self) -> &'static str {
        "risk"
    }

    fn render(&self, language: Language, _rng: &mut CounterRng) -> Rendered {
        let threshold = self.threshold;
        let facts = self.told.iter().map(|&index| self.rules[index].fact(language));
        let facts: Vec<String> = facts.collect();
        let opening = match language {
            Language::En => format!(
                "A payment with {threshold} points or more is fraud.\nThe payment: {}.",
                facts.join("; ")
            ),
            Language::Zh => format!(
                "一笔付款累计达到{threshold}分即判定为欺诈。\n付款情况：{}。",
                facts.join("；")
            ),
        };
        let mut total = 0;
        let items = (self.rules.iter())
            .map(|rule| {
                let earned = if rule.applies() { rule.points } else { 0 };
                let sum = format!("{total}+{earned}={}", total + earned);
                total += earned;
                (rule.told(language), parts(language, &[rule.decision(language), sum]))
            })
            .collect();
        let fraud = total >= threshold;
        let answer = match (language, fraud) {
            (Language::En, true) => "fraud",
            (Language::En, false) => "not fraud",
            (Language::Zh, true) => "欺诈",
            (Language::Zh, false) => "非欺诈",
        };
        let asked = match language {
            Language::En => "Is the payment fraud",
            Language::Zh => "这笔付款是否属于欺诈",
        };
        let decided = format!("{total}>={threshold} {}", yes_no(language, fraud));
        let conclusion = parts(language, &[decided, answer.to_owned()]);
        let (asked, answer) = (asked.to_owned(), answer.to_owned());
        Told { opening, items, asked, conclusion, answer }.laid_out(language)
    }
}
