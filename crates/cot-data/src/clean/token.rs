//! Words of a text, made comparable: NFKC, lower case, no punctuation. Duplicate search,
//! decontamination and the repetition filters all count in these.
//!
//! Operators are tokens of their own: `3+5` and `3-5` are different problems, though
//! without punctuation they read the same. Scripts that set no spaces (Chinese,
//! Japanese, Thai, …) give a token for each character.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenKind {
    /// A word, or a character of a script without spaces.
    Word,
    /// Something that starts with a digit.
    Number,
    /// A mathematical sign.
    Operator,
}

/// A token's hash, its kind and its length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) hash: u64,
    pub(crate) kind: TokenKind,
    /// In bytes.
    pub(crate) len: u32,
}

/// The tokens of a text.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::with_capacity(text.len() / 5 + 1);
    push_tokens(text, &mut found);
    found
}

/// Adds the tokens of a text to others.
pub(crate) fn push_tokens(text: &str, found: &mut Vec<Token>) {
    for_each_token(text, |word, kind| {
        found.push(Token { hash: xxh3_64(word.as_bytes()), kind, len: word.len() as u32 });
    });
}

/// Calls `take` with each token as it is compared.
pub(crate) fn for_each_token(text: &str, mut take: impl FnMut(&str, TokenKind)) {
    let text = comparable(text);
    let mut word = String::new();
    let flush = |word: &mut String, take: &mut dyn FnMut(&str, TokenKind)| {
        if let Some(first) = word.as_bytes().first() {
            let kind = if first.is_ascii_digit() { TokenKind::Number } else { TokenKind::Word };
            take(word, kind);
            word.clear();
        }
    };
    let mut before = ' ';
    for (place, letter) in text.char_indices() {
        let rest = &text.as_bytes()[place + letter.len_utf8()..];
        if letter.is_ascii_alphanumeric() {
            word.push(letter.to_ascii_lowercase());
        } else if is_spaceless(letter) {
            flush(&mut word, &mut take);
            take(letter.encode_utf8(&mut [0; 4]), TokenKind::Word);
        } else if letter.is_alphanumeric() || (is_combining_mark(letter) && !word.is_empty()) {
            word.extend(letter.to_lowercase());
        } else if matches!(letter, '\'' | '\u{2019}') && before.is_alphanumeric() {
            // `Anna's` is one word, whichever apostrophe it is set with.
        } else if letter == '.' && before.is_ascii_digit() && starts_with_digits(rest, 1) {
            word.push('.');
        } else if letter == ',' && before.is_ascii_digit() && starts_with_digits(rest, 3) {
            // A separator of thousands.
        } else {
            flush(&mut word, &mut take);
            let joins_words = matches!(letter, '-' | '/')
                && before.is_alphabetic()
                && rest.first().is_some_and(u8::is_ascii_alphabetic);
            if is_operator(letter) && !joins_words {
                take(letter.encode_utf8(&mut [0; 4]), TokenKind::Operator);
            }
        }
        before = letter;
    }
    flush(&mut word, &mut take);
}

/// Whether a text begins with a digit, or with a group of just three.
fn starts_with_digits(rest: &[u8], count: usize) -> bool {
    let num_digits = rest.iter().take(count + 1).take_while(|byte| byte.is_ascii_digit()).count();
    if count == 1 { num_digits > 0 } else { num_digits == count }
}

/// NFKC, with exponents told from digits: `x²` is not `x2`.
fn comparable(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut spelt = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '²' | '³' | '¹' | '⁰' | '\u{2074}'..='\u{2079}' => {
                spelt.push('^');
                spelt.push(letter);
            }
            // One sign each for what is set in several ways.
            '\u{2212}' | '\u{2010}'..='\u{2013}' => spelt.push('-'),
            '×' | '·' | '\u{22c5}' => spelt.push('*'),
            '÷' => spelt.push('/'),
            _ => spelt.push(letter),
        }
    }
    Cow::Owned(spelt.nfkc().collect())
}

fn is_operator(letter: char) -> bool {
    // ASCII, then arrows and the block of mathematical operators.
    "+-*/=<>^%()|&~".contains(letter) || matches!(letter, '\u{2190}'..='\u{22ff}')
}

