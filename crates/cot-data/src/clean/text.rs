//! Putting a text in order: Unicode form, invisible characters, white space.

use unicode_normalization::{UnicodeNormalization, is_nfc, is_nfkc};

use super::config::{CleanConfig, UnicodeForm};

/// The text in order. It is given back as it came where nothing is to be done, which is
/// the rule.
pub(crate) fn tidy(text: String, config: &CleanConfig) -> String {
    let text = match config.unicode {
        UnicodeForm::Nfc if !is_nfc(&text) => text.nfc().collect(),
        UnicodeForm::Nfkc if !is_nfkc(&text) => text.nfkc().collect(),
        _ => text,
    };
    if config.tidy_whitespace && !is_tidy(&text) { tidy_whitespace(&text) } else { text }
}

/// Characters that are not seen and change what a tokenizer makes of a text: controls but
/// for the line's end and the tab, soft hyphens, marks of direction, zero-width spaces.
/// The zero-width joiners stay: Persian and Hindi are spelt with them.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2060}' | '\u{feff}')
        || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || (letter.is_control() && !letter.is_whitespace())
}

/// Spaces that are to be plain ones.
fn is_odd_space(letter: char) -> bool {
    letter != ' ' && letter != '\n' && letter != '\t' && letter.is_whitespace()
}

/// Whether [`tidy_whitespace`] would change nothing, told without a copy.
fn is_tidy(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.is_empty() {
        return true;
    }
    let ends = [bytes[0], bytes[bytes.len() - 1]];
    if ends.iter().any(u8::is_ascii_whitespace) {
        return false;
    }
    let doubled = bytes.windows(2).any(|pair| {
        // Two blanks, or a blank beside a line's end: indentation looks so too, and then
        // costs the copy.
        pair[0].is_ascii_whitespace() && pair[1].is_ascii_whitespace() && pair != b"\n\n"
    });
    if doubled || bytes.windows(3).any(|three| three == b"\n\n\n") {
        return false;
    }
    if text.is_ascii() {
        return !bytes.iter().any(|byte| byte.is_ascii_control() && *byte != b'\n');
    }
    !text.chars().any(|letter| is_invisible(letter) || is_odd_space(letter) || letter == '\t')
}

/// Takes out invisible characters, makes runs of blanks one space, trims the ends of lines
/// and the whole, and leaves at most one empty line between others. Indentation stays.
fn tidy_whitespace(text: &str) -> String {
    let unified = text.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}'], "\n");
    let mut tidied = String::with_capacity(unified.len());
    let mut num_empty = 0;
    for line in unified.lines() {
        let start = tidied.len();
        let mut blanks = 0;
        for letter in line.chars().filter(|letter| !is_invisible(*letter)) {
            if letter == ' ' || letter == '\t' || is_odd_space(letter) {
                if tidied.len() == start + blanks {
                    // Indentation: a program in a chain means something by it.
                    tidied.push(if letter == '\t' { '\t' } else { ' ' });
                    blanks += 1;
                } else if !tidied.ends_with(' ') {
                    tidied.push(' ');
                }
            } else {
                tidied.push(letter);
                blanks = 0;
            }
        }
        tidied.truncate(start + tidied[start..].trim_end().len());
        num_empty = if tidied.len() == start { num_empty + 1 } else { 0 };
        if num_empty < 2 {
            tidied.push('\n');
        }
    }
    tidied.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let tidied = tidy(text.to_owned(), &CleanConfig::default());
        assert_eq!(tidied, expect, "{text:?}");
        assert_eq!(tidy(tidied.clone(), &CleanConfig::default()), tidied, "{text:?} twice");
    }

    #[test]
    fn white_space_becomes_even_and_lines_stay() {
        check("plain text", "plain text");
        check("", "");
        check("  a  b \t c  ", "a b c");
        check("a\r\nb\rc", "a\nb\nc");
        check("a\n\n\n\nb", "a\n\nb");
        check("a \n  \n b", "a\n\n b");
        check("a\u{a0}b\u{2003}c", "a b c");
        check("def f():\n    return  1", "def f():\n    return 1");
        check("a\tb\u{c}c", "a b c");
    }

    #[test]
    fn invisible_characters_go_and_joiners_stay() {
        check("a\u{200b}b\u{feff}c\u{0}d\u{7f}e", "abcde");
        check("co\u{ad}operate \u{202e}x", "cooperate x");
        check("\u{6cc}\u{200c}\u{627}", "\u{6cc}\u{200c}\u{627}");
    }

    #[test]
    fn nfc_keeps_a_square_and_nfkc_does_not() {
        check("cafe\u{301} x²", "café x²");
        let config = CleanConfig { unicode: UnicodeForm::Nfkc, ..CleanConfig::default() };
        assert_eq!(tidy("x² ﬁve".to_owned(), &config), "x2 five");
        let keep = CleanConfig {
            unicode: UnicodeForm::Keep,
            tidy_whitespace: false,
            ..CleanConfig::default()
        };
        assert_eq!(tidy(" e\u{301} ".to_owned(), &keep), " e\u{301} ");
    }
}
