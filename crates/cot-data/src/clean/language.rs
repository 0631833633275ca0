//! Telling the language of a text.
//!
//! Trigram models are weak on short texts and on formulas, so a record goes only where
//! they are sure of a language that is not wanted.

use whatlang::{Detector, Lang};

use super::config::CleanConfig;

/// Letters that are looked at: more do not make a trigram model surer, and cost time.
const LOOK_AT: usize = 400;

/// Whether a code names a language that can be told.
pub(crate) fn known_language(code: &str) -> bool {
    Lang::from_code(code).is_some()
}

/// The language, with its confidence, of a text that is surely in none of the languages
/// wanted.
pub(crate) fn unwanted_language(texts: &[&str], config: &CleanConfig) -> Option<String> {
    if config.languages.is_empty() {
        return None;
    }
    let (found, confidence) = told(texts, config.min_language_letters)?;
    if config.languages.iter().any(|wanted| wanted == found.code())
        || confidence < config.min_language_confidence
    {
        return None;
    }
    Some(format!("{} ({confidence:.2})", found.code()))
}

/// Whether a text is in English, or too short to tell.
pub(crate) fn may_be_english(texts: &[&str]) -> bool {
    let config = CleanConfig::default();
    let sure =
        |(found, confidence)| found != Lang::Eng && confidence >= config.min_language_confidence;
    let foreign = |text: &&str| text.chars().any(|letter| letter >= '\u{2e80}');
    !texts.iter().any(foreign) && !told(texts, config.min_language_letters).is_some_and(sure)
}

/// The language of a text and the confidence in it; nothing for one with too few letters.
fn told(texts: &[&str], min_letters: usize) -> Option<(Lang, f64)> {
    let mut sample = String::new();
    let mut num_letters = 0;
    for letter in texts.iter().flat_map(|text| text.chars().chain([' '])) {
        if num_letters == LOOK_AT {
            break;
        }
        if letter.is_alphabetic() {
            num_letters += 1;
            sample.push(letter);
        } else if !sample.ends_with(' ') {
            sample.push(' ');
        }
    }
    // A character of these scripts says as much as several letters.
    let needed = if sample.is_ascii() || !sample.chars().any(|letter| letter >= '\u{2e80}') {
        min_letters
    } else {
        min_letters / 4
    };
    if num_letters < needed {
        return None;
    }
    let found = Detector::new().detect(&sample)?;
    Some((found.lang(), found.confidence()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sure_foreign_text_goes_and_a_short_one_stays() {
        let config = CleanConfig { languages: vec!["eng".to_owned()], ..CleanConfig::default() };
        let german = "Anna kauft im Laden drei Äpfel und vier Birnen, danach gibt sie ihrem \
                      Bruder die Hälfte der Früchte. Wie viele Früchte behält sie für sich?";
        let english = "Anna buys three apples and four pears at the shop, then she gives half of \
                       the fruit to her brother. How much fruit does she keep for herself?";
        let chinese =
            "小明在商店里买了三个苹果和四个梨，然后他把一半的水果给了他的弟弟。他还剩下多少水果？";
        assert!(unwanted_language(&[german], &config).unwrap().starts_with("deu"));
        assert!(unwanted_language(&[chinese], &config).unwrap().starts_with("cmn"));
        assert_eq!(unwanted_language(&[english], &config), None);
        assert_eq!(unwanted_language(&["Wie viele Äpfel?"], &config), None);
        assert_eq!(unwanted_language(&["12 + 5 = 17"], &config), None);
        assert_eq!(unwanted_language(&[german], &CleanConfig::default()), None);
    }

    #[test]
    fn codes_are_known_or_not() {
        assert!(known_language("eng") && known_language("cmn"));
        assert!(!known_language("en") && !known_language("English"));
    }
}
