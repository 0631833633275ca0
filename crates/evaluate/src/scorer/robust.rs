//! Answers compared by meaning, whatever they are written like.
//!
//! The comparison is `limbeck_cot_data`'s: exact rationals, roots, polynomials, equations, ranges,
//! sets, tuples, matrices, units, choices, words. It is no computer algebra system, and says
//! [`Verdict::Unparsed`] of what it cannot read, where lm-eval counts a wrong answer.

use limbeck_cot_data::{AnswerMark, Equivalence, equivalence, extract_answer};

use super::Verdict;

/// Words that a reply may begin with and then go on to explain.
const DECISIONS: [&str; 5] = ["yes", "no", "maybe", "true", "false"];

/// Judges an answer: what follows the chain of a reply.
///
/// The answer is the whole text where that can be read; else what stands in its last `\boxed{…}`,
/// behind its last `####` or `A:`, or behind its last "answer is"; else, where a decision or a
/// choice is expected, the decision that it begins with or the last choice in parentheses; else its
/// last number. A reply that was cut has no such last number: more was to come.
///
/// A minus sign of Unicode (U+2212) is one within mathematics (`$−5$`); in plain text, where it may
/// as well be a dash, it makes an answer unparsed, as with math-verify.
pub fn judge(expected: &str, reply_answer: &str, truncated: bool) -> Verdict {
    let answer = reply_answer.trim();
    if answer.is_empty() {
        return if truncated { Verdict::Truncated } else { Verdict::Unparsed };
    }
    let whole = held_against(expected, answer);
    if whole == Verdict::Correct {
        return whole;
    }
    let extracted = extract_answer(answer);
    match extracted {
        Some(found) if found.mark != AnswerMark::LastNumber => {
            let verdict = held_against(expected, found.text);
            let at_end = found.mark != AnswerMark::Boxed && answer.ends_with(found.text);
            match verdict {
                Verdict::Correct => Verdict::Correct,
                // It may have been cut itself.
                _ if truncated && at_end => Verdict::Truncated,
                // "The answer is (B) because …", "… 18 apples that she sells".
                Verdict::Unparsed => decision(expected, found.text)
                    .or_else(|| last(expected, found.text))
                    .unwrap_or(Verdict::Unparsed),
                verdict => verdict,
            }
        }
        _ if truncated => Verdict::Truncated,
        // Read as it stands.
        _ if whole == Verdict::Wrong => whole,
        _ => decision(expected, answer)
            .or_else(|| last(expected, answer))
            .unwrap_or(Verdict::Unparsed),
    }
}

/// A text without marks against the expected answer.
fn held_against(expected: &str, answer: &str) -> Verdict {
    let (expected, answer) = (expected.trim(), answer.trim());
    if expected == answer {
        return Verdict::Correct;
    }
    let plain = !answer.contains(['$', '\\']);
    if plain && answer.contains('−') {
        return Verdict::Unparsed;
    }
    match equivalence(expected, answer) {
        Equivalence::Equal => Verdict::Correct,
        Equivalence::Different => Verdict::Wrong,
        // An expected answer that has no form of its own equals only itself.
        Equivalence::Unparseable if is_text(expected) => Verdict::Wrong,
        Equivalence::Unparseable => Verdict::Unparsed,
    }
}

/// Whether an answer can only be compared as a text.
fn is_text(answer: &str) -> bool {
    equivalence(answer, "0") == Equivalence::Unparseable
}

/// The verdict on the decision or the choice that a text makes, where one is expected.
fn decision(expected: &str, text: &str) -> Option<Verdict> {
    let verdict = |found: &str| held_against(expected, found);
    let bare = expected.trim().trim_matches(['(', ')', '.']);
    if DECISIONS.contains(&bare.to_lowercase().as_str()) {
        let end = text.find(|next: char| !next.is_alphabetic()).unwrap_or(text.len());
        let first = text[..end].to_lowercase();
        return DECISIONS.contains(&first.as_str()).then(|| verdict(&first));
    }
    let mut letters = bare.chars();
    let letter = letters.next().filter(char::is_ascii_uppercase);
    if letter.is_none() || letters.next().is_some() {
        return None;
    }
    let bytes = text.as_bytes();
    let at = bytes.windows(3).rposition(|window| {
        window[0] == b'(' && window[1].is_ascii_alphabetic() && window[2] == b')'
    });
    match at {
        Some(at) => Some(verdict(&text[at..at + 3])),
        // `B) Paris`, `B. Paris`, `B: Paris`.
        None => match bytes {
            [first, b')' | b'.' | b':', ..] if first.is_ascii_uppercase() => {
                Some(verdict(&text[..1]))
            }
            _ => None,
        },
    }
}

/// The verdict on the last number of a text, where a number is expected.
fn last(expected: &str, text: &str) -> Option<Verdict> {
    let found = extract_answer(text).filter(|found| found.mark == AnswerMark::LastNumber)?;
    let number = expected.contains(|next: char| next.is_ascii_digit());
    number.then(|| held_against(expected, found.text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Correct, Truncated, Unparsed, Wrong};

    #[test]
    fn answers_are_found_and_compared() {
        for (expected, answer, verdict) in [
            ("18", "18", Correct),
            ("18", "She makes $18.00 a day.", Correct),
            ("18", "#### 18", Correct),
            ("18", r"So it is \boxed{18}, not 19.", Correct),
            ("18", "The answer is 18 dollars every day at the market.", Correct),
            ("18", "The answer is 19.", Wrong),
            ("18", "I do not know", Unparsed),
            ("18", "", Unparsed),
            (r"\frac{1}{2}", "$0.5$", Correct),
            ("(B)", "B", Correct),
            ("(B)", "The answer is (B) because it is.", Correct),
            ("(B)", "It is (B), so not (C)", Wrong),
            ("B", "B. Paris", Correct),
            ("yes", "Yes, because the trial shows it in 20 of 30.", Correct),
            ("yes", "No. It is not.", Wrong),
            ("yes", "The data of 30 patients suggest it", Unparsed),
            ("maybe", "Maybe.", Correct),
            ("Ann", "Ann", Correct),
            ("Ann", "Bob", Wrong),
            ("Ann or Bob", "Bob or Ann", Wrong),
            ("12:30", "12:30", Correct),
            ("12:30", "12", Wrong),
            ("-5", "−5", Unparsed),
            ("-5", "$−5$", Correct),
            ("−5", "−5", Correct),
            ("5", "It is −5", Unparsed),
        ] {
            assert_eq!(judge(expected, answer, false), verdict, "{expected} | {answer}");
        }
    }

    #[test]
    fn what_was_cut_is_told_apart() {
        for (expected, answer, verdict) in [
            ("18", "", Truncated),
            ("18", "First, 18", Truncated),
            ("18", "The answer is 1", Truncated),
            ("18", "The answer is 1. And then", Wrong),
            ("18", "#### 18", Correct),
            ("18", r"\boxed{19} and", Wrong),
            ("18", "18", Correct),
        ] {
            assert_eq!(judge(expected, answer, true), verdict, "{expected} | {answer}");
        }
    }
}
