//! Ratios of accounts: what belongs above the line, what below, and what to neither.

use super::layout::{Told, parts};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

/// Words in English and Chinese.
type Words = [&'static str; 2];

/// A ratio of two sums of accounts.
struct Ratio {
    name: &'static str,
    opening: Words,
    asked: Words,
    /// What each side is called.
    sides: [Words; 2],
    /// Accounts of either side, and accounts of neither.
    accounts: [&'static [Words]; 3],
    /// Whether the second side is taken from the first and the rest is a share of it.
    is_margin: bool,
}

const RATIOS: [Ratio; 3] = [
    Ratio {
        name: "current-ratio",
        opening: [
            "The current ratio is current assets divided by current liabilities.",
            "流动比率等于流动资产除以流动负债。",
        ],
        asked: ["What is the current ratio", "流动比率是多少"],
        sides: [["current assets", "流动资产"], ["current liabilities", "流动负债"]],
        accounts: [
            &[["cash", "现金"], ["receivables", "应收账款"], ["stock", "存货"]],
            &[["payables", "应付账款"], ["short-term loan", "短期借款"], ["taxes due", "应交税费"]],
            &[["machines", "机器设备"], ["long-term loan", "长期借款"]],
        ],
        is_margin: false,
    },
    Ratio {
        name: "debt-to-equity",
        opening: [
            "Debt to equity is all debt divided by all equity.",
            "产权比率等于负债总额除以所有者权益总额。",
        ],
        asked: ["What is the debt to equity ratio", "产权比率是多少"],
        sides: [["debt", "负债"], ["equity", "权益"]],
        accounts: [
            &[["bank loan", "银行借款"], ["bonds", "应付债券"], ["payables", "应付账款"]],
            &[
                ["share capital", "股本"],
                ["retained earnings", "未分配利润"],
                ["reserves", "盈余公积"],
            ],
            &[["cash", "现金"], ["machines", "机器设备"]],
        ],
        is_margin: false,
    },
    Ratio {
        name: "margin",
        opening: [
            "The net margin is income less costs, in per cent of income.",
            "净利率等于收入减去费用后占收入的百分比。",
        ],
        asked: ["What is the net margin", "净利率是多少"],
        sides: [["income", "收入"], ["costs", "费用"]],
        accounts: [
            &[["sales", "销售收入"], ["service fees", "服务收入"], ["rent received", "租金收入"]],
            &[["wages", "工资"], ["materials", "材料费"], ["taxes", "税费"]],
            &[["new loan", "新增贷款"], ["dividends paid", "支付股利"]],
        ],
        is_margin: true,
    },
];

/// An account: its place among the accounts of its side, and its sum.
#[derive(Clone, Copy, Debug)]
struct Account {
    side: usize,
    place: usize,
    amount: i64,
}

/// A problem.
#[derive(Clone, Debug)]
pub(crate) struct Accounts {
    ratio: usize,
    accounts: Vec<Account>,
}

impl Accounts {
    /// Draws a ratio of 2, 4, 6 or 8 accounts, at level 4 two of them of neither side, at
    /// level 3 one. Whatever is divided gives at most two decimals.
    pub(crate) fn draw(level: u8, rng: &mut CounterRng) -> Self {
        let ratio = rng.below(RATIOS.len());
        let counts = match level {
            1 => [1, 1, 0],
            2 => [2, 2, 0],
            3 => [3, 2, 1],
            _ => [3, 3, 2],
        };
        // A hundred times the divisor's hundredths is whole.
        let hundreds = rng.between(3, 40);
        let totals = if RATIOS[ratio].is_margin {
            [100 * hundreds, (100 - rng.between(2, 60)) * hundreds]
        } else {
            [rng.between(30, 250) * hundreds, 100 * hundreds]
        };
        let mut accounts = Vec::new();
        for (side, &count) in counts.iter().enumerate() {
            let mut places = [0, 1, 2];
            rng.shuffle(&mut places);
            let known = RATIOS[ratio].accounts[side].len();
            let places = places.into_iter().filter(|&place| place < known).take(count);
            let mut left = totals.get(side).copied().unwrap_or_default();
            for (index, place) in places.enumerate() {
                let remaining = (count - index) as i64;
                let amount = if side == 2 {
                    rng.between(50, 2_000)
                } else if remaining == 1 {
                    left
                } else {
                    rng.between(left / (2 * remaining), left / remaining)
                };
                left -= amount;
                accounts.push(Account { side, place, amount });
            }
        }
        if level >= 2 {
            rng.shuffle(&mut accounts);
        }
        Self { ratio, accounts }
    }
}

/// A number of hundredths, without final zeros.
fn hundredths(value: i64) -> String {
    let (whole, rest) = (value / 100, value % 100);
    match rest {
        0 => whole.to_string(),
        _ if rest % 10 == 0 => format!("{whole}.{}", rest / 10),
        _ => format!("{whole}.{rest:02}"),
    }
}

impl Problem for Accounts {
    fn signature(&self) -> String {
        let mut accounts: Vec<String> = (self.accounts.iter())
            .map(|account| format!("{}{}:{}", account.side, account.place, account.amount))
            .collect();
        accounts.sort();
        format!("finance/{}/{}", self.kind_name(), accounts.join(" "))
    }

    fn kind_name(&self) -> &'static str {
        RATIOS[self.ratio].name
    }

    fn render(&self, language: Language, _rng: &mut CounterRng) -> Rendered {
        let ratio = &RATIOS[self.ratio];
        let column = usize::from(language == Language::Zh);
        let mut sums = [0, 0];
        let mut items = Vec::new();
        for &Account { side, place, amount } in &self.accounts {
            let name = ratio.accounts[side][place][column];
            let work = match (sums.get_mut(side), language) {
                (Some(sum), _) => {
                    let before = *sum;
                    *sum += amount;
                    format!("{} {before}+{amount}={sum}", ratio.sides[side][column])
                }
                (None, Language::En) => "neither".to_owned(),
                (None, Language::Zh) => "不计入".to_owned(),
            };
            let item = match language {
                Language::En => format!("{name} {amount}"),
                Language::Zh => format!("{name}{amount}元"),
            };
            items.push((item, work));
        }
        let [first, second] = sums;
        let (conclusion, answer) = if ratio.is_margin {
            let rest = first - second;
            let percent = rest * 100 / first;
            let works =
                [format!("{first}-{second}={rest}"), format!("{rest}*100/{first}={percent}%")];
            (parts(language, &works), format!("{percent}%"))
        } else {
            let quotient = hundredths(first * 100 / second);
            (format!("{first}/{second}={quotient}"), quotient)
        };
        let opening = match language {
            Language::En => format!("{} Sums are in euros.", ratio.opening[0]),
            Language::Zh => ratio.opening[1].to_owned(),
        };
        let asked = ratio.asked[column].to_owned();
        Told { opening, items, asked, conclusion, answer }.laid_out(language)
    }
}
