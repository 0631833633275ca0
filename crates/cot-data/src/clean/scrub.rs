//! Replacing personal data by placeholders.
//!
//! By pattern, with the check digits where there are any. Names and addresses have no
//! pattern: they are not found.

use std::net::Ipv6Addr;
use std::sync::LazyLock;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// A kind of personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PiiKind {
    /// An e-mail address.
    Email,
    /// A bank account by ISO 13616, with valid check digits.
    Iban,
    /// A payment card's number, with a valid check digit (Luhn).
    Card,
    /// An address of the Internet protocol, version 4 or 6.
    Ip,
    /// A telephone number, international or North American.
    Phone,
}

impl PiiKind {
    /// All kinds, in the order in which they are looked for: a card's number could
    /// be taken for a telephone's, not the other way round.
    pub const ALL: [Self; 5] = [Self::Email, Self::Iban, Self::Card, Self::Ip, Self::Phone];

    /// What is put in its place.
    pub fn placeholder(self) -> &'static str {
        match self {
            Self::Email => "[EMAIL]",
            Self::Iban => "[IBAN]",
            Self::Card => "[CARD]",
            Self::Ip => "[IP]",
            Self::Phone => "[PHONE]",
        }
    }

    /// Whether a text can hold this kind at all; most do not, and need no search.
    fn is_possible(self, text: &str) -> bool {
        let num_digits = || text.bytes().filter(u8::is_ascii_digit).count();
        match self {
            Self::Email => text.contains('@'),
            Self::Card => num_digits() >= 13,
            Self::Ip => text.contains(':') || text.bytes().filter(|byte| *byte == b'.').count() > 2,
            Self::Iban | Self::Phone => num_digits() >= 8,
        }
    }

    /// Whether what the pattern found is this kind indeed.
    fn accepts(self, found: &str, before: &str, after: &str) -> bool {
        let digits = || found.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0');
        match self {
            Self::Email => true,
            Self::Iban => iban_checks(found),
            Self::Card => !before.ends_with('+') && card_checks(&digits().collect::<Vec<u8>>()),
            // `1.2.3.4.5` is a section or a version.
            Self::Ip if found.contains('.') => {
                !before.ends_with(['.', '-'])
                    && !after.strip_prefix('.').is_some_and(|rest| {
                        rest.starts_with(|letter: char| letter.is_ascii_digit())
                    })
            }
            // `a::b` is a path of a program, `10:20:30` a time.
            Self::Ip => {
                let num_groups = found.split(':').filter(|group| !group.is_empty()).count();
                num_groups >= 3 && found.parse::<Ipv6Addr>().is_ok()
            }
            // A sum or a product is no telephone number.
            Self::Phone => {
                let last = before.trim_end().chars().next_back();
                let is_part_of_formula = last.is_some_and(|letter| {
                    if found.starts_with('+') {
                        letter.is_alphanumeric() && !before.ends_with(' ')
                            || letter.is_numeric()
                            || letter == ')'
                    } else {
                        matches!(letter, '+' | '*' | '/' | '=' | '-' | '.')
                    }
                });
                (8..=15).contains(&digits().count()) && !is_part_of_formula
            }
        }
    }

    fn pattern(self) -> Option<&'static Regex> {
        static PATTERNS: LazyLock<Vec<Option<Regex>>> = LazyLock::new(|| {
            [
                r"(?i)\b[a-z0-9][a-z0-9._%+-]*@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,24}\b",
                r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b",
                r"\b[0-9](?:[ -]?[0-9]){12,18}\b",
                r"(?x)\b(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}
                    (?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\b
                  | [0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,4}){2,7}\b",
                r"(?x)\+[1-9][0-9]{0,2}(?:[\ .-]?\([0-9]{1,4}\))?(?:[\ .-]?[0-9]{2,}){1,5}\b
                  | \([0-9]{3}\)\ ?[0-9]{3}[-.\ ][0-9]{4}\b
                  | \b[0-9]{3}[-.][0-9]{3}[-.][0-9]{4}\b",
            ]
            .map(|pattern| Regex::new(pattern).ok())
            .into()
        });
        PATTERNS[self.place()].as_ref()
    }

    /// Place in [`PiiKind::ALL`].
    fn place(self) -> usize {
        match self {
            Self::Email => 0,
            Self::Iban => 1,
            Self::Card => 2,
            Self::Ip => 3,
            Self::Phone => 4,
        }
    }
}

