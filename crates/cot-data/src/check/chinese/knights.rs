//! Knights and knaves in Chinese.

use super::book::{Book, Pairs};

const SENTENCES: Pairs = &[
    ("骑士总说真话，无赖总说假话。", "A knight always tells the truth, a knave always lies."),
    ("他们各是什么人", "What is each of them"),
    ("@(?:说|声称)@是(骑士|无赖)", "$1 says that $2 is a $3"),
    ("@(?:说|声称)@是(骑士|无赖)且@是(骑士|无赖)", "$1 says that $2 is a $3 and $4 is a $5"),
    ("@(?:说|声称)@是(骑士|无赖)或@是(骑士|无赖)", "$1 says that $2 is a $3 or $4 is a $5"),
    ("@(?:说|声称)若@是(骑士|无赖)则@是(骑士|无赖)", "$1 says that if $2 is a $3 then $4 is a $5"),
    ("@(?:说|声称)@和@是同一类人", "$1 says that $2 and $3 are of the same kind"),
    ("@(?:说|声称)@和@不是同一类人", "$1 says that $2 and $3 are of different kinds"),
    ("@(?:说|声称)@和@中恰有一人是骑士", "$1 says that exactly one of $2 and $3 is a knight"),
    (
        "@(?:说|声称)@、@和@中恰有一人是骑士",
        "$1 says that exactly one of $2, $3 and $4 is a knight",
    ),
    (
        "@(?:说|声称)@、@和@中恰有两人是骑士",
        "$1 says that exactly two of $2, $3 and $4 are knights",
    ),
];

const WORDS: Pairs = &[
    ("骑士", "knight"),
    ("无赖", "knave"),
    ("均未知", "none known"),
    ("相符", "fits"),
    ("矛盾", "contradiction"),
    ("假设", "try"),
    ("所以", "so"),
];

pub(super) fn book() -> Book {
    Book::new(SENTENCES, WORDS, crate::check::knights::read)
}

#[cfg(test)]
mod tests {
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};
    use crate::check::{read, solve};

    fn asked(claims: &[&str]) -> String {
        let items: Vec<String> =
            ('A'..).zip(claims).map(|(label, claim)| format!("#{label} {claim}")).collect();
        format!("骑士总说真话，无赖总说假话。\n{}\n#Q 他们各是什么人？", items.join("\n"))
    }

    #[test]
    fn questions_are_read() {
        let answer = |claims: &[&str]| solve(&asked(claims));
        let both = ["小安说小安是无赖且小波是无赖", "小波声称小安是无赖"];
        assert_eq!(answer(&both).as_deref(), Some("小安 无赖，小波 骑士"));
        let three = [
            "小安说小安、小波和小丹中恰有一人是骑士",
            "小波说若小安是骑士则小丹是骑士",
            "小丹说小安和小波不是同一类人",
        ];
        assert_eq!(answer(&three).as_deref(), Some("小安 无赖，小波 骑士，小丹 骑士"));
        assert_eq!(answer(&["小安说小波是骑士", "小波说小安是骑士"]), None, "two fit");
        assert_eq!(answer(&["小安说小波很高"]), None);
    }

    #[test]
    fn lines_are_judged_word_for_word() {
        let question = asked(&["小安说小波是无赖", "小波说小安和小波是同一类人"]);
        let verdicts = |lines: &[&str]| read(&question).check(lines).verdicts;
        let ann = "#B 小波说小安和小波是同一类人：均未知 -> 小安 骑士";
        let bob = "#A 小安说小波是无赖：小安 骑士 -> 小波 无赖";
        let fits = "#B 小波说小安和小波是同一类人：小安 骑士，小波 无赖 -> 相符";
        let end = "#Q 他们各是什么人：小安 骑士，小波 无赖";
        let checks = read(&question).check(&[ann, bob, fits, end]);
        assert_eq!(checks.verdicts, [Ok; 4]);
        assert_eq!(checks.conclusion.as_deref(), Some("小安 骑士，小波 无赖"));
        for line in [
            "#A 小安说小波是无赖：小安 骑士 -> 小波 骑士",
            "#A 小安说小波是无赖：小安 无赖 -> 小波 骑士",
            "#A 小安说小波是无赖：小安 骑士 -> 矛盾",
            "#A 小波说小安是无赖：小安 骑士 -> 小波 无赖",
            "#Q 他们各是什么人：小安 骑士，小波 无赖",
        ] {
            assert_eq!(verdicts(&[ann, line]), [Ok, Wrong], "{line}");
        }
        let tried = "#B 小波说小安和小波是同一类人：小安 无赖 -> 矛盾";
        assert_eq!(verdicts(&["假设 小安 无赖", tried, "所以 小安 骑士", bob, fits, end]), [Ok; 6]);
        assert_eq!(verdicts(&["假设 小安 无赖", tried, "所以 小安 无赖"])[2], Wrong);
        assert_eq!(verdicts(&["好。", "假设 小山 骑士", "try 小安 骑士"]), [Unchecked; 3]);
    }
}
