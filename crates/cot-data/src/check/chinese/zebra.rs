//! Zebra puzzles in Chinese.

use super::book::{Book, Pairs};

const SENTENCES: Pairs = &[
    (
        "1号到#号房子从左到右排成一行。每所房子里每类各有一样，互不相同。",
        "Houses 1 to $1 stand in a row from left to right. Each has one of every kind, no two the \
         same.",
    ),
    ("(人物|宠物|饮料|水果)：(.+)", "$1: $2"),
    // What is denied comes first: its word would else be part of a name.
    (r"(\p{Han}+)不在#号房子里", "$1 is not in house $2"),
    (r"(\p{Han}+)在#号房子里", "$1 is in house $2"),
    (r"(\p{Han}+)在几号房子里", "In which house is $1"),
    (r"谁和(\p{Han}+)在同一所房子里", "Who is with $1"),
    (r"哪种宠物和(\p{Han}+)在同一所房子里", "Which pet is with $1"),
    (r"哪种饮料和(\p{Han}+)在同一所房子里", "Which drink is with $1"),
    (r"哪种水果和(\p{Han}+)在同一所房子里", "Which fruit is with $1"),
    (r"(\p{Han}+)和(\p{Han}+)不在同一所房子里", "$1 is not with $2"),
    (r"(\p{Han}+)和(\p{Han}+)在同一所房子里", "$1 is with $2"),
    (r"(\p{Han}+)紧挨在(\p{Han}+)的左边", "$1 is directly left of $2"),
    (r"(\p{Han}+)在(\p{Han}+)左边的某处", "$1 is somewhere left of $2"),
    (r"(\p{Han}+)与(\p{Han}+)相邻", "$1 is next to $2"),
];

const WORDS: Pairs =
    &[("人物", "people"), ("宠物", "pets"), ("饮料", "drinks"), ("水果", "fruits")];

pub(super) fn book() -> Book {
    Book::new(SENTENCES, WORDS, crate::check::zebra::read)
}

#[cfg(test)]
mod tests {
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};
    use crate::check::{read, solve};

    const OPENING: &str = "1号到3号房子从左到右排成一行。每所房子里每类各有一样，互不相同。\n\
                           人物：小安，小波，小丹\n宠物：猫，狗，鱼";
    const CLUES: &str = "#A 小安在2号房子里\n#B 狗紧挨在小安的左边\n#C 小波在猫左边的某处\n\
                         #D 小丹和猫在同一所房子里";

    #[test]
    fn questions_are_read() {
        let answer = |clues: &str, asked: &str| solve(&format!("{OPENING}\n{clues}\n#Q {asked}？"));
        for (asked, found) in [
            ("哪种宠物和小安在同一所房子里", "鱼"),
            ("谁和狗在同一所房子里", "小波"),
            ("猫在几号房子里", "3"),
        ] {
            assert_eq!(answer(CLUES, asked).as_deref(), Some(found));
        }
        let others = "#A 小安不在1号房子里\n#B 小安与狗相邻\n#C 小安和鱼不在同一所房子里\n\
                      #D 小波在小丹左边的某处\n#E 狗在小丹左边的某处";
        // In house 3, the first would have the third's dog beside it.
        assert_eq!(answer(others, "谁和狗在同一所房子里").as_deref(), Some("小波"));
        assert_eq!(answer("#A 小安在2号房子里", "谁和狗在同一所房子里"), None);
        assert_eq!(answer("#A 小安很高兴", "谁和狗在同一所房子里"), None);
    }

    #[test]
    fn lines_are_judged_word_for_word() {
        let question = format!("{OPENING}\n{CLUES}\n#Q 哪种宠物和小安在同一所房子里？");
        let reading = read(&question);
        let verdicts = |lines: &[&str]| reading.check(lines).verdicts;
        let first = "#A 小安在2号房子里：小安 1/2/3 -> 小安 2";
        let second = "#B 狗紧挨在小安的左边：狗 1/2/3，小安 2 -> 狗 1";
        let people = "人物：小安 2，小波 1/2/3，小丹 1/2/3 -> 小波 1/3，小丹 1/3";
        let third = "#D 小丹和猫在同一所房子里：小丹 1/3，猫 1/2/3 -> 猫 1/3";
        let pets = "宠物：猫 1/3，狗 1，鱼 1/2/3 -> 猫 3，鱼 2";
        let end = "#Q 哪种宠物和小安在同一所房子里：小安 2，鱼 2 -> 鱼";
        let checks = reading.check(&[first, second, people, third, pets, end]);
        assert_eq!(checks.verdicts, [Ok; 6]);
        assert_eq!(checks.conclusion.as_deref(), Some("鱼"));
        for line in [
            "#B 狗紧挨在小安的左边：狗 1/2/3，小安 2 -> 狗 3",
            "#B 狗在小安左边的某处：狗 1/2/3，小安 2 -> 狗 1",
            "人物：小安 2，小波 1/2/3，小丹 1/2/3 -> 小波 1，小丹 1/3",
            "宠物：小安 2，小波 1/2/3，小丹 1/2/3 -> 小波 1/3，小丹 1/3",
        ] {
            assert_eq!(verdicts(&[first, line]), [Ok, Wrong], "{line}");
        }
        assert_eq!(verdicts(&["好。", "人物：没有人"]), [Unchecked; 2]);
    }
}
