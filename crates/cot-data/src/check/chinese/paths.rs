//! Shortest ways in Chinese.

use super::book::{Book, Pairs};

const SENTENCES: Pairs = &[
    ("城镇之间的道路及其长度：", "Roads between towns, with their lengths:"),
    (r"(\p{Han}+)-(\p{Han}+) #", "$1-$2 $3"),
    (r"从(\p{Han}+?)到(\p{Han}+)的最短路程是多少", "How long is the shortest way from $1 to $2"),
    (r"从(\p{Han}+?)到(\p{Han}+)至少要走多远", "How far is it at least from $1 to $2"),
];

const WORDS: Pairs = &[("待选", "open"), ("选取", "take")];

pub(super) fn book() -> Book {
    Book::new(SENTENCES, WORDS, crate::check::paths::read)
}

#[cfg(test)]
mod tests {
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};
    use crate::check::{read, solve};

    const MAP: &str = "城镇之间的道路及其长度：\n#A 艾镇-白镇 5\n#B 柯镇-艾镇 2\n#C 白镇-柯镇 1\n\
                       #D 白镇-戴镇 4\n#Q 从艾镇到戴镇的最短路程是多少？";

    #[test]
    fn questions_are_read() {
        assert_eq!(solve(MAP).as_deref(), Some("7"));
        assert_eq!(solve(&MAP.replace("白镇-柯镇 1", "白镇-柯镇 9")).as_deref(), Some("9"));
        assert_eq!(solve(&MAP.replace("到戴镇", "到林镇")), None);
    }

    #[test]
    fn lines_are_judged_word_for_word() {
        let verdicts = |lines: &[&str]| read(MAP).check(lines).verdicts;
        let lines = [
            "待选 艾镇 0：选取 艾镇",
            "#A 艾镇-白镇 5：0+5=5，白镇 5",
            "#B 柯镇-艾镇 2：0+2=2，柯镇 2",
            "待选 白镇 5，柯镇 2：选取 柯镇",
            "#C 白镇-柯镇 1：2+1=3，白镇 3",
            "待选 白镇 3：选取 白镇",
            "#D 白镇-戴镇 4：3+4=7，戴镇 7",
            "待选 戴镇 7：选取 戴镇",
            "#Q 从艾镇到戴镇的最短路程是多少：7",
        ];
        assert_eq!(verdicts(&lines), [Ok; 9]);
        for (at, line) in [
            (0, "待选 艾镇 1：选取 艾镇"),
            (1, "#A 艾镇-白镇 5：0+5=5，柯镇 5"),
            (1, "#B 艾镇-白镇 5：0+5=5，白镇 5"),
            (3, "待选 白镇 5，柯镇 2：选取 白镇"),
            (4, "#C 白镇-柯镇 1：2+1=3，白镇 5"),
            (8, "#Q 从艾镇到戴镇的最短路程是多少：9"),
        ] {
            let mut changed = lines;
            changed[at] = line;
            assert_eq!(verdicts(&changed)[at], Wrong, "{line}");
        }
        assert_eq!(verdicts(&["好。", "待选 艾镇 0: take 艾镇"]), [Unchecked; 2]);
    }
}
