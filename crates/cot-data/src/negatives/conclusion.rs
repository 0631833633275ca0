//! Mistakes that can be made in the chain of any family and language, without working it
//! out again: in what the last step concludes, in copying the answer, and in which steps
//! are there.

use super::{Mistake, WrongChain, rearranged};
use crate::check::check_chain;
use crate::generate::chinese::CHINESE_NAMES;
use crate::generate::words::NAMES;
use crate::record::CotRecord;
use crate::rng::CounterRng;

/// Words that answer the same question; a longer one stands before one that it contains.
const CHOICES: [&[&str]; 12] = [
    &["yes", "no"],
    &["是", "否"],
    &["not fraud", "fraud"],
    &["非欺诈", "欺诈"],
    &["knight", "knave"],
    &["骑士", "无赖"],
    &["north", "east", "south", "west"],
    &["北", "东", "南", "西"],
    &["星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"],
    &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    &["red", "blue", "green", "white", "black", "pink", "grey", "brown", "gold", "lime"],
    &["红色", "蓝色", "绿色", "白色", "黑色", "粉色", "灰色", "棕色", "金色", "青色"],
];

/// The record's chain with a mistake that the checkers find where it was made.
pub(super) fn wrong(
    record: &CotRecord,
    mistake: Mistake,
    rng: &mut CounterRng,
) -> Option<WrongChain> {
    let steps = &record.thought_process;
    let last = steps.len().checked_sub(1)?;
    let wrong = match mistake {
        Mistake::WrongCopy => {
            WrongChain { steps: steps.clone(), answer: other(record, rng)?, first: last }
        }
        Mistake::WrongConclusion => {
            let answer = other(record, rng)?;
            let mut steps = steps.clone();
            let said = steps[last].strip_suffix(record.answer.as_str())?;
            steps[last] = format!("{said}{answer}");
            WrongChain { steps, answer, first: last }
        }
        Mistake::DroppedStep | Mistake::DuplicatedStep | Mistake::ReorderedSteps => {
            let (order, first) = rearranged(steps.len(), mistake, rng)?;
            let steps = order.into_iter().map(|index| steps[index].clone()).collect();
            WrongChain { steps, answer: record.answer.clone(), first }
        }
        _ => return None,
    };
    let check = check_chain(&record.question, &wrong.steps, &wrong.answer);
    (check.first_error() == Some(wrong.first)).then_some(wrong)
}

/// Another answer of the same kind: another of the words that could be it, or another
/// number.
fn other(record: &CotRecord, rng: &mut CounterRng) -> Option<String> {
    let answer = &record.answer;
    // The question may list what can be the answer: `pets: cat, dog, horse`.
    for line in record.question.lines() {
        let Some((_, list)) = line.split_once([':', '：']) else { continue };
        let listed: Vec<&str> = list.split([',', '，']).map(str::trim).collect();
        if listed.len() > 1 && listed.contains(&answer.as_str()) {
            let others: Vec<&str> = listed.into_iter().filter(|word| word != answer).collect();
            if let Some(word) = others.get(rng.below(others.len())) {
                return Some((*word).to_owned());
            }
        }
    }
    for words in CHOICES.into_iter().chain([&NAMES[..], &CHINESE_NAMES[..]]) {
        let Some(word) = words.iter().find(|word| stands_in(answer, word)) else { continue };
        let mut others: Vec<&str> = words.iter().copied().filter(|other| other != word).collect();
        let asked: Vec<&str> =
            others.iter().copied().filter(|other| record.question.contains(other)).collect();
        if !asked.is_empty() {
            others = asked;
        }
        return Some(answer.replacen(word, others[rng.below(others.len())], 1));
    }
    let end = answer.rfind(|next: char| next.is_ascii_digit())? + 1;
    let start = answer[..end]
        .rfind(|next: char| !next.is_ascii_digit())
        .map_or(0, |at| at + answer[at..].chars().next().map_or(0, char::len_utf8));
    let number: i64 = answer[start..end].parse().ok()?;
    // One less must not have a digit less, which padding would tell.
    let shorter = (number - 1).to_string().len() < number.to_string().len();
    let less = number > 1 && (!shorter || answer[start..].starts_with('0'));
    let wrong = if less && rng.chance(1, 2) { number - 1 } else { number.checked_add(1)? };
    let width = end - start;
    Some(format!("{}{wrong:0width$}{}", &answer[..start], &answer[end..]))
}

