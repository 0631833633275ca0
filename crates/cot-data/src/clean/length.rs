//! Bounds of length.

use super::config::CleanConfig;
use super::report::Reason;
use crate::record::CotRecord;

/// The first bound that a record breaks.
pub(crate) fn length_complaint(
    record: &CotRecord,
    config: &CleanConfig,
) -> Option<(Reason, String)> {
    if record.question.trim().is_empty() {
        return Some((Reason::Empty, "question".to_owned()));
    }
    if record.answer.trim().is_empty() {
        return Some((Reason::Empty, "answer".to_owned()));
    }
    let question = record.question.chars().count();
    if !(config.min_question_chars..=config.max_question_chars).contains(&question) {
        return Some((Reason::QuestionLength, format!("{question} characters")));
    }
    // As the steps are joined: a line's end after each but the last.
    let steps: usize = record.thought_process.iter().map(|step| step.chars().count()).sum();
    let chain = steps + record.thought_process.len().saturating_sub(1);
    if !(config.min_chain_chars..=config.max_chain_chars).contains(&chain) {
        return Some((Reason::ChainLength, format!("{chain} characters")));
    }
    let answer = record.answer.chars().count();
    if answer > config.max_answer_chars {
        return Some((Reason::AnswerLength, format!("{answer} characters")));
    }
    let num_steps = record.thought_process.len();
    (num_steps > config.max_steps).then(|| (Reason::NumSteps, format!("{num_steps} steps")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &CleanConfig, expect: Option<Reason>) {
        let record = CotRecord {
            question: "Wie viele Äpfel?".to_owned(),
            thought_process: vec!["2+3=5".to_owned(), "5 Äpfel".to_owned()],
            answer: "fünf".to_owned(),
            ..CotRecord::default()
        };
        let found = length_complaint(&record, config);
        assert_eq!(found.map(|(reason, _)| reason), expect, "{config:?}");
    }

    #[test]
    fn bounds_are_inclusive_and_count_characters() {
        let base = CleanConfig::default;
        check(&base(), None);
        check(&CleanConfig { max_question_chars: 16, min_question_chars: 16, ..base() }, None);
        let short = CleanConfig { max_question_chars: 15, ..base() };
        check(&short, Some(Reason::QuestionLength));
        check(&CleanConfig { max_chain_chars: 13, min_chain_chars: 13, ..base() }, None);
        check(&CleanConfig { max_chain_chars: 12, ..base() }, Some(Reason::ChainLength));
        check(&CleanConfig { min_chain_chars: 14, ..base() }, Some(Reason::ChainLength));
        check(&CleanConfig { max_answer_chars: 4, max_steps: 2, ..base() }, None);
        check(&CleanConfig { max_answer_chars: 3, ..base() }, Some(Reason::AnswerLength));
        check(&CleanConfig { max_steps: 1, ..base() }, Some(Reason::NumSteps));
    }

    #[test]
    fn an_empty_question_or_answer_is_named() {
        let record = CotRecord { question: "a".to_owned(), ..CotRecord::default() };
        let found = length_complaint(&record, &CleanConfig::default());
        assert_eq!(found, Some((Reason::Empty, "answer".to_owned())));
    }
}
