//! Payments and the rules that give them points: each rule is looked up in the payment's
//! facts by its words.

use std::sync::LazyLock;

use regex::Regex;

use super::sheet::{Number, Sheet, integer, pattern, tally, whole};
use super::{LineChecks, Reading};

/// What a rule says, how the payment says it, and how the two compare. In the order of
/// capture: a rule's limit, where it has one.
struct Form {
    rule: Regex,
    fact: Regex,
    comparison: Comparison,
}

#[derive(Clone, Copy)]
enum Comparison {
    Above,
    Below,
    AtLeast,
    /// Two words of the fact differ.
    Differ,
    /// The fact's word is the first of the two.
    Is([&'static str; 2]),
}

static FORMS: LazyLock<Vec<Form>> = LazyLock::new(|| {
    use Comparison::{Above, AtLeast, Below, Differ, Is};
    [
        (r"more than (\d+) euros", r"(\d+) euros", Above),
        (r"before (\d+) o'clock", r"at (\d+) o'clock", Below),
        (r"more than (\d+) payments in the last hour", r"(\d+) payments? in the last hour", Above),
        (r"account opened less than (\d+) days ago", r"account opened (\d+) days? ago", Below),
        (r"more than (\d+) km from the last payment", r"(\d+) km from the last payment", Above),
        (r"at least (\d+) wrong PIN entries", r"(\d+) wrong PIN entr(?:y|ies)", AtLeast),
        (r"paid outside the card's country", r"paid in (\w+) with a card from (\w+)", Differ),
        (r"from a new device", r"from a (new|known) device", Is(["new", "known"])),
        (r"金额超过(\d+)元", r"金额(\d+)元", Above),
        (r"付款时间早于(\d+)点", r"付款时间(\d+)点", Below),
        (r"最近1小时内付款超过(\d+)次", r"最近1小时内共付款(\d+)次", Above),
        (r"账户开立不足(\d+)天", r"账户开立(\d+)天", Below),
        (r"距上一笔付款地点超过(\d+)公里", r"距上一笔付款地点(\d+)公里", Above),
        (r"输错密码至少(\d+)次", r"输错密码(\d+)次", AtLeast),
        (r"在发卡国以外付款", r"在(\w+)使用(\w+)发行的银行卡", Differ),
        (r"使用新设备", r"使用(新设备|常用设备)", Is(["新设备", "常用设备"])),
    ]
    .into_iter()
    .map(|(rule, fact, comparison)| Form {
        rule: pattern(&format!("^{rule}$")),
        fact: pattern(&format!("^{fact}$")),
        comparison,
    })
    .collect()
});

static RULE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(.+?)(?:, (\d+) points|，计(\d+)分)$"));
static OPENING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"^(?:A payment with (\d+) points or more is fraud\.|一笔付款累计达到(\d+)分即判定为欺诈。)",
        r"\n(?:The payment: (.+)\.|付款情况：(.+)。)$",
    ))
});
static DECIDED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"^(\d+)>=(\d+) (yes|no|是|否)(?:, |，)(not fraud|fraud|非欺诈|欺诈)$")
});

/// A question about a payment.
struct Question {
    sheet: Sheet,
    threshold: Number,
    /// For each rule what decides it, in words, and the points that it then gives.
    rules: Vec<(String, Number)>,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    Question::of(question).map(|read| Box::new(read) as Box<dyn Reading>)
}

impl Question {
    fn of(question: &str) -> Option<Self> {
        let sheet = Sheet::of(question)?;
        let opening = sheet.opening();
        let found = OPENING.captures(&opening)?;
        let threshold = whole(found.get(1).or(found.get(2))?.as_str())?;
        let facts = found.get(3).or(found.get(4))?.as_str();
        let facts: Vec<&str> = facts.split(sheet.word(["; ", "；"])).collect();
        let rules: Option<Vec<_>> =
            sheet.items.iter().map(|(_, text)| decided(&sheet, &facts, text)).collect();
        Some(Self { rules: rules?, threshold, sheet })
    }

