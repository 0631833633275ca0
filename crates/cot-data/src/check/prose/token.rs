//! Tokens of free text: numbers, operators, words, and where a clause stops.
//!
//! By hand and in one pass: text of a model runs through here by the megabyte.

use num_rational::Ratio;

use crate::check::number::{Rational, joined};

/// A number as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Number {
    /// Its value; of a percentage the number before the sign.
    pub(super) value: Rational,
    /// Decimal places printed.
    pub(super) decimals: u32,
    /// Whether a percent sign follows.
    pub(super) percent: bool,
    /// Whether dots say that more places follow.
    pub(super) cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Number(Number),
    /// `+ - * /`; or `^`, for a power and anything else that nothing here can compute.
    Operator(char),
    Open,
    Close,
    /// An equals sign; also one that says "about".
    Equals {
        about: bool,
    },
    Word,
    /// A mark that no expression goes over.
    Stop,
}

/// A token and its place in the text, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Token {
    pub(super) fn is_number(self) -> bool {
        matches!(self.kind, Kind::Number(_))
    }
}

/// The tokens of a text.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut scanner = Scanner { text, at: 0, tokens: Vec::new() };
    scanner.skip_bullet();
    while scanner.at < text.len() {
        scanner.next();
    }
    scanner.tokens
}

