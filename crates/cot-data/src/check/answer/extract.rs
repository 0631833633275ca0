//! The final answer of a text.

/// How an answer was marked in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerMark {
    /// `\boxed{…}`.
    Boxed,
    /// `#### …`, or a line `A: …`.
    Hashes,
    /// "The answer is …".
    Phrase,
    /// Nothing marks it: it is the last number.
    LastNumber,
}

/// An answer as it stands in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtractedAnswer<'text> {
    /// The answer, without its mark and without white space at its ends.
    pub text: &'text str,
    /// What marks it.
    pub mark: AnswerMark,
}

/// The final answer of a text: the last balanced `\boxed{…}`, else what follows the last
/// `####` or stands in a last line `A: …`, else what follows the last "answer is", else the
/// last number.
pub fn extract_answer(text: &str) -> Option<ExtractedAnswer<'_>> {
    boxed(text)
        .and_then(|inside| found(inside, AnswerMark::Boxed))
        .or_else(|| hashes(text).and_then(|rest| found(rest, AnswerMark::Hashes)))
        .or_else(|| phrase(text).and_then(|rest| found(rest, AnswerMark::Phrase)))
        .or_else(|| last_number(text).and_then(|number| found(number, AnswerMark::LastNumber)))
}

fn found(text: &str, mark: AnswerMark) -> Option<ExtractedAnswer<'_>> {
    let text = text.trim();
    (!text.is_empty()).then_some(ExtractedAnswer { text, mark })
}

/// What stands in the last `\boxed{…}` whose braces balance.
fn boxed(text: &str) -> Option<&str> {
    const MARK: &str = "\\boxed{";
    // A text that never closes one may hold thousands.
    text.rmatch_indices(MARK).take(16).find_map(|(at, _)| {
        let inside = &text[at + MARK.len()..];
        let mut depth = 1_usize;
        let mut escaped = false;
        for (end, byte) in inside.bytes().enumerate() {
            match byte {
                _ if escaped => {}
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            escaped = byte == b'\\' && !escaped;
            if depth == 0 {
                return Some(&inside[..end]);
            }
        }
        None
    })
}

/// The line behind the last `####`, or a last line that begins with `A:`.
fn hashes(text: &str) -> Option<&str> {
    if let Some(at) = text.rfind("####") {
        return text[at + 4..].lines().next();
    }
    text.trim_end().lines().next_back()?.trim_start().strip_prefix("A:")
}

/// What follows the last "answer is" up to the end of its sentence.
fn phrase(text: &str) -> Option<&str> {
    const MARK: &[u8] = b"answer is";
    let bytes = text.as_bytes();
    let at = bytes.windows(MARK.len()).rposition(|window| window.eq_ignore_ascii_case(MARK))?;
    let rest = text.get(at + MARK.len()..)?;
    let rest = rest.trim_start_matches([':', ' ', '*', '\n']);
    let rest = rest.lines().next().unwrap_or_default();
    let end = rest
        .match_indices(['.', '!', ';'])
        .find(|(at, _)| rest[at + 1..].chars().next().is_none_or(char::is_whitespace))
        .map_or(rest.len(), |(at, _)| at);
    Some(rest[..end].trim_matches('*'))
}

/// The last number, with a sign, a currency sign, a fraction bar or a percent sign.
fn last_number(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let end = bytes.iter().rposition(u8::is_ascii_digit)? + 1;
    let part = |byte: u8| byte.is_ascii_digit() || matches!(byte, b',' | b'.' | b'/');
    let mut start = end;
    while start > 0 && part(bytes[start - 1]) {
        start -= 1;
    }
    while matches!(bytes[start], b',' | b'/')
        || (bytes[start] == b'.' && !bytes[start + 1].is_ascii_digit())
    {
        start += 1;
    }
    let word_before =
        |at: usize| at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b')');
    if start > 0 && bytes[start - 1] == b'$' {
        start -= 1;
    }
    let minus = ["-", "−"].into_iter().find(|minus| text[..start].ends_with(minus));
    if let Some(minus) = minus.filter(|minus| !word_before(start - minus.len())) {
        start -= minus.len();
    }
    let end = if bytes.get(end) == Some(&b'%') { end + 1 } else { end };
    text.get(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use AnswerMark::{Boxed, Hashes, LastNumber, Phrase};

    #[test]
    fn the_strongest_mark_wins() {
        for (text, answer, mark) in [
            (r"so \boxed{1} or \boxed{\frac{1}{2}}. #### 7", r"\frac{1}{2}", Boxed),
            (r"\boxed{3} but \boxed{4", "3", Boxed),
            (r"\boxed{\{1, 2\}}", r"\{1, 2\}", Boxed),
            ("The answer is 4.\n#### 1,200\n", "1,200", Hashes),
            ("It is 4.\nA: 18", "18", Hashes),
            ("The answer is 3. No, the Answer is: (B). So 5.", "(B)", Phrase),
            ("The final answer is **$3.50**.", "$3.50", Phrase),
            ("He has 3 cats, 4.5 dogs and -1/2 of 10%.", "10%", LastNumber),
            ("It costs $1,200.50.", "$1,200.50", LastNumber),
            ("It is -$5", "-$5", LastNumber),
            ("It is −5", "−5", LastNumber),
            ("From 7-3", "3", LastNumber),
            ("about .5", ".5", LastNumber),
        ] {
            let found = extract_answer(text);
            assert_eq!(found, Some(ExtractedAnswer { text: answer, mark }), "{text}");
        }
        for text in ["", "none", "####", r"\boxed{", "the answer is", "ÄÖ answer is é"] {
            let found = extract_answer(text);
            assert!(found.is_none_or(|found| found.text == "é"), "{text}");
        }
    }
}
