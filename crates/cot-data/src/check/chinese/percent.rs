//! Percentages, rates and units in Chinese.

use super::book::{Book, Pairs};

const SENTENCES: Pairs = &[
    (r"一\p{Han}{2,5}(?:售价|的价格是)#元。", "A thing costs $1 dollars."),
    ("现在的价格是多少元", "What does it cost now, in dollars"),
    ("降价#%", "$1% off"),
    ("涨价#%", "$1% more"),
    ("降价#元", "$1 dollars off"),
    ("涨价#元", "$1 dollars more"),
    ("@开车出行。", "$1 drives."),
    ("@一共行驶了多少公里", "How many km does $1 go"),
    ("以每小时#公里的速度行驶#小时", "$2 hours at $1 km an hour"),
    ("以每小时#公里的速度行驶#分钟", "$2 minutes at $1 km an hour"),
    ("几块木板首尾相接。", "Boards are laid end to end."),
    ("秤上放着几个袋子。", "Bags are put on a scale."),
    ("几部电影接连放映。", "Films are shown one after another."),
    ("几次旅行一次接着一次。", "Trips follow one another."),
    ("总长是多少厘米", "How many cm is that"),
    ("总重是多少克", "How many g is that"),
    ("一共是多少分钟", "How many minutes is that"),
    ("一共是多少天", "How many days is that"),
    ("#米", "$1 m"),
    ("#厘米", "$1 cm"),
    ("#米#厘米", "$1 m $2 cm"),
    ("#千克", "$1 kg"),
    ("#克", "$1 g"),
    ("#千克#克", "$1 kg $2 g"),
    ("#小时", "$1 hours"),
    ("#分钟", "$1 minutes"),
    ("#小时#分钟", "$1 hours $2 minutes"),
    ("#周", "$1 weeks"),
    ("#天", "$1 days"),
    ("#周#天", "$1 weeks $2 days"),
];

pub(super) fn book() -> Book {
    Book::new(SENTENCES, &[], crate::check::percent::read)
}

#[cfg(test)]
mod tests {
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};
    use crate::check::{read, solve};

    const PRICE: &str =
        "一件外套售价80元。\n#A 降价25%\n#B 涨价10%\n#C 降价6元\n现在的价格是多少元？";

    #[test]
    fn questions_are_read() {
        assert_eq!(solve(PRICE).as_deref(), Some("60"));
        let trip = "小安开车出行。\n#A 以每小时60公里的速度行驶2小时\n\
                    #B 以每小时80公里的速度行驶45分钟\n小安一共行驶了多少公里？";
        assert_eq!(solve(trip).as_deref(), Some("180"));
        let boards = "几块木板首尾相接。\n#A 2米5厘米\n#B 40厘米\n#C 3米\n总长是多少厘米？";
        assert_eq!(solve(boards).as_deref(), Some("545"));
        assert_eq!(solve(&boards.replace("40厘米", "40克")), None);
        assert_eq!(solve(&PRICE.replace("降价6元", "降价很多")), None);
    }

    #[test]
    fn lines_are_judged_word_for_word() {
        let verdicts = |lines: &[&str]| read(PRICE).check(lines).verdicts;
        let first = "#A 降价25%：80*25/100=2000/100=20，80-20=60";
        let second = "#B 涨价10%：60*10/100=6，60+6=66";
        assert_eq!(verdicts(&[first, second, "#C 降价6元：66-6=60"]), [Ok; 3]);
        for line in [
            "#B 涨价10%：80*10/100=8，80+8=88",
            "#B 涨价10%：60*10/100=6，60-6=54",
            "#B 降价10%：60*10/100=6，60-6=54",
            "#C 涨价10%：60*10/100=6，60+6=66",
            "#B 10% more：60*10/100=6，60+6=66",
        ] {
            assert_eq!(verdicts(&[first, line]), [Ok, Wrong], "{line}");
        }
        let open = ["#A 降价25%：四分之一", "#A 降价25%: 80*25/100=20, 80-20=60", "好。"];
        assert_eq!(verdicts(&open), [Unchecked; 3]);
    }
}