struct Scanner<'text> {
    text: &'text str,
    at: usize,
    tokens: Vec<Token>,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn byte(&self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    fn push(&mut self, kind: Kind, length: usize) {
        self.tokens.push(Token { kind, start: self.at, end: self.at + length });
        self.at += length;
    }

    fn last(&self) -> Option<Kind> {
        self.tokens.last().map(|token| token.kind)
    }

    /// Passes over the mark or number of a list item: `- `, `* `, `2. `, `2) `.
    fn skip_bullet(&mut self) {
        let start = self.text.len() - self.text.trim_start().len();
        let digits = self.text[start..].bytes().take_while(u8::is_ascii_digit).count();
        let mark = start + digits;
        let is_mark = match self.byte(mark) {
            b'-' | b'*' => digits == 0,
            b'.' | b')' => digits > 0,
            _ => false,
        };
        self.at = if is_mark && self.byte(mark + 1) == b' ' { mark + 1 } else { start };
    }

    fn next(&mut self) {
        let byte = self.byte(self.at);
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | b'$' => self.at += 1,
            b'0'..=b'9' => self.number(),
            b'.' if self.byte(self.at + 1).is_ascii_digit() => self.number(),
            b'a'..=b'z' | b'A'..=b'Z' => self.word(),
            b'(' | b'[' => self.push(Kind::Open, 1),
            b'{' => {
                // The two groups of `\frac{1}{2}`.
                if self.last() == Some(Kind::Close) && self.byte(self.at - 1) == b'}' {
                    self.push(Kind::Operator('/'), 0);
                }
                self.push(Kind::Open, 1);
            }
            b')' | b']' | b'}' => self.push(Kind::Close, 1),
            b'=' => match self.byte(self.at + 1) {
                b'>' => self.push(Kind::Stop, 2),
                _ => self.push(Kind::Equals { about: false }, 1),
            },
            b'-' if self.byte(self.at + 1) == b'>' => self.push(Kind::Stop, 2),
            b'*' if self.byte(self.at + 1) == b'*' => self.two_stars(),
            b'-' | b'/' if self.joins_words(byte) => self.push(Kind::Word, 1),
            b'/' if self.byte(self.at + 1) == b'/' => self.push(Kind::Operator('/'), 2),
            b'+' | b'-' | b'*' | b'/' | b'^' => self.push(Kind::Operator(byte.into()), 1),
            b'\\' => self.command(),
            0..=127 => self.push(Kind::Stop, 1),
            _ => self.other(),
        }
    }

    /// Characters outside ASCII.
    fn other(&mut self) {
        let Some(first) = self.rest().chars().next() else { return };
        let length = first.len_utf8();
        match first {
            '×' | '·' | '⋅' | '∗' => self.push(Kind::Operator('*'), length),
            '÷' | '⁄' => self.push(Kind::Operator('/'), length),
            '−' | '–' | '—' => self.push(Kind::Operator('-'), length),
            '²' | '³' | '√' => self.push(Kind::Operator('^'), length),
            '≈' | '≅' => self.push(Kind::Equals { about: true }, length),
            '€' | '£' | '¥' | '₹' | '\u{a0}' => self.at += length,
            first if first.is_alphabetic() => self.word(),
            // An apostrophe ends a word but no clause: "Ann's 5 * 3 = 15".
            '’' => self.push(Kind::Word, length),
            _ => self.push(Kind::Stop, length),
        }
    }

    /// Whether a hyphen or a slash belongs to a unit: `10-pound`, `$12/hour`; a single
    /// letter behind it would be a variable.
    fn joins_words(&self, byte: u8) -> bool {
        let spaces = if byte == b'/' {
            self.rest()[1..].len() - self.rest()[1..].trim_start_matches(' ').len()
        } else {
            0
        };
        let letter = |at: usize| self.byte(self.at + spaces + at).is_ascii_alphabetic();
        let touches = self.at > 0 && !self.byte(self.at - 1).is_ascii_whitespace();
        (touches || byte == b'/') && letter(1) && letter(2)
    }

    /// Two stars: a power between numbers, else a mark of emphasis.
    fn two_stars(&mut self) {
        let power = self.at > 0
            && self.byte(self.at - 1).is_ascii_digit()
            && self.byte(self.at + 2).is_ascii_digit();
        if power {
            self.push(Kind::Operator('^'), 2);
        } else {
            self.at += 2;
        }
    }

    /// A LaTeX command.
    fn command(&mut self) {
        let rest = &self.text[self.at + 1..];
        let length = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        match &rest[..length] {
            "times" | "cdot" => self.push(Kind::Operator('*'), length + 1),
            "div" => self.push(Kind::Operator('/'), length + 1),
            "approx" => self.push(Kind::Equals { about: true }, length + 1),
            // A whole number before a fraction is no factor of it.
            "frac" | "dfrac" | "tfrac" if matches!(self.last(), Some(Kind::Number(_))) => {
                self.push(Kind::Stop, length + 1);
            }
            "frac" | "dfrac" | "tfrac" | "left" | "right" | "boxed" => self.at += length + 1,
            "text" | "textbf" | "mathrm" => {
                let end = rest.find('}').map_or(length, |end| end + 1);
                self.push(Kind::Word, end + 1);
            }
            "" => match rest.as_bytes().first() {
                Some(b'$' | b',' | b' ' | b'!') => self.at += 2,
                Some(b'%') => {
                    self.at += 2;
                    self.mark_percent();
                }
                _ => self.push(Kind::Stop, 1),
            },
            _ => self.push(Kind::Operator('^'), length + 1),
        }
    }

    fn mark_percent(&mut self) {
        if let Some(Token { kind: Kind::Number(number), end, .. }) = self.tokens.last_mut() {
            number.percent = true;
            *end = self.at;
        }
    }

    fn word(&mut self) {
        let rest = self.rest();
        let length =
            rest.find(|next: char| !(next.is_alphabetic() || next == '\'')).unwrap_or(rest.len());
        let word = &rest[..length];
        let after_digit = self.at > 0 && self.byte(self.at - 1).is_ascii_digit();
        if matches!(word, "x" | "X") && self.multiplies(after_digit) {
            self.push(Kind::Operator('*'), length);
        } else if word == "percent" && matches!(self.last(), Some(Kind::Number(_))) {
            self.at += length;
            self.mark_percent();
        } else {
            self.push(Kind::Word, length);
        }
    }

    /// Whether a letter x stands between two operands. One that touches the operand before
    /// it must touch the next, or it is a variable: `3x4`, `3 x -4`, but not `3x - 4`.
    fn multiplies(&self, touches: bool) -> bool {
        let left = self.tokens.iter().rev().find(|token| token.kind != Kind::Word);
        let near = left.is_some_and(|token| token.is_number() || token.kind == Kind::Close);
        let marks: &[char] = if touches { &['$', '(', '.'] } else { &[' ', '$', '(', '.', '-'] };
        let next = self.rest()[1..].trim_start_matches(marks);
        near && next.starts_with(|next: char| next.is_ascii_digit())
    }

    fn number(&mut self) {
        let start = self.at;
        let whole = self.digits(start, true);
        let mut end = start + whole;
        let mut decimals = 0;
        if self.byte(end) == b'.' {
            decimals = self.digits(end + 1, false);
            end += if decimals > 0 { decimals + 1 } else { 0 };
        }
        let places = &self.text[end - decimals..end];
        let whole = &self.text[start..start + whole];
        let unreadable =
            self.is_part_of_more(start, end) || (whole.len() > 1 && whole.starts_with('0'));
        let value = if unreadable { None } else { joined(whole, places) };
        let Some(mut value) = value else {
            self.push(Kind::Operator('^'), end - start);
            return;
        };
        if let Some((added, length)) = self.fraction_after(start, end, value, decimals) {
            value = added;
            end += length;
        }
        let dots = ["...", "…"].into_iter().find(|dots| self.text[end..].starts_with(dots));
        let cut = dots.is_some() && decimals > 0;
        let number = Number { value, decimals: decimals as u32, percent: false, cut };
        self.push(Kind::Number(number), end - start);
        if cut {
            self.at += dots.map_or(0, str::len);
        }
        let gap = usize::from(self.byte(self.at) == b' ');
        if self.byte(self.at + gap) == b'%' {
            self.at += gap + 1;
            self.mark_percent();
        }
    }

    /// Whether digits belong to a time, a date, a misplaced comma or a number with gaps:
    /// `6:00`, `16,0000`, `18 000`.
    fn is_part_of_more(&self, start: usize, end: usize) -> bool {
        let digit = |at: usize| self.byte(at).is_ascii_digit();
        let mark = |at: usize| matches!(self.byte(at), b',' | b'.' | b':');
        let before = start >= 2 && mark(start - 1) && digit(start - 2);
        let gap = self.byte(end) == b' ' && (1..=3).all(|ahead| digit(end + ahead));
        before || (mark(end) && digit(end + 1)) || gap
    }

    /// How many bytes of digits stand at a place, with commas before three digits.
    fn digits(&self, start: usize, commas: bool) -> usize {
        let mut end = start;
        loop {
            if self.byte(end).is_ascii_digit() {
                end += 1;
            } else if commas
                && self.byte(end) == b','
                && end > start
                && (1..=3).all(|ahead| self.byte(end + ahead).is_ascii_digit())
                && !self.byte(end + 4).is_ascii_digit()
            {
                end += 4;
            } else {
                return end - start;
            }
        }
    }

    /// A whole number with the fraction that belongs to it, and the length of that: the
    /// ` 1/2` of `2 1/2`, and the `/3` of `25 / 1/3`, where to divide twice is not meant.
    fn fraction_after(
        &self,
        start: usize,
        at: usize,
        value: Rational,
        decimals: usize,
    ) -> Option<(Rational, usize)> {
        if decimals > 0 {
            return None;
        }
        let text = self.text.get(at..)?;
        let divided = self.last() == Some(Kind::Operator('/')) && self.byte(start - 1) == b' ';
        if divided && let Some(below) = text.strip_prefix('/') {
            let (bottom, length) = small(below)?;
            let again =
                self.byte(at + 1 + length) == b'/' && self.byte(at + 2 + length).is_ascii_digit();
            return (!again).then(|| (value / Ratio::from_integer(bottom), length + 1));
        }
        let text = text.strip_prefix(' ')?;
        let (top, length) = small(text)?;
        let (bottom, below) = small(text[length..].strip_prefix('/')?)?;
        (top < bottom).then(|| (value + Ratio::new(top, bottom), length + below + 2))
    }
}