/// How often each kind was replaced, in the order of [`PiiKind::ALL`].
pub(crate) type ScrubCounts = [u64; PiiKind::ALL.len()];

/// Replaces what is found of the kinds given.
pub(crate) fn scrub(mut text: String, kinds: &[PiiKind], counts: &mut ScrubCounts) -> String {
    for kind in PiiKind::ALL {
        if !kinds.contains(&kind) || !kind.is_possible(&text) {
            continue;
        }
        let Some(pattern) = kind.pattern() else { continue };
        let mut scrubbed = String::new();
        let mut end = 0;
        for found in pattern.find_iter(&text) {
            let (before, after) = (&text[..found.start()], &text[found.end()..]);
            if kind.accepts(found.as_str(), before, after) {
                scrubbed.push_str(&text[end..found.start()]);
                scrubbed.push_str(kind.placeholder());
                end = found.end();
                counts[kind.place()] += 1;
            }
        }
        if end > 0 {
            scrubbed.push_str(&text[end..]);
            text = scrubbed;
        }
    }
    text
}

/// The check digits of ISO 7064, MOD 97-10.
fn iban_checks(found: &str) -> bool {
    let letters: Vec<u8> = found.bytes().filter(|byte| *byte != b' ').collect();
    if !(15..=34).contains(&letters.len()) {
        return false;
    }
    let (country, account) = letters.split_at(4);
    let rest = account.iter().chain(country).fold(0_u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte.to_ascii_uppercase() - b'A') + 10) % 97,
    });
    rest == 1
}

/// Luhn's check digit, and a first digit and length that some issuer uses: a tenth of all
/// numbers pass the check digit alone, also those in a sum.
fn card_checks(digits: &[u8]) -> bool {
    let issued = match (digits.first(), digits.len()) {
        (Some(3), 14 | 15) | (Some(4), 13 | 16 | 19) | (Some(2 | 5), 16) => true,
        (Some(6), len) => (16..=19).contains(&len),
        _ => false,
    };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(*digit) << (place % 2);
            if value > 9 { value - 9 } else { value }
        })
        .sum();
    issued && sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let mut counts = ScrubCounts::default();
        let found = scrub(text.to_owned(), &PiiKind::ALL, &mut counts);
        assert_eq!(found, expect, "{text}");
        assert_eq!(counts.iter().sum::<u64>() > 0, text != expect, "{text}");
    }

    #[test]
    fn personal_data_is_replaced() {
        check("Write to anna.b+x@mail.example.org, please.", "Write to [EMAIL], please.");
        check("IBAN DE89 3704 0044 0532 0130 00 is hers", "IBAN [IBAN] is hers");
        check("GB82WEST12345698765432", "[IBAN]");
        check("card 4111 1111 1111 1111.", "card [CARD].");
        check("3782-822463-10005", "[CARD]");
        check("at 192.168.0.1, port 80", "at [IP], port 80");
        check("at 2001:db8:0:1::7.", "at [IP].");
        check("call +49 30 1234567 or (555) 123-4567", "call [PHONE] or [PHONE]");
        check("call 555-123-4567 now", "call [PHONE] now");
        check("+4915112345678", "[PHONE]");
    }

    #[test]
    fn what_only_looks_like_it_stays() {
        for text in [
            "3 @ $5 each",
            "DE89 3704 0044 0532 0130 01",
            "4111 1111 1111 1112",
            "1234567890123456 + 1 = 1234567890123457",
            "section 1.2.3.4.5",
            "at 10:20:30",
            "std::fmt and a::b",
            "999.1.1.1",
            "12 +4915112345678",
            "1000000000 apples",
            "2024-01-15",
            "5 + 12 = 17",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn every_pattern_compiles_and_only_the_kinds_asked_for_are_replaced() {
        assert!(PiiKind::ALL.iter().all(|kind| kind.pattern().is_some()));
        let text = "a@b.org 192.168.0.1";
        let mut counts = ScrubCounts::default();
        assert_eq!(scrub(text.to_owned(), &[PiiKind::Ip], &mut counts), "a@b.org [IP]");
        assert_eq!(counts, [0, 0, 0, 1, 0]);
        assert_eq!(scrub(text.to_owned(), &[], &mut counts), text);
    }
}