/// Whether a word stands in a text as a word of its own; in Chinese, at all.
fn stands_in(text: &str, word: &str) -> bool {
    let Some(at) = text.find(word) else { return false };
    let is_letter = |next: char| next.is_ascii_alphabetic();
    !text[..at].ends_with(is_letter) && !text[at + word.len()..].starts_with(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::answers_equal;
    use crate::family::Family;
    use crate::generate::{Recipe, Shard, generate_many};
    use crate::label::Label;
    use crate::negatives::{corrected_record, wrong_record};
    use crate::short::shortened;

    #[test]
    fn another_answer_is_of_the_same_kind() {
        for (question, answer, expected) in [
            ("", "yes", &["no"][..]),
            ("", "not fraud", &["fraud"]),
            ("", "fraud", &["not fraud"]),
            ("", "否", &["是"]),
            ("Ann and Bob", "Ann", &["Bob"]),
            ("", "Ann knight, Bob knave", &["Ann knave, Bob knave"]),
            ("red and blue", "red", &["blue"]),
            ("pets: cat, dog", "cat", &["dog"]),
            ("宠物：猫，狗", "猫", &["狗"]),
            ("", "4, high risk", &["3, high risk", "5, high risk"]),
            ("", "-8", &["-7", "-9"]),
            ("", "180 mg", &["179 mg", "181 mg"]),
            ("", "Fri 2021-12-03", &["Fri 2021-12-02", "Fri 2021-12-04"]),
        ] {
            let record = CotRecord {
                question: question.to_owned(),
                answer: answer.to_owned(),
                ..CotRecord::default()
            };
            let found = other(&record, &mut CounterRng::new(3)).unwrap();
            assert!(expected.contains(&found.as_str()), "{answer}: {found}");
        }
    }

    #[test]
    fn a_wrong_short_chain_is_as_short_as_the_right_one() {
        for family in Family::CORE {
            let records = generate_many(family, None, 40, 2, Shard::WHOLE).unwrap();
            for record in records.iter().filter_map(shortened) {
                for made in Mistake::ALL.iter().filter_map(|&kind| wrong_record(&record, kind, 1)) {
                    let long = made
                        .thought_process
                        .iter()
                        .find(|line| line.starts_with('#') && line.chars().nth(2) != Some(':'));
                    assert_eq!(long, None, "{}", made.id);
                }
                let copied = corrected_record(&record, Mistake::WrongCopy, 1);
                assert_eq!(copied, None, "nothing in the chain is to be corrected");
            }
        }
    }

    #[test]
    fn every_family_and_language_has_wrong_chains_found_at_their_step() {
        for family in Family::ALL {
            for &language in family.languages() {
                let name = (family.name(), language.code());
                let records =
                    generate_many(Recipe { family, language }, None, 24, 9, Shard::WHOLE).unwrap();
                for mistake in [Mistake::WrongCopy, Mistake::WrongConclusion, Mistake::DroppedStep]
                {
                    let made: Vec<CotRecord> = records
                        .iter()
                        .filter_map(|record| wrong_record(record, mistake, 4))
                        .collect();
                    let least = if mistake == Mistake::WrongCopy { 20 } else { 1 };
                    assert!(made.len() >= least, "{name:?} {mistake}: {}", made.len());
                    for one in &made {
                        let Label::Wrong { first_wrong_step, .. } = one.label else { panic!() };
                        let check = check_chain(&one.question, &one.thought_process, &one.answer);
                        assert_eq!(check.first_error(), Some(first_wrong_step), "{name:?} {one:?}");
                    }
                }
                let corrected = records
                    .iter()
                    .find_map(|record| corrected_record(record, Mistake::WrongConclusion, 4));
                assert!(corrected.is_some(), "{name:?}");
                let copied = wrong_record(&records[0], Mistake::WrongCopy, 4).unwrap();
                assert!(!answers_equal(&copied.answer, &records[0].answer));
            }
        }
    }
}
