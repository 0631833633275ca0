//! Linear equations in Chinese.

use super::book::{Book, Pairs};

const SENTENCES: Pairs = &[
    ("解方程。", "Solve the equations."),
    ("已知以下等式成立。", "These equations hold."),
    ("x等于多少", "What is x"),
    ("y等于多少", "What is y"),
    (r"x\+y等于多少", "What is x+y"),
    (r"([-+*/=()\dxy]+)", "$1"),
];

const WORDS: Pairs = &[("乘以", "times"), ("相加", "sum"), ("相减", "difference")];

pub(super) fn book() -> Book {
    Book::new(SENTENCES, WORDS, crate::check::linear::read)
}

#[cfg(test)]
mod tests {
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};
    use crate::check::{read, solve};

    const TWO: &str = "已知以下等式成立。\n#A 2x+3y=13\n#B 5x-2y=4\n#Q x+y等于多少？";

    #[test]
    fn questions_are_read() {
        assert_eq!(solve(TWO).as_deref(), Some("5"));
        assert_eq!(solve("解方程。\n#A 5x-3=2x+9\n#Q x等于多少？").as_deref(), Some("4"));
        assert_eq!(solve("解方程。\n#A 5x-3=2x+9\n#Q z等于多少？"), None);
    }

    #[test]
    fn lines_are_judged_word_for_word() {
        let verdicts = |lines: &[&str]| read(TWO).check(lines).verdicts;
        let lines = [
            "#A 2x+3y=13：乘以 2，4x+6y=26",
            "#B 5x-2y=4：乘以 3，15x-6y=12",
            "相加：19x=38，x=38/19=2",
            "#A 2x+3y=13：2*2+3y=13，3y=13-4=9，y=9/3=3",
            "#Q x+y等于多少：2+3=5",
        ];
        assert_eq!(verdicts(&lines), [Ok; 5]);
        for (at, line) in [
            (0, "#A 2x+3y=13：乘以 2，4x+6y=13"),
            (0, "#B 2x+3y=13：乘以 2，4x+6y=26"),
            (2, "相减：19x=38，x=38/19=2"),
            (2, "相加：19x=38，x=38/19=3"),
            (3, "#A 2x+3y=13：2*3+3y=13，3y=13-6=7，y=7/3"),
            (4, "#Q x+y等于多少：2+4=6"),
            (4, "#Q x等于多少：2+3=5"),
        ] {
            let mut changed = lines;
            changed[at] = line;
            assert_eq!(verdicts(&changed)[at], Wrong, "{line}");
        }
        assert_eq!(verdicts(&["好。", "sum: 19x=38, x=38/19=2"]), [Unchecked; 2]);
    }
}
