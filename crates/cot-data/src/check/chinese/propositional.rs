//! Propositional logic in Chinese.

use super::book::{Book, Pairs};

const SENTENCES: Pairs = &[
    ("([a-z])为([真假])", "$1 is $2"),
    ("([a-z真假非且或蕴含() ]+)", "$1"),
    ("公式 (.+) 是否为真", "Is it true that $1"),
    ("公式 (.+) 是否成立", "Does it hold that $1"),
    ("能否推出 (.+)", "Does it follow that $1"),
    ("能否得出 (.+)", "Can we conclude that $1"),
];

const WORDS: Pairs = &[
    ("真", "true"),
    ("假", "false"),
    ("非", "not"),
    ("且", "and"),
    ("或", "or"),
    ("蕴含", "implies"),
    ("尝试", "try"),
    ("结论", "conclusion"),
    ("是", "yes"),
    ("否", "no"),
];

pub(super) fn book() -> Book {
    Book::new(SENTENCES, WORDS, crate::check::propositional::read)
}

#[cfg(test)]
mod tests {
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};
    use crate::check::{read, solve};

    const TOLD: &str = "#A p为真\n#B q为假\n#Q 公式 (p 且 非 q) 蕴含 q 是否为真？";
    const GIVEN: &str = "#A p 蕴含 q\n#B 非 q\n#Q 能否推出 非 p？";

    #[test]
    fn questions_are_read() {
        assert_eq!(solve(TOLD).as_deref(), Some("否"));
        assert_eq!(solve(&TOLD.replace("蕴含 q", "或 q")).as_deref(), Some("是"));
        assert_eq!(solve(GIVEN).as_deref(), Some("是"));
        assert_eq!(solve(&GIVEN.replace("推出 非 p", "得出 p")).as_deref(), Some("否"));
        assert_eq!(solve("#A p为高\n#Q 公式 p 是否为真？"), None);
    }

    #[test]
    fn lines_are_judged_word_for_word() {
        let verdicts = |lines: &[&str]| read(TOLD).check(lines).verdicts;
        let lines = [
            "#A p为真：(真 且 非 q) 蕴含 q",
            "#B q为假：(真 且 非 假) 蕴含 假",
            "(真 且 真) 蕴含 假",
            "真 蕴含 假",
            "假",
            "#Q 公式 (p 且 非 q) 蕴含 q 是否为真：否",
        ];
        assert_eq!(verdicts(&lines), [Ok; 6]);
        for (at, line) in [
            (0, "#A p为真：(假 且 非 q) 蕴含 q"),
            (0, "#A p为假：(真 且 非 q) 蕴含 q"),
            (2, "(真 或 真) 蕴含 假"),
            (4, "真"),
            (5, "#Q 公式 (p 且 非 q) 蕴含 q 是否为真：是"),
        ] {
            let mut changed = lines;
            changed[at] = line;
            assert_eq!(verdicts(&changed)[at], Wrong, "{line}");
        }
        assert_eq!(verdicts(&["好。", "(true 且 真) 蕴含 假"]), [Unchecked; 2]);
    }

    #[test]
    fn what_follows_holds_in_every_row() {
        let verdicts = |lines: &[&str]| read(GIVEN).check(lines).verdicts;
        let lines = [
            "尝试 p 真，q 真",
            "#A p 蕴含 q：真 蕴含 真 = 真",
            "#B 非 q：非 真 = 假",
            "尝试 p 假，q 真",
            "#A p 蕴含 q：假 蕴含 真 = 真",
            "#B 非 q：非 真 = 假",
            "尝试 p 真，q 假",
            "#A p 蕴含 q：真 蕴含 假 = 假",
            "尝试 p 假，q 假",
            "#A p 蕴含 q：假 蕴含 假 = 真",
            "#B 非 q：非 假 = 真",
            "结论 非 p：非 假 = 真",
            "#Q 能否推出 非 p：是",
        ];
        assert_eq!(verdicts(&lines), [Ok; 13]);
        for (at, line) in [
            (1, "#A p 蕴含 q：真 蕴含 真 = 假"),
            (1, "#B 非 q：非 真 = 假"),
            (2, "结论 非 p：非 真 = 假"),
            (3, "尝试 p 真，q 真"),
            (12, "#Q 能否推出 非 p：否"),
        ] {
            let mut changed = lines;
            changed[at] = line;
            assert_eq!(verdicts(&changed)[at], Wrong, "{line}");
        }
    }
}
