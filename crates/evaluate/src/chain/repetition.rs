//! Replies that repeat themselves until they are cut.

use std::ops::Range;

/// Most bytes of a text's end that are looked at.
const TAIL: usize = 8192;

/// What is said so many times in a row at the end is a loop: a step done twice is not, nor is
/// one that a model takes up again once.
const TIMES: usize = 4;

/// A loop is at least so long, in bytes: a number that ends in zeros is none.
const LEAST: usize = 24;

/// The first byte of the second time, where the text ends in a loop: the same run of bytes, of
/// whatever length, again and again, the last time perhaps cut.
pub fn looping_tail(text: &str) -> Option<usize> {
    let text = text.trim_end();
    let tail: Vec<u8> = text.bytes().rev().take(TAIL).collect();
    // Knuth, Morris and Pratt: the text's end of `length` bytes repeats after
    // `length - border` bytes, where `border` is the longest proper prefix that is a suffix too.
    let mut borders = vec![0_usize; tail.len()];
    let mut found = None;
    for at in 1..tail.len() {
        let mut border = borders[at - 1];
        while border > 0 && tail[at] != tail[border] {
            border = borders[border - 1];
        }
        border += usize::from(tail[at] == tail[border]);
        borders[at] = border;
        let (length, period) = (at + 1, at + 1 - border);
        if length >= LEAST.max(TIMES * period) {
            found = Some(text.len() - length + period);
        }
    }
    found.map(|mut at| {
        while !text.is_char_boundary(at) {
            at += 1;
        }
        at
    })
}

/// The first of the steps that only says again what was said; nothing where the text does not
/// end in a loop.
pub(super) fn first_repeated(text: &str, steps: &[Range<usize>]) -> Option<usize> {
    let start = looping_tail(text)?;
    steps
        .iter()
        .position(|step| step.start >= start)
        .or_else(|| steps.iter().position(|step| step.end > start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::split::split;

    #[track_caller]
    fn check(text: &str, expected: Option<usize>) {
        assert_eq!(first_repeated(text, &split(text)), expected, "{text}");
    }

    #[test]
    fn a_line_that_comes_again_and_again_is_a_loop() {
        let start = "#A add 3: 4+3=7\n#B add 2: 7+2=9\n";
        let line = "#C add 1: 9+1=10\n";
        check(&format!("{start}{}", line.repeat(6)), Some(3));
        check(&format!("{start}{}#C add", line.repeat(4)), Some(3));
        check(&format!("{start}{}", line.repeat(2)), None);
        check(start, None);
        check("", None);
    }

    #[test]
    fn lines_in_turn_and_words_loop_too() {
        let turn = "Wait, is it 5? Let me see.\nNo, it is 6 then.\n";
        check(&format!("It is 4.\n{}", turn.repeat(5)), Some(3));
        check(&format!("a\nso we have {}", "again and ".repeat(9)), Some(1));
        check(&format!("a\n{}", "是的，".repeat(12)), Some(1));
    }

    #[test]
    fn figures_and_alike_steps_do_not() {
        check("1\n2*10=20\n20*10=200\n200*10=2000\n2000*10=20000", None);
        check("so it is 1000000000000000000", None);
        check("a: 1\na: 2\na: 3\na: 4\na: 5\na: 6\na: 7\na: 8", None);
    }

    #[test]
    fn a_long_text_costs_little_and_its_end_counts() {
        let text = format!("{}{}", "x y z ".repeat(20_000), "the end is 7.");
        assert_eq!(looping_tail(&text), None);
        assert!(looping_tail(&"x y z ".repeat(20_000)).is_some());
    }
}
