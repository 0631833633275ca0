//! Seats in Chinese.

use super::book::{Book, Pairs};

const SENTENCES: Pairs = &[
    ("1号到#号座位从左到右排成一行。", "Seats 1 to $1 stand in a row from left to right."),
    ("1号到#号座位围着桌子按顺时针方向排列。", "Seats 1 to $1 stand clockwise around a table."),
    ("@坐在#号座位", "$1 has seat $2"),
    ("@坐在@右边第#个座位", "$1 sits $3 seats right of $2"),
    ("@坐在@左边第#个座位", "$1 sits $3 seats left of $2"),
    ("@坐在@顺时针方向第#个座位", "$1 sits $3 seats clockwise from $2"),
    ("@坐在@逆时针方向第#个座位", "$1 sits $3 seats counterclockwise from $2"),
    ("@坐在@的对面", "$1 sits opposite $2"),
    ("@坐在几号座位", "Which seat has $1"),
    ("谁坐在#号座位", "Who has seat $1"),
];

pub(super) fn book() -> Book {
    Book::new(SENTENCES, &[], crate::check::seating::read)
}

#[cfg(test)]
mod tests {
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};
    use crate::check::{read, solve};

    const ROUND: &str = "1号到4号座位围着桌子按顺时针方向排列。\n#A 小安坐在4号座位\n\
                         #B 小波坐在小安顺时针方向第1个座位\n#C 小丹坐在小波的对面\n\
                         #D 小金坐在小丹逆时针方向第1个座位\n#Q 小金坐在几号座位？";

    #[test]
    fn questions_are_read() {
        let row = "1号到3号座位从左到右排成一行。\n#A 小波坐在小安左边第1个座位\n#B 小安坐在2号座位\n\
                   #C 小丹坐在小波右边第2个座位\n#Q 谁坐在3号座位？";
        assert_eq!(solve(row).as_deref(), Some("小丹"));
        assert_eq!(solve(ROUND).as_deref(), Some("2"));
        assert_eq!(solve(&row.replace("左边第1个", "顺时针方向第1个")), None);
        assert_eq!(solve(&row.replace("坐在2号座位", "坐在窗边")), None);
    }

    #[test]
    fn lines_are_judged_word_for_word() {
        let verdicts = |lines: &[&str]| read(ROUND).check(lines).verdicts;
        let lines = [
            "#A 小安坐在4号座位：小安 4",
            "#B 小波坐在小安顺时针方向第1个座位：小安 4，4+1=5，5-4=1，小波 1",
            "#C 小丹坐在小波的对面：小波 1，1+2=3，小丹 3",
            "#D 小金坐在小丹逆时针方向第1个座位：小丹 3，3-1=2，小金 2",
            "#Q 小金坐在几号座位：2",
        ];
        assert_eq!(verdicts(&lines), [Ok; 5]);
        for (at, line) in [
            (0, "#A 小安坐在4号座位：小安 3"),
            (1, "#B 小波坐在小安顺时针方向第1个座位：小安 4，4+1=5，小波 5"),
            (1, "#B 小波坐在小安逆时针方向第1个座位：小安 4，4+1=5，5-4=1，小波 1"),
            (2, "#C 小丹坐在小波的对面：小波 1，1+2=3，小金 3"),
            (4, "#Q 小金坐在几号座位：3"),
        ] {
            let mut changed = lines;
            changed[at] = line;
            assert_eq!(verdicts(&changed)[at], Wrong, "{line}");
        }
        assert_eq!(verdicts(&["好。", "#A 小安坐在4号座位：她"]), [Unchecked; 2]);
    }
}
