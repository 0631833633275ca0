//! A cube in Chinese.

use super::book::{Book, Pairs};

const SENTENCES: Pairs = &[
    ("桌上有一个立方体。它的各面：(.+)。", "A cube stands on a table. Its faces: $1."),
    ("向北滚动", "roll north"),
    ("向南滚动", "roll south"),
    ("向东滚动", "roll east"),
    ("向西滚动", "roll west"),
    ("原地右转", "turn right"),
    ("原地左转", "turn left"),
    ("它的([顶底东南西北]面)是什么颜色", "Which colour is its $1 face"),
    ("([顶底东南西北]面)的颜色是什么", "Which colour does the $1 face have"),
];

const WORDS: Pairs = &[
    ("顶面", "top"),
    ("北面", "north"),
    ("东面", "east"),
    ("南面", "south"),
    ("西面", "west"),
    ("底面", "bottom"),
];

pub(super) fn book() -> Book {
    Book::new(SENTENCES, WORDS, crate::check::cube::read)
}

#[cfg(test)]
mod tests {
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};
    use crate::check::{read, solve};

    const ASKED: &str = "桌上有一个立方体。它的各面：顶面 红色，北面 蓝色，东面 绿色，南面 白色，\
                         西面 黑色，底面 粉色。\n#A 向北滚动\n#B 原地右转\n#Q 它的东面是什么颜色？";

    #[test]
    fn questions_are_read() {
        assert_eq!(solve(ASKED).as_deref(), Some("红色"));
        let asked = ASKED.replace("向北滚动\n#B 原地右转", "向南滚动");
        assert_eq!(
            solve(&asked.replace("它的东面是什么颜色", "顶面的颜色是什么")).as_deref(),
            Some("蓝色")
        );
        assert_eq!(solve(&ASKED.replace("滚动", "飞行")), None);
    }

    #[test]
    fn lines_are_judged_word_for_word() {
        let verdicts = |lines: &[&str]| read(ASKED).check(lines).verdicts;
        let first = "#A 向北滚动：顶面 白色，北面 红色，东面 绿色，南面 粉色，西面 黑色，底面 蓝色";
        let second =
            "#B 原地右转：顶面 白色，北面 黑色，东面 红色，南面 绿色，西面 粉色，底面 蓝色";
        let last = "#Q 它的东面是什么颜色：红色";
        assert_eq!(verdicts(&[first, second, last]), [Ok; 3]);
        assert_eq!(verdicts(&[&first.replace("北面 红色，东面", "东面 红色，北面")]), [Wrong]);
        assert_eq!(verdicts(&[&first.replace("向北", "向南")]), [Wrong]);
        assert_eq!(verdicts(&[second]), [Wrong]);
        assert_eq!(verdicts(&[first, last]), [Ok, Wrong], "a move is missing");
        assert_eq!(verdicts(&[first, second, "#Q 它的东面是什么颜色：蓝色"])[2], Wrong);
        assert_eq!(verdicts(&["好。", "#A 向北滚动：顶面 白色"]), [Unchecked; 2]);
    }
}