    /// Whether so many points are fraud, and the words for it.
    fn verdict(&self, total: Number) -> (bool, &'static str) {
        let fraud = total >= self.threshold;
        let words = if fraud { ["fraud", "欺诈"] } else { ["not fraud", "非欺诈"] };
        (fraud, self.sheet.word(words))
    }
}

/// What decides a rule, in words, and the points that it gives.
fn decided(sheet: &Sheet, facts: &[&str], text: &str) -> Option<(String, Number)> {
    let rule = RULE.captures(text)?;
    let points = whole(rule.get(2).or(rule.get(3))?.as_str())?;
    let (form, limit) =
        FORMS.iter().find_map(|form| form.rule.captures(&rule[1]).map(|found| (form, found)))?;
    let fact = facts.iter().find_map(|fact| form.fact.captures(fact))?;
    let value = &fact[1];
    let compared = |symbol: &str| {
        let (value, limit) = (whole(value)?, limit.get(1)?.as_str());
        let bound = whole(limit)?;
        let holds = match symbol {
            ">" => value > bound,
            "<" => value < bound,
            _ => value >= bound,
        };
        Some((holds, format!("{}{symbol}{limit}", &fact[1])))
    };
    let (holds, words) = match form.comparison {
        Comparison::Above => compared(">")?,
        Comparison::Below => compared("<")?,
        Comparison::AtLeast => compared(">=")?,
        Comparison::Differ => (value != &fact[2], format!("{value}!={}", &fact[2])),
        Comparison::Is(words) => (value == words[0], value.to_owned()),
    };
    let earned = if holds { points } else { integer(0) };
    Some((format!("{words} {}", sheet.yes_no(holds)), earned))
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        let total = self.rules.iter().map(|(_, points)| points).sum();
        Some(self.verdict(total).1.to_owned())
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        self.sheet.check(
            lines,
            integer(0),
            |total, index, work| {
                let (words, points) = self.rules.get(index)?;
                tally(total, words, *points, work)
            },
            |total, work| {
                let found = DECIDED.captures(work)?;
                let (fraud, word) = self.verdict(*total);
                let held = whole(&found[1])? == *total
                    && whole(&found[2])? == self.threshold
                    && &found[3] == self.sheet.yes_no(fraud)
                    && &found[4] == word;
                Some((held, found[4].to_owned()))
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};

    const ASKED: &str = "A payment with 30 points or more is fraud.\nThe payment: 640 euros; \
                         paid in Spain with a card from France; at 7 o'clock.\n\
                         #A before 7 o'clock, 10 points\n#B more than 500 euros, 20 points\n\
                         #C paid outside the card's country, 10 points\n#Q Is the payment fraud?";

    #[test]
    fn rules_are_looked_up_and_their_points_added() {
        let question = Question::of(ASKED).unwrap();
        assert_eq!(question.answer().as_deref(), Some("fraud"));
        let verdicts = |lines: &[&str]| question.check(lines).verdicts;
        let chain = [
            "#A before 7 o'clock, 10 points: 7<7 no, 0+0=0",
            "#B more than 500 euros, 20 points: 640>500 yes, 0+20=20",
            "#C paid outside the card's country, 10 points: Spain!=France yes, 20+10=30",
            "#Q Is the payment fraud: 30>=30 yes, fraud",
        ];
        assert_eq!(verdicts(&chain), [Ok; 4]);
        for (index, line) in [
            (0, "#A before 7 o'clock, 10 points: 7<7 yes, 0+10=10"),
            (1, "#B more than 500 euros, 20 points: 640>500 yes, 0+10=10"),
            (1, "#B more than 500 euros, 20 points: 460>500 no, 0+0=0"),
            (2, "#C paid outside the card's country, 10 points: Spain!=France no, 20+0=20"),
            (3, "#Q Is the payment fraud: 30>=30 no, not fraud"),
            (3, "#Q Is the payment fraud: 30>=40 no, not fraud"),
        ] {
            let mut lines = chain;
            lines[index] = line;
            assert_eq!(verdicts(&lines)[index], Wrong, "{line}");
        }
        assert_eq!(verdicts(&[chain[1], "Well."]), [Wrong, Unchecked]);
        assert_eq!(verdicts(&[chain[0], chain[3]]), [Ok, Wrong], "not all rules");
    }
}
