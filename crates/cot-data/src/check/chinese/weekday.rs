//! Dates and weekdays in Chinese.

use super::book::{Book, Pairs};

const SENTENCES: Pairs = &[
    ("今天是(星期.)。", "Today is $1."),
    ("某天是(星期.)。", "It is $1."),
    ("那一天是星期几", "Which weekday is it then"),
    ("到那时是星期几", "What day of the week is it then"),
    ("今天是(.+日)。", "The date is $1."),
    ("从(.+日)算起。", "We start on $1."),
    ("那一天是几年几月几日", "What is the date then"),
    ("最后是几年几月几日", "On which date do we end"),
    ("#天后", "$1 days later"),
    ("#天前", "$1 days before"),
    ("#周后", "$1 weeks later"),
    ("#周前", "$1 weeks before"),
    ("从(.+日)到(.+日)有多少天", "How many days is it from $1 to $2"),
    ("(.+日)之后多少天是(.+日)", "How many days after $1 is $2"),
];

const WORDS: Pairs = &[
    ("星期一", "Monday"),
    ("星期二", "Tuesday"),
    ("星期三", "Wednesday"),
    ("星期四", "Thursday"),
    ("星期五", "Friday"),
    ("星期六", "Saturday"),
    ("星期日", "Sunday"),
];

pub(super) fn book() -> Book {
    Book::new(SENTENCES, WORDS, crate::check::weekday::read)
}

#[cfg(test)]
mod tests {
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};
    use crate::check::{read, solve};

    #[test]
    fn weekdays_turn() {
        let asked = "今天是星期一。\n#A 10天后\n#B 2周前\n#C 5天前\n那一天是星期几？";
        assert_eq!(solve(asked).as_deref(), Some("星期六"));
        let verdicts = |lines: &[&str]| read(asked).check(lines).verdicts;
        let first = "#A 10天后：10=7*1+3，星期一，星期二，星期三，星期四";
        let second = "#B 2周前：2*7=14，14=7*2+0，星期四";
        let third = "#C 5天前：5=7*0+5，星期四，星期三，星期二，星期一，星期日，星期六";
        let checks = read(asked).check(&[first, second, third]);
        assert_eq!(checks.verdicts, [Ok; 3]);
        assert_eq!(checks.conclusion.as_deref(), Some("星期六"));
        for line in [
            "#A 10天后：10=7*1+3，星期一，星期二，星期三",
            "#A 10天前：10=7*1+3，星期一，星期二，星期三，星期四",
            "#A 10天后：10=7*1+3，星期一，星期日，星期六，星期五",
        ] {
            assert_eq!(verdicts(&[line]), [Wrong], "{line}");
        }
        assert_eq!(verdicts(&["好。", "#A 10天后：不久"]), [Unchecked; 2]);
    }

    #[test]
    fn dates_walk_over_months_and_years() {
        let asked = "今天是2023年12月5日。\n#A 60天后\n#B 10天前\n那一天是几年几月几日？";
        assert_eq!(solve(asked).as_deref(), Some("2024年1月24日"));
        let verdicts = |lines: &[&str]| read(asked).check(lines).verdicts;
        let first = "#A 60天后：5+60=65，12月有31天，65-31=34，1月有31天，34-31=3，2024年2月3日";
        let second = "#B 10天前：3-10=-7，1月有31天，-7+31=24，2024年1月24日";
        assert_eq!(verdicts(&[first, second]), [Ok, Ok]);
        for (from, to) in [("1月有31天", "1月有30天"), ("2024年", "2023年"), ("12月", "11月")]
        {
            assert_eq!(verdicts(&[&first.replacen(from, to, 1)]), [Wrong], "{to}");
        }
    }

    #[test]
    fn days_between_two_dates() {
        let asked = "#Q 从2024年1月20日到2024年3月5日有多少天？";
        assert_eq!(solve(asked).as_deref(), Some("45"));
        assert_eq!(solve("#Q 2024年1月20日之后多少天是2024年3月5日？").as_deref(), Some("45"));
        assert_eq!(solve(&asked.replace("1月20日", "1月32日")), None);
        let end = "#Q 从2024年1月20日到2024年3月5日有多少天：45";
        let lines = ["1月：31-20=11", "2月：11+29=40", "3月：40+5=45", end];
        let verdicts = |lines: &[&str]| read(asked).check(lines).verdicts;
        assert_eq!(verdicts(&lines), [Ok; 4]);
        assert_eq!(verdicts(&[lines[0], "2月：11+28=39"]), [Ok, Wrong]);
        assert_eq!(verdicts(&[lines[0], "3月：11+29=40"]), [Ok, Wrong]);
    }
}
