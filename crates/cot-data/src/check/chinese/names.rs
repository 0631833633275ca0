//! Chinese words as names in Latin letters, which the English readers take as any other.

/// `N` and five letters for the code of each character, one for each hexadecimal digit.
pub(super) fn latin(word: &str) -> String {
    let mut name = "N".to_owned();
    for character in word.chars() {
        let code = u32::from(character);
        let digits = [16, 12, 8, 4, 0].map(|shift| (code >> shift & 15) as u8);
        name.extend(digits.map(|digit| char::from(b'a' + digit)));
    }
    name
}

/// The word of such a name; nothing where a text is none.
pub(super) fn han(name: &str) -> Option<String> {
    let letters = name.strip_prefix('N')?.as_bytes();
    let is_digit = |letter: &u8| (b'a'..=b'p').contains(letter);
    if letters.is_empty() || !letters.len().is_multiple_of(5) || !letters.iter().all(is_digit) {
        return None;
    }
    let code = |digits: &[u8]| digits.iter().fold(0, |code, l| code * 16 + u32::from(l - b'a'));
    letters.chunks(5).map(|digits| char::from_u32(code(digits))).collect()
}

/// Whether a text is a short word in Chinese characters.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.chars().count() <= 8
        && text.chars().all(|character| ('\u{4e00}'..='\u{9fff}').contains(&character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_put_back() {
        for word in ["小安", "马", "蜗牛", "\u{20000}"] {
            assert_eq!(han(&latin(word)).as_deref(), Some(word));
        }
        for text in ["", "N", "Ned", "Nabcdeq", "abcde"] {
            assert_eq!(han(text), None, "{text}");
        }
        assert!(is_word("小安") && !is_word("小安a") && !is_word("") && !is_word("，"));
    }
}