/// Letters of scripts that are written without spaces between words.
fn is_spaceless(letter: char) -> bool {
    matches!(letter,
        // Thai, Lao, Burmese, Khmer.
        '\u{e01}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        // Kana and ideographs; their punctuation is below.
        | '\u{3041}'..='\u{30fa}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Scatters the bits of a hash: the finaliser of `SplitMix64`.
pub(crate) fn mix(mut state: u64) -> u64 {
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// Hash of a sequence.
pub(crate) fn sequence_hash(hashes: impl Iterator<Item = u64>) -> u64 {
    hashes.fold(0x9e37_79b9_7f4a_7c15, |state, hash| mix(state.wrapping_mul(BASE) ^ hash))
}

const BASE: u64 = 0x9e6c_63d0_876a_68b5;

/// Hash of every run of `n` tokens, in order: a rolling polynomial, so a run costs the
/// same however long it is.
pub(crate) fn ngram_hashes(hashes: &[u64], n: usize) -> impl Iterator<Item = u64> + '_ {
    let highest = (1..n).fold(1_u64, |power, _| power.wrapping_mul(BASE));
    let mut state = 0_u64;
    hashes.iter().enumerate().filter_map(move |(place, hash)| {
        if place >= n {
            state = state.wrapping_sub(hashes[place - n].wrapping_mul(highest));
        }
        state = state.wrapping_mul(BASE).wrapping_add(*hash);
        (n > 0 && place + 1 >= n).then(|| mix(state))
    })
}

/// The numbers of a text, in figures or in English words, in any order: texts that agree
/// in all else but not in this are different problems.
pub(crate) fn numbers_key(tokens: &[Token]) -> u64 {
    let mut numbers: Vec<u64> = tokens
        .iter()
        .filter_map(|token| match token.kind {
            TokenKind::Number => Some(token.hash),
            TokenKind::Operator => None,
            TokenKind::Word => NUMBER_WORDS.get(&token.hash).copied(),
        })
        .collect();
    numbers.sort_unstable();
    sequence_hash(numbers.into_iter())
}

/// Hash of a number's word, and of what it is compared as.
static NUMBER_WORDS: LazyLock<HashMap<u64, u64, BuildHasherDefault<Identity>>> =
    LazyLock::new(|| {
        let figures = [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ];
        let counted = figures.iter().enumerate().map(|(value, word)| (*word, value.to_string()));
        let tens = ["thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety", "hundred"];
        let tens = tens.iter().enumerate().map(|(place, word)| (*word, format!("{}0", place + 3)));
        // Not numerals, but as much part of the numbers of a problem.
        let others = ["thousand", "million", "half", "third", "quarter", "twice", "thrice"];
        let others = others.iter().chain(&["double", "triple"]);
        let others = others.map(|word| (*word, (*word).to_owned()));
        counted
            .chain(tens)
            .chain(others)
            .map(|(word, figure)| (xxh3_64(word.as_bytes()), xxh3_64(figure.as_bytes())))
            .collect()
    });

/// Hash of a text in a name space of its own.
pub(crate) fn text_hash(text: &str, space: u64) -> u64 {
    xxh3_64_with_seed(text.as_bytes(), space)
}

/// Hasher of keys that are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for_each_token(text, |word, _| found.push(word.to_owned()));
        found
    }

    fn check(text: &str, expect: &str) {
        assert_eq!(words(text).join(" "), expect, "{text:?}");
    }

    #[test]
    fn words_are_made_comparable() {
        check("Anna\u{2019}s twenty-five  APPLES, really?", "annas twenty five apples really");
        check("costs $1,000.50 and 3.5kg.", "costs 1000.50 and 3.5kg");
        check("pick 1,2,3 or 10,20", "pick 1 2 3 or 10 20");
        check("Ｆｕｌｌ ﬁve e\u{301}te\u{301}", "full five été");
        check("", "");
        check("...!?", "");
    }

    #[test]
    fn operators_are_kept_and_exponents_are_not_digits() {
        check("3+5=8", "3 + 5 = 8");
        check("3 - 5", "3 - 5");
        check("3 \u{2212} 5 × 2 ÷ 4", "3 - 5 * 2 / 4");
        check("x² + x2", "x ^ 2 + x2");
        check("(True) and not (False)", "( true ) and not ( false )");
    }

    #[test]
    fn scripts_without_spaces_give_their_characters() {
        check("小明买了3个苹果。", "小 明 买 了 3 个 苹 果");
        check("한국어 단어", "한국어 단어");
    }

    #[test]
    fn rolling_hashes_equal_those_of_the_runs() {
        let hashes: Vec<u64> = (0..50_u64).map(mix).collect();
        for n in [1, 2, 5, 13] {
            let rolled: Vec<u64> = ngram_hashes(&hashes, n).collect();
            let alone: Vec<u64> = hashes
                .windows(n)
                .flat_map(|run| ngram_hashes(run, n).collect::<Vec<_>>())
                .collect();
            assert_eq!(rolled, alone);
            assert_eq!(rolled.len(), 51 - n);
        }
        assert_eq!(ngram_hashes(&hashes[..3], 5).count(), 0);
        assert_eq!(ngram_hashes(&hashes, 0).count(), 0);
    }

    #[test]
    fn numbers_count_in_figures_and_words_and_any_order() {
        let key = |text: &str| numbers_key(&tokens(text));
        assert_eq!(key("3 apples and 12 pears"), key("twelve pears, three apples"));
        assert_eq!(key("1,000 apples"), key("1000 pears"));
        assert_ne!(key("3 apples and 12 pears"), key("3 apples and 13 pears"));
        assert_ne!(key("half of 6"), key("twice 6"));
        assert_ne!(key("6"), key("6 and 6"));
    }
}