/// A number from 1 to 999 at the start of a text, and its length.
fn small(text: &str) -> Option<(i128, usize)> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let value = text[..length].parse().ok().filter(|value| (1..=999).contains(value))?;
    Some((value, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One character a token: `n` a number, `%` a percentage, `w` a word, `.` a stop.
    fn shape(text: &str) -> String {
        tokens(text)
            .iter()
            .map(|token| match token.kind {
                Kind::Number(number) if number.percent => '%',
                Kind::Number(_) => 'n',
                Kind::Operator(sign) => sign,
                Kind::Open => '(',
                Kind::Close => ')',
                Kind::Equals { about } => ['=', '≈'][usize::from(about)],
                Kind::Word => 'w',
                Kind::Stop => '.',
            })
            .collect()
    }

    #[test]
    fn text_becomes_tokens() {
        for (text, expected) in [
            ("5 hours * $12/hour = $60.", "nw*nww=n."),
            ("2 ten-pound bags, 24/Y, 3x-5, 6:00 + 2", "nwwww.n/w.nw-n.^.^+n"),
            ("25 / 1/3, 16.66...% 7", "n/n.%n"),
            ("- 3 x 4 = 12", "n*n=n"),
            ("3x4=12, 2x + 5 = 9", "n*n=n.nw+n=n"),
            ("2. 20% of 50 = 10", "%wn=n"),
            ("20 percent × 1,200 ≈ 240", "%*n≈n"),
            (r"\frac{1}{2} \times 6 = \boxed{3}", "(n)/(n)*n=(n)"),
            ("2 1/2 * .5", "n*n"),
            ("Ann -> 4**2, **5**", "w.n^n.n"),
            ("", ""),
        ] {
            assert_eq!(shape(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_keep_their_places() {
        let number = |text: &str| match tokens(text).first().map(|token| token.kind) {
            Some(Kind::Number(number)) => Some((number.value, number.decimals)),
            _ => None,
        };
        assert_eq!(number(".50"), Some((Ratio::new(1, 2), 2)));
        assert_eq!(number("3,600,000.5"), Some((Ratio::new(7_200_001, 2), 1)));
        assert_eq!(number("1,2"), None);
        assert_eq!(number("2 1/2"), Some((Ratio::new(5, 2), 0)));
        assert_eq!(number("3."), Some((Ratio::from_integer(3), 0)));
        assert_eq!(number(&"9".repeat(40)), None);
    }

    #[test]
    fn places_are_whole_characters() {
        for text in ["5×3 – 2 ≈ 13€’é", "é’’", "\\", "\\text{", "½ of 3"] {
            for token in tokens(text) {
                assert!(text.get(token.start..token.end).is_some(), "{text}");
            }
        }
    }
}
