//! GSM8K as lm-eval 0.4.13 scores it (`tasks/gsm8k/gsm8k.yaml`, version 3), bit for bit.
//!
//! The same as its filters and its metric over [`super::filters`] and [`super::exact_match`],
//! without a regular expression. The traps are part of it: `#### $18` and `####18` are invalid to
//! the strict filter, and `18.00` is wrong to both.

use std::borrow::Cow;

use super::exact_match::lowercase;

/// What a filter gives where it finds no answer.
pub const INVALID: &str = "[invalid]";

/// The answer behind the first `#### ` that one follows: `#### (\-?[0-9\.\,]+)`.
pub fn strict(reply: &str) -> &str {
    const MARK: &str = "#### ";
    let mut from = 0;
    while let Some(at) = reply[from..].find(MARK) {
        let start = from + at + MARK.len();
        let answer = &reply[start..];
        let sign = usize::from(answer.starts_with('-'));
        let length = answer.bytes().skip(sign).take_while(|&byte| is_number(byte)).count();
        if length > 0 {
            return &answer[..sign + length];
        }
        from = start - MARK.len() + 1;
    }
    INVALID
}

/// The last thing that looks like a number: `(-?[$0-9.,]{2,})|(-?[0-9]+)`.
///
/// Read from the end: a match always takes a whole run of such characters, so that the last match
/// is the last run which is long enough or a digit.
pub fn flexible(reply: &str) -> &str {
    let bytes = reply.as_bytes();
    let in_run = |&byte: &u8| is_number(byte) || byte == b'$';
    let mut end = bytes.len();
    while let Some(last) = bytes[..end].iter().rposition(in_run) {
        let start = bytes[..last].iter().rposition(|byte| !in_run(byte)).map_or(0, |at| at + 1);
        if last > start || bytes[last].is_ascii_digit() {
            let sign = usize::from(start > 0 && bytes[start - 1] == b'-');
            return &reply[start - sign..=last];
        }
        end = start;
    }
    INVALID
}

/// A text before it is compared: without commas, dollar signs, everything up to the last
/// `#### ` and a full stop at the end, deleted in this order, and in lower case.
pub fn normalise(text: &str) -> Cow<'_, str> {
    let plain = |byte: &u8| {
        byte.is_ascii() && !byte.is_ascii_uppercase() && !matches!(byte, b',' | b'$' | b'.' | 0)
    };
    if text.as_bytes().iter().all(plain) {
        return Cow::Borrowed(text.rsplit_once("#### ").map_or(text, |(_, rest)| rest));
    }
    let mut kept: String = text.chars().filter(|next| !matches!(next, ',' | '$')).collect();
    // NumPy's arrays, in which lm-eval keeps the texts between two deletions, drop final NULs.
    kept.truncate(kept.trim_end_matches('\0').len());
    let rest = kept.rsplit_once("#### ").map_or(kept.as_str(), |(_, rest)| rest);
    let rest = rest.trim_end_matches('\0');
    // `$` is also before a last line break.
    let (body, line_break) = rest.strip_suffix('\n').map_or((rest, ""), |body| (body, "\n"));
    let body = body.strip_suffix('.').unwrap_or(body);
    let text = format!("{body}{line_break}");
    let mut text = lowercase(text.trim_end_matches('\0'));
    text.truncate(text.trim_end_matches('\0').len());
    Cow::Owned(text)
}

/// Whether what a filter gives is the answer at the end of a reference solution.
pub fn exact_match(filtered: &str, gold: &str) -> bool {
    normalise(filtered) == normalise(gold)
}

fn is_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'.' | b',')
}

#[cfg(test)]
mod tests {
    use limbeck_core::seed::{CounterRng, derive};

    use super::*;
    use crate::scorer::exact_match::{ExactMatch, ExactMatcher};
    use crate::scorer::filters::{Filter, Pipeline};

    #[test]
    fn the_traps() {
        for (reply, of_strict, of_flexible) in [
            ("so #### 18", "18", "18"),
            ("#### $18", INVALID, "$18"),
            ("####18", INVALID, "18"),
            ("#### 18.00", "18.00", "18.00"),
            ("#### 18\n\nQuestion: a\nAnswer: b\n#### 19", "18", "19"),
            ("##### -1,000.", "-1,000.", "-1,000."),
            ("#### #### 7", "7", "7"),
            ("#### -", INVALID, INVALID),
            ("#### .", ".", INVALID),
            ("costs $ 5 - or so.", INVALID, "5"),
            ("7-3", INVALID, "-3"),
            ("--3..", INVALID, "-3.."),
            ("3 apples, $", INVALID, "3"),
            ("é5é", INVALID, "5"),
            ("", INVALID, INVALID),
        ] {
            assert_eq!((strict(reply), flexible(reply)), (of_strict, of_flexible), "{reply:?}");
        }
    }

    #[test]
    fn deletions_in_their_order() {
        for (text, expected) in [
            ("$1,200.", "1200"),
            ("18.00", "18.00"),
            ("a\n#### 5.\n", "5\n"),
            ("5..", "5."),
            ("5.,", "5"),
            ("#### 1 #### 2", "2"),
            ("##,## 3", "3"),
            ("[INVALID]", "[invalid]"),
            ("5.\0", "5"),
            ("#### ", ""),
        ] {
            assert_eq!(normalise(text), expected, "{text:?}");
        }
        assert!(exact_match("18", "She has\n#### 18"));
        assert!(!exact_match("18.00", "#### 18"));
        assert!(!exact_match(INVALID, "#### 18"));
    }

    fn general() -> ([Pipeline; 2], ExactMatcher) {
        let regex = |pattern: &str, group_select| Filter::Regex {
            regex_pattern: pattern.to_owned(),
            group_select,
            fallback: INVALID.to_owned(),
        };
        let of = |filter| Pipeline::new(&[filter, Filter::TakeFirst {}]).unwrap();
        let filters =
            [of(regex(r"#### (\-?[0-9\.\,]+)", 0)), of(regex("(-?[$0-9.,]{2,})|(-?[0-9]+)", -1))];
        let ignored = [",", r"\$", "(?s).*#### ", r"\.$"].map(str::to_owned).to_vec();
        let metric =
            ExactMatch { ignore_case: true, regexes_to_ignore: ignored, ..ExactMatch::default() };
        (filters, metric.compile().unwrap())
    }

    /// Random texts of the characters that matter: the short way and the general one agree.
    #[test]
    fn the_general_filters_say_the_same() {
        let ([of_strict, of_flexible], metric) = general();
        let pieces =
            ["#### ", "####", "#", " ", "-", "$", ",", ".", "1", "23", "\n", "A", "é", "İ", "\0"];
        let mut random = CounterRng::new(derive(1, "gsm8k", 0));
        for _ in 0..20_000 {
            let length = random.below(9);
            let text: String = (0..length).map(|_| pieces[random.below(pieces.len())]).collect();
            let replies = [text.clone()];
            assert_eq!(of_strict.apply(&replies, &[]).unwrap(), [strict(&text)], "{text:?}");
            assert_eq!(of_flexible.apply(&replies, &[]).unwrap(), [flexible(&text)], "{text:?}");
            assert_eq!(metric.normalise(&text).unwrap(), normalise(&text), "{text:?}");
        }
    }
}
