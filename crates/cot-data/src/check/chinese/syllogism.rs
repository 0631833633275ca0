//! Syllogisms in Chinese.

use super::book::{Book, Pairs};

const SENTENCES: Pairs = &[
    (r"所有(\p{Han}+?)都是(\p{Han}+)", "all $1 are $2"),
    (r"没有(\p{Han}+?)是(\p{Han}+)", "no $1 are $2"),
    // What is denied comes first: its word would else be part of a name.
    (r"有些(\p{Han}+?)不是(\p{Han}+)", "some $1 are not $2"),
    (r"有些(\p{Han}+?)是(\p{Han}+)", "some $1 are $2"),
    (r"能否确定所有(\p{Han}+?)都是(\p{Han}+)", "Is it certain that all $1 are $2"),
    (r"能否确定没有(\p{Han}+?)是(\p{Han}+)", "Is it certain that no $1 are $2"),
    (r"能否确定有些(\p{Han}+?)不是(\p{Han}+)", "Is it certain that some $1 are not $2"),
    (r"能否确定有些(\p{Han}+?)是(\p{Han}+)", "Is it certain that some $1 are $2"),
    (r"能否断定所有(\p{Han}+?)都是(\p{Han}+)", "Must it be that all $1 are $2"),
    (r"能否断定没有(\p{Han}+?)是(\p{Han}+)", "Must it be that no $1 are $2"),
    (r"能否断定有些(\p{Han}+?)不是(\p{Han}+)", "Must it be that some $1 are not $2"),
    (r"能否断定有些(\p{Han}+?)是(\p{Han}+)", "Must it be that some $1 are $2"),
];

const WORDS: Pairs = &[
    ("设", "let"),
    ("假设", "try"),
    ("属于", "in"),
    ("不属于", "not in"),
    ("无", "none"),
    ("成立", "holds"),
    ("是", "yes"),
    ("否", "no"),
];

pub(super) fn book() -> Book {
    Book::new(SENTENCES, WORDS, crate::check::syllogism::read)
}

#[cfg(test)]
mod tests {
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};
    use crate::check::{read, solve};

    fn asked(premises: [&str; 2], conclusion: &str) -> String {
        format!("#A {}\n#B {}\n#Q 能否断定{conclusion}？", premises[0], premises[1])
    }

    #[test]
    fn questions_are_read() {
        let answer = |premises, conclusion| solve(&asked(premises, conclusion));
        let all = ["所有布林都是多普", "所有多普都是祖普"];
        assert_eq!(answer(all, "所有布林都是祖普").as_deref(), Some("是"));
        assert_eq!(answer(all, "有些布林是祖普").as_deref(), Some("否"));
        let some = ["没有多普是祖普", "有些布林是多普"];
        assert_eq!(answer(some, "有些布林不是祖普").as_deref(), Some("是"));
        assert_eq!(answer(some, "有些祖普不是布林").as_deref(), Some("否"));
        assert_eq!(answer(["多数布林是多普", "所有多普都是祖普"], "所有布林都是祖普"), None);
    }

    #[test]
    fn a_thing_is_followed_from_set_to_set() {
        let question = asked(["没有多普是祖普", "有些布林是多普"], "有些布林不是祖普");
        let verdicts = |lines: &[&str]| read(&question).check(lines).verdicts;
        let lines = [
            "#B 有些布林是多普：x 属于 布林，x 属于 多普",
            "#A 没有多普是祖普：x 属于 多普 -> x 不属于 祖普",
            "#Q 能否断定有些布林不是祖普：x 属于 布林，x 不属于 祖普 -> 是",
        ];
        assert_eq!(verdicts(&lines), [Ok; 3]);
        for (at, line) in [
            (0, "#B 有些布林是多普：x 属于 布林，x 属于 祖普"),
            (1, "#A 没有多普是祖普：x 属于 多普 -> x 属于 祖普"),
            (1, "#A 没有祖普是多普：x 属于 多普 -> x 不属于 祖普"),
            (2, "#Q 能否断定有些布林不是祖普：x 属于 布林，x 属于 多普 -> 是"),
            (2, "#Q 能否断定有些布林不是祖普：布林 x，祖普 无 -> 否"),
        ] {
            let mut changed = lines;
            changed[at] = line;
            assert_eq!(verdicts(&changed)[at], Wrong, "{line}");
        }
        assert_eq!(verdicts(&["好。", "#A 没有多普是祖普：对"]), [Unchecked; 2]);
    }

    #[test]
    fn a_world_refutes() {
        let question = asked(["所有布林都是多普", "所有祖普都是多普"], "所有布林都是祖普");
        let verdicts = |lines: &[&str]| read(&question).check(lines).verdicts;
        let lines = [
            "假设 布林 x，多普 x y，祖普 y",
            "#A 所有布林都是多普：布林 x，多普 x y -> 成立",
            "#B 所有祖普都是多普：祖普 y，多普 x y -> 成立",
            "#Q 能否断定所有布林都是祖普：布林 x，祖普 y -> 否",
        ];
        assert_eq!(verdicts(&lines), [Ok; 4]);
        let other = "#A 所有布林都是多普：布林 x，多普 x -> 成立";
        assert_eq!(verdicts(&[lines[0], other]), [Ok, Wrong]);
        assert_eq!(verdicts(&[lines[0], lines[1], lines[3]]), [Ok, Ok, Wrong]);
    }
}
