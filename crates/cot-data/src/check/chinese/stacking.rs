//! Stacks of blocks in Chinese.

use super::book::{Book, Pairs};

const SENTENCES: Pairs = &[
    ("积木摆成三堆，每堆从最下面的一块说起。", "Blocks are in three stacks, the bottom one first."),
    ("有三堆积木，每堆从下往上列出。", "Three stacks of blocks, told from the bottom up."),
    ("第#堆：(.+)", "stack $1: $2"),
    ("从第#堆移到第#堆", "move from $1 to $2"),
    ("第#堆最上面的积木是什么颜色", "Which block is on top of stack $1"),
    (r"(\p{Han}+)积木在第几堆", "In which stack is the $1 block"),
    ("第#堆有几块积木", "How many blocks are in stack $1"),
];

const WORDS: Pairs = &[("空", "empty")];

pub(super) fn book() -> Book {
    Book::new(SENTENCES, WORDS, crate::check::stacking::read)
}

#[cfg(test)]
mod tests {
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};
    use crate::check::{read, solve};

    const ASKED: &str = "积木摆成三堆，每堆从最下面的一块说起。\n第1堆：红色 蓝色\n第2堆：空\n\
                         第3堆：绿色\n#A 从第1堆移到第2堆\n#B 从第3堆移到第2堆\n\
                         #Q 第2堆最上面的积木是什么颜色？";

    #[test]
    fn questions_are_read() {
        assert_eq!(solve(ASKED).as_deref(), Some("绿色"));
        let other = |asked: &str| solve(&ASKED.replace("第2堆最上面的积木是什么颜色", asked));
        assert_eq!(other("蓝色积木在第几堆").as_deref(), Some("2"));
        assert_eq!(other("第3堆有几块积木").as_deref(), Some("0"));
        assert_eq!(other("第3堆最上面的积木是什么颜色"), None);
        assert_eq!(other("哪堆最高"), None);
    }

    #[test]
    fn lines_are_judged_word_for_word() {
        let verdicts = |lines: &[&str]| read(ASKED).check(lines).verdicts;
        let first = "#A 从第1堆移到第2堆：蓝色，1 红色，2 蓝色";
        let second = "#B 从第3堆移到第2堆：绿色，3 空，2 蓝色 绿色";
        let last = "#Q 第2堆最上面的积木是什么颜色：绿色";
        assert_eq!(verdicts(&[first, second, last]), [Ok; 3]);
        for line in [
            "#B 从第3堆移到第2堆：绿色，3 空，2 绿色 蓝色",
            "#B 从第3堆移到第2堆：蓝色，3 空，2 蓝色 绿色",
            "#B 从第3堆移到第1堆：绿色，3 空，2 蓝色 绿色",
            "#A 从第1堆移到第2堆：红色，1 空，2 蓝色 红色",
            last,
        ] {
            assert_eq!(verdicts(&[first, line]), [Ok, Wrong], "{line}");
        }
        assert_eq!(verdicts(&["好。", "#A 从第1堆移到第2堆：蓝色"]), [Unchecked; 2]);
    }
}
