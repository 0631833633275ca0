//! Divisors, multiples, remainders and primes in Chinese.

use super::book::{Book, Pairs};

const SENTENCES: Pairs = &[
    ("请看这些数。", "Look at the numbers."),
    ("#", "$1"),
    ("最大公约数是多少", "What is the greatest common divisor"),
    ("能整除所有这些数的最大的数是多少", "What is the largest number that divides them all"),
    ("最小公倍数是多少", "What is the least common multiple"),
    ("能被所有这些数整除的最小的正整数是多少", "What is the smallest number that they all divide"),
    ("其中有多少个是质数", "How many of them are prime"),
    ("一共有多少个质数", "How many primes are there"),
    ("第一个数是#。", "The first number is $1."),
    ("加上#", "plus $1"),
    ("乘以#", "times $1"),
    ("最后的数除以#的余数是多少", "What is the remainder modulo $1"),
];

const WORDS: Pairs = &[("是质数", "prime"), ("不是质数", "not prime")];

pub(super) fn book() -> Book {
    Book::new(SENTENCES, WORDS, crate::check::divisors::read)
}

#[cfg(test)]
mod tests {
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};
    use crate::check::{read, solve};

    const PRIMES: &str = "请看这些数。\n#A 91\n#B 97\n其中有多少个是质数？";

    #[test]
    fn questions_are_read() {
        assert_eq!(solve(PRIMES).as_deref(), Some("1"));
        let numbers = "请看这些数。\n#A 84\n#B 36\n";
        let asked = |asked: &str| solve(&format!("{numbers}{asked}？"));
        assert_eq!(asked("最大公约数是多少").as_deref(), Some("12"));
        assert_eq!(asked("最小公倍数是多少").as_deref(), Some("252"));
        assert_eq!(asked("最大的数是多少"), None);
        let remainder = "第一个数是3。\n#A 加上30\n#B 乘以4\n最后的数除以7的余数是多少？";
        assert_eq!(solve(remainder).as_deref(), Some("6"));
    }

    #[test]
    fn lines_are_judged_word_for_word() {
        let verdicts = |lines: &[&str]| read(PRIMES).check(lines).verdicts;
        let first = "#A 91：91=2*45+1，91=3*30+1，91=5*18+1，91=7*13+0，不是质数，0";
        let tried = "#B 97：97=2*48+1，97=3*32+1，97=5*19+2，97=7*13+6";
        assert_eq!(verdicts(&[first, &format!("{tried}，是质数，1")]), [Ok; 2]);
        for end in ["，不是质数，0", "，是质数，2"] {
            assert_eq!(verdicts(&[first, &format!("{tried}{end}")]), [Ok, Wrong], "{end}");
        }
        assert_eq!(verdicts(&[&first.replace("不是质数", "是质数")]), [Wrong]);
        assert_eq!(verdicts(&[&first.replace("不是质数", "合数"), "好。"]), [Unchecked; 2]);
    }
}
