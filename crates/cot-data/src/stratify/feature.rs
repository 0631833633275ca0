//! What the guess at a question's level rests on.

use super::bloom::NUM_BLOOM_LEVELS;
use super::lexicon::{JUDGEMENT, OPERATIONS, RELATION, VERBS};
use crate::clean::token::{TokenKind, for_each_token};

/// Length of the vector.
pub const NUM_FEATURES: usize = NUM_BLOOM_LEVELS + 14;

/// The features of a question that a chain of so many steps answers. All are about 0 to 2,
/// so that one penalty of the weights suits all. In order:
///
/// 1. for each level, its verbs: 1 at the head of a sentence, where a verb is an order,
///    0.3 elsewhere;
/// 2. wh-words: who, when or where; which; what; why; how many, much or far; another how;
///    a question without any;
/// 3. words of judgement; words that relate;
/// 4. numbers; kinds of operation, where there are numbers; steps; words; the constant 1.
pub fn bloom_features(question: &str, num_steps: usize) -> [f64; NUM_FEATURES] {
    let mut features = [0.0; NUM_FEATURES];
    let (mut num_words, mut num_numbers) = (0_usize, 0_usize);
    let mut wh = [0.0_f64; 7];
    let (mut judgement, mut relation) = (0.0, 0.0);
    let mut operations = [false; 4];
    for sentence in question.split_inclusive(['.', '?', '!', ';', ':', '\n']) {
        let mut words: Vec<String> = Vec::new();
        for_each_token(sentence, |word, kind| {
            num_numbers += usize::from(kind == TokenKind::Number);
            num_words += usize::from(kind == TokenKind::Word);
            words.push(word.to_owned());
        });
        let mut asked = false;
        for (place, word) in words.iter().enumerate() {
            let word = word.as_str();
            let weight = if place == 0 { 1.0 } else { 0.3 };
            for (feature, verbs) in features.iter_mut().zip(VERBS) {
                if verbs.contains(&word) {
                    *feature += weight;
                }
            }
            let next = words.get(place + 1).map_or("", String::as_str);
            let kind = match word {
                "who" | "when" | "where" | "whose" => Some(0),
                "which" => Some(1),
                "what" => Some(2),
                "why" => Some(3),
                "how" if matches!(next, "many" | "much" | "far" | "long" | "old") => Some(4),
                "how" => Some(5),
                _ => None,
            };
            if let Some(kind) = kind {
                wh[kind] += weight;
                asked = true;
            }
            judgement += f64::from(u8::from(JUDGEMENT.contains(&word)));
            relation += f64::from(u8::from(RELATION.contains(&word)));
            for (operation, cues) in operations.iter_mut().zip(OPERATIONS) {
                *operation |= cues.contains(&word);
            }
        }
        if sentence.trim_end().ends_with('?') && !asked {
            wh[6] += 1.0;
        }
    }
    let num_operations = operations.iter().filter(|operation| **operation).count();
    let rest = [
        judgement,
        relation * 0.5,
        (num_numbers as f64).ln_1p(),
        if num_numbers == 0 { 0.0 } else { num_operations as f64 * 0.5 },
        (num_steps as f64).ln_1p(),
        (num_words as f64).ln_1p() * 0.25,
        1.0,
    ];
    let others = features[NUM_BLOOM_LEVELS..].iter_mut();
    for (feature, value) in others.zip(wh.into_iter().chain(rest)) {
        *feature = value;
    }
    features.map(|value| value.min(2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_counted_by_hand() {
        let found = bloom_features("Design a game. How many of 3 or 4 apples are left?", 3);
        let mut expect = [0.0; NUM_FEATURES];
        expect[5] = 1.0;
        expect[6 + 4] = 1.0;
        expect[6 + 8] = 0.5;
        expect[6 + 9] = 3.0_f64.ln();
        expect[6 + 10] = 0.5;
        expect[6 + 11] = 4.0_f64.ln();
        expect[6 + 12] = 11.0_f64.ln() * 0.25;
        expect[6 + 13] = 1.0;
        for (place, (found, expect)) in found.iter().zip(expect).enumerate() {
            assert!((found - expect).abs() < 1e-12, "feature {place}: {found}, expected {expect}");
        }
    }

    #[test]
    fn no_text_has_no_features_but_the_constant() {
        let found = bloom_features("", 0);
        assert!((found[NUM_FEATURES - 1] - 1.0).abs() < 1e-12);
        assert!(found[..NUM_FEATURES - 1].iter().all(|value| *value == 0.0));
    }
}
