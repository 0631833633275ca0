//! Fractions in Chinese.

use super::book::{Book, Pairs};

const SENTENCES: Pairs = &[
    (r"从(\d+(?:/\d+)?)开始。", "Begin with $1."),
    (r"这个数是(\d+(?:/\d+)?)。", "The number is $1."),
    ("结果化到最简是多少", "What is the result in lowest terms"),
    ("现在这个数化到最简是多少", "What is it now, in lowest terms"),
    (r"加上(\d+(?:/\d+)?)", "add $1"),
    (r"减去(\d+(?:/\d+)?)", "subtract $1"),
    (r"乘以(\d+(?:/\d+)?)", "multiply by $1"),
    (r"除以(\d+(?:/\d+)?)", "divide by $1"),
    ("水箱里有#升水。", "A tank holds $1 litres."),
    ("谷仓里有#袋粮食。", "A barn holds $1 sacks."),
    ("还剩多少升水", "How many litres are left"),
    ("还剩多少袋粮食", "How many sacks are left"),
    (r"取走剩下的(\d+/\d+)", "$1 of the rest goes"),
];

pub(super) fn book() -> Book {
    Book::new(SENTENCES, &[], crate::check::fractions::read)
}

#[cfg(test)]
mod tests {
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};
    use crate::check::{read, solve};

    const PROGRAM: &str = "从1/2开始。\n#A 加上3/4\n#B 乘以2/3\n#C 除以5/9\n结果化到最简是多少？";
    const TANK: &str = "水箱里有240升水。\n#A 取走剩下的2/5\n#B 取走剩下的1/4\n还剩多少升水？";

    #[test]
    fn questions_are_read() {
        assert_eq!(solve(PROGRAM).as_deref(), Some("3/2"));
        assert_eq!(solve(TANK).as_deref(), Some("108"));
        assert_eq!(solve(&TANK.replace("取走", "加入")), None);
    }

    #[test]
    fn lines_are_judged_word_for_word() {
        let verdicts = |lines: &[&str]| read(PROGRAM).check(lines).verdicts;
        let first = "#A 加上3/4：1/2+3/4=2/4+3/4=5/4";
        let second = "#B 乘以2/3：5/4*2/3=10/12=5/6";
        assert_eq!(verdicts(&[first, second, "#C 除以5/9：5/6*9/5=45/30=3/2"]), [Ok; 3]);
        for line in [
            "#B 乘以2/3：5/4*3/2=15/8",
            "#B 乘以2/3：5/4+2/3=23/12",
            "#B 除以2/3：5/4*2/3=10/12=5/6",
            "#C 除以5/9：5/4*9/5=9/4",
        ] {
            assert_eq!(verdicts(&[first, line]), [Ok, Wrong], "{line}");
        }
        assert_eq!(verdicts(&["#A 加上3/4：更多"]), [Unchecked]);
        let lines = [
            "#A 取走剩下的2/5：240/5=48，48*2=96，240-96=144",
            "#B 取走剩下的1/4：240/4=60，240-60=180",
        ];
        assert_eq!(read(TANK).check(&lines).verdicts, [Ok, Wrong]);
    }
}
