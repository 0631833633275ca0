//! Ratios of accounts: which side an account belongs to is looked up by its name.

use std::sync::LazyLock;

use num_rational::Ratio;
use regex::Regex;

use super::sheet::{Number, Sheet, Sum, digits, integer, pattern, sums, whole};
use super::{LineChecks, Reading};

/// A ratio: the words that define it, what its sides are called, and the accounts of
/// either side and of neither.
struct Definition {
    opening: [&'static str; 2],
    sides: [[&'static str; 2]; 2],
    accounts: [&'static [&'static str]; 3],
    /// Whether it is a share of what is left of the first side, in per cent.
    is_share: bool,
}

const DEFINITIONS: [Definition; 3] = [
    Definition {
        opening: [
            "The current ratio is current assets divided by current liabilities. Sums are in euros.",
            "流动比率等于流动资产除以流动负债。",
        ],
        sides: [["current assets", "流动资产"], ["current liabilities", "流动负债"]],
        accounts: [
            &["cash", "receivables", "stock", "现金", "应收账款", "存货"],
            &["payables", "short-term loan", "taxes due", "应付账款", "短期借款", "应交税费"],
            &["machines", "long-term loan", "机器设备", "长期借款"],
        ],
        is_share: false,
    },
    Definition {
        opening: [
            "Debt to equity is all debt divided by all equity. Sums are in euros.",
            "产权比率等于负债总额除以所有者权益总额。",
        ],
        sides: [["debt", "负债"], ["equity", "权益"]],
        accounts: [
            &["bank loan", "bonds", "payables", "银行借款", "应付债券", "应付账款"],
            &["share capital", "retained earnings", "reserves", "股本", "未分配利润", "盈余公积"],
            &["cash", "machines", "现金", "机器设备"],
        ],
        is_share: false,
    },
    Definition {
        opening: [
            "The net margin is income less costs, in per cent of income. Sums are in euros.",
            "净利率等于收入减去费用后占收入的百分比。",
        ],
        sides: [["income", "收入"], ["costs", "费用"]],
        accounts: [
            &["sales", "service fees", "rent received", "销售收入", "服务收入", "租金收入"],
            &["wages", "materials", "taxes", "工资", "材料费", "税费"],
            &["new loan", "dividends paid", "新增贷款", "支付股利"],
        ],
        is_share: true,
    },
];

static ACCOUNT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:([a-z -]+) (\d{1,9})|(\D+?)(\d{1,9})元)$"));
static ADDED: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\D+) (\d+\+\d+=\d+)$"));

struct Question {
    sheet: Sheet,
    definition: &'static Definition,
    /// Side and sum of each account; side 2 is neither.
    accounts: Vec<(usize, Number)>,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    Question::of(question).map(|read| Box::new(read) as Box<dyn Reading>)
}

impl Question {
    fn of(question: &str) -> Option<Self> {
        let sheet = Sheet::of(question)?;
        let opening = sheet.opening();
        let definition = DEFINITIONS.iter().find(|known| sheet.word(known.opening) == opening)?;
        let account = |text: &str| {
            let found = ACCOUNT.captures(text)?;
            let name = found.get(1).or(found.get(3))?.as_str();
            let sum = whole(found.get(2).or(found.get(4))?.as_str())?;
            let side = definition.accounts.iter().position(|names| names.contains(&name))?;
            Some((side, sum))
        };
        let accounts: Option<Vec<_>> = sheet.items.iter().map(|(_, text)| account(text)).collect();
        Some(Self { accounts: accounts?, definition, sheet })
    }

    fn total(&self, side: usize) -> Number {
        self.accounts.iter().filter(|account| account.0 == side).map(|account| account.1).sum()
    }
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        let (first, second) = (self.total(0), self.total(1));
        if first <= integer(0) || second <= integer(0) {
            return None;
        }
        if self.definition.is_share {
            let spent = second / first;
            return Some(format!("{}%", digits((integer(1) - spent) * integer(100))));
        }
        // The inverse of the inverse.
        let inverse: Number = second / first;
        Some(digits(Ratio::new(*inverse.denom(), *inverse.numer())))
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        self.sheet.check(
            lines,
            [integer(0); 2],
            |totals, index, work| {
                let &(side, sum) = self.accounts.get(index)?;
                if work == self.sheet.word(["neither", "不计入"]) {
                    return Some(side == 2);
                }
                let found = ADDED.captures(work)?;
                let names = self.definition.sides;
                let claimed = names.iter().position(|name| self.sheet.word(*name) == &found[1])?;
                let before = totals[claimed];
                let (held, after) = sums(&[&found[2]], &[Sum::of(&[before, sum], before + sum)])?;
                totals[claimed] = after;
                Some(held && side == claimed)
            },
            |&[first, second], work| {
                if first == integer(0) || second == integer(0) {
                    return Some((false, String::new()));
                }
                if !self.definition.is_share {
                    let expected = Sum::of(&[first, second], first / second);
                    let (held, reached) = sums(&self.sheet.parts(work), &[expected])?;
                    return Some((held, digits(reached)));
                }
                let hundred = integer(100);
                let rest = first - second;
                let share = rest * hundred / first;
                let expected =
                    [Sum::of(&[first, second], rest), Sum::of(&[rest, hundred, first], share)];
                let work = work.strip_suffix('%')?;
                let (held, reached) = sums(&self.sheet.parts(work), &expected)?;
                Some((held, format!("{}%", digits(reached))))
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::StepVerdict::{Ok, Wrong};

    #[test]
    fn accounts_are_sorted_by_side() {
        let text = "The current ratio is current assets divided by current liabilities. Sums are \
                    in euros.\n#A cash 500\n#B machines 900\n#C payables 400\n#D stock 100\n\
                    #Q What is the current ratio?";
        let question = Question::of(text).unwrap();
        assert_eq!(question.answer().as_deref(), Some("1.5"));
        let chain = [
            "#A cash 500: current assets 0+500=500",
            "#B machines 900: neither",
            "#C payables 400: current liabilities 0+400=400",
            "#D stock 100: current assets 500+100=600",
            "#Q What is the current ratio: 600/400=1.5",
        ];
        assert_eq!(question.check(&chain).verdicts, [Ok; 5]);
        for (index, line) in [
            (0, "#A cash 500: neither"),
            (1, "#B machines 900: current assets 500+900=1400"),
            (2, "#C payables 400: current assets 500+400=900"),
            (3, "#D stock 100: current assets 500+100=700"),
            (4, "#Q What is the current ratio: 400/600=0.6"),
        ] {
            let mut lines = chain;
            lines[index] = line;
            assert_eq!(question.check(&lines).verdicts[index], Wrong, "{line}");
        }
    }
}
