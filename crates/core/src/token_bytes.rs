//! The bytes that each token stands for, which need not be whole characters.

use std::collections::HashMap;

use crate::Tokenizer;

/// What a token adds to a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenBytes {
    /// These bytes.
    Text(Vec<u8>),
    /// Nothing: a mark such as the end of a turn, by its name.
    Special(String),
    /// There is no such token.
    Unused,
}

impl Tokenizer {
    /// What each id below `vocab_size` adds to a text that it is not the beginning of.
    ///
    /// Byte-level vocabularies (GPT-2's) write bytes as printable characters; the others write
    /// spaces as `▁` and single bytes as `<0x0A>`.
    pub fn token_bytes(&self, vocab_size: i64) -> Vec<TokenBytes> {
        let bytes = self.is_byte_level().then(byte_of_char);
        let added = self.added_ids();
        (0..vocab_size)
            .map(|id| match self.token(id) {
                None => TokenBytes::Unused,
                Some(token) if !added.contains(&id) => self.spelled(id, &token, bytes.as_ref()),
                Some(token) if self.is_decoded(id, true) => TokenBytes::Text(token.into_bytes()),
                Some(token) => TokenBytes::Special(token),
            })
            .collect()
    }

    fn spelled(&self, id: i64, token: &str, byte_level: Option<&HashMap<char, u8>>) -> TokenBytes {
        let text = match byte_level {
            // A character that stands for no byte is itself.
            Some(bytes) => token
                .chars()
                .flat_map(|letter| match bytes.get(&letter) {
                    Some(&byte) => vec![byte],
                    None => letter.to_string().into_bytes(),
                })
                .collect(),
            None if self.is_byte(id) => {
                u8::from_str_radix(&token[3..5], 16).map_or(Vec::new(), |byte| vec![byte])
            }
            None => token.replace('▁', " ").into_bytes(),
        };
        TokenBytes::Text(text)
    }
}

/// The bytes that GPT-2's printable characters stand for: those that print stand for
/// themselves, the others for characters from 256 on.
fn byte_of_char() -> HashMap<char, u8> {
    let prints = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let hidden = (0..=u8::MAX).filter(|&byte| !prints(byte));
    let plain = (0..=u8::MAX).filter(|&byte| prints(byte)).map(|byte| (char::from(byte), byte));
    let moved = (256..).zip(hidden).filter_map(|(code, byte)| Some((char::from_u32(code)?, byte)));
    plain.chain(moved).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The bytes of a text's tokens are the text's.
    #[test]
    fn tokens_spell_texts() {
        for folder in ["teacher", "parity/gemma3", "parity/llama2", "parity/llama3", "parity/qwen3"]
        {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(folder);
            let tokenizer = Tokenizer::load(&folder).unwrap();
            let tokens = tokenizer.token_bytes(tokenizer.vocab_size() + 2);
            let text = "17 + 25 = 42, é naïve\n\tthe 中 🎉 end";
            let spelled: Vec<u8> = tokenizer
                .encode(text)
                .unwrap()
                .iter()
                .flat_map(|&id| match &tokens[id as usize] {
                    TokenBytes::Text(bytes) => bytes.clone(),
                    other => panic!("{id} is {other:?}"),
                })
                .collect();
            assert_eq!(String::from_utf8(spelled).unwrap(), text);
            assert_eq!(tokens.last(), Some(&TokenBytes::Unused));
            let end = tokenizer.eos_token_ids()[0] as usize;
            assert!(matches!(tokens[end], TokenBytes::Special(_)), "{:?}", tokens[end]);
        }
    }

    #[test]
    fn every_byte_has_a_character() {
        let bytes = byte_of_char();
        assert_eq!(bytes.len(), 256);
        assert_eq!((bytes[&'Ġ'], bytes[&'Ċ'], bytes[&'A'], bytes[&'Ń']), (b' ', b'\n', b'A', 0xAD));
    }
}
