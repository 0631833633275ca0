//! A model's own wrong chains: unlike planted mistakes, they are those it will make again.

use crate::check::{AnswerMark, StepVerdict, answers_equal, check_chain, extract_answer};
use crate::import::chain::{lines, split_reply};
use crate::label::Label;
use crate::record::{Checks, CotRecord};

use super::RIGHT_ANSWER_FIELD;

/// What `label.error` says of a harvested chain.
const ERROR: &str = "model";

/// The chain of a reply that went wrong.
struct Reply {
    steps: Vec<String>,
    answer: String,
    verdicts: Vec<StepVerdict>,
    first: usize,
}

/// The answer in what stands behind a reply's chain: a short one stands alone, a longer one
/// marks it.
pub(crate) fn answer_of_reply(rest: &str) -> Option<&str> {
    let rest = rest.trim();
    match extract_answer(rest) {
        Some(found) if found.mark != AnswerMark::LastNumber => Some(found.text),
        _ => (rest.lines().count() == 1).then_some(rest),
    }
}

/// Takes a reply apart; nothing where it was cut off, has no chain or no answer, or is
/// right.
fn gone_wrong(record: &CotRecord, text: &str) -> Option<Reply> {
    if record.label != Label::Correct {
        return None;
    }
    let reply = split_reply(text).ok()?;
    let steps: Vec<String> =
        lines(&reply.chain?).iter().map(|line| line.trim().to_owned()).collect();
    let answer = answer_of_reply(&reply.rest)?;
    let check = check_chain(&record.question, &steps, answer);
    let last = steps.len().checked_sub(1)?;
    let is_right = answers_equal(answer, &record.answer);
    let first = check.first_wrong_step().or((!is_right).then_some(last))?;
    Some(Reply { answer: answer.to_owned(), verdicts: check.steps, steps, first })
}

/// The record of a reply whose chain or answer is wrong, labelled with its first wrong step;
/// nothing where it is right or cannot be read. `text` is the whole reply, think marks
/// included. The right answer is kept in [`RIGHT_ANSWER_FIELD`].
pub fn harvested_record(record: &CotRecord, text: &str) -> Option<CotRecord> {
    let Reply { steps, answer, verdicts, first } = gone_wrong(record, text)?;
    let mut made = record.clone();
    made.id = format!("{}-{ERROR}", record.id);
    let same = answers_equal(&answer, &record.answer);
    made.checks = Checks {
        answer: if same { record.checks.answer.clone() } else { "wrong".to_owned() },
        steps: verdicts.iter().map(|verdict| *verdict == StepVerdict::Ok).collect(),
        ..Checks::default()
    };
    made.label = Label::Wrong { first_wrong_step: first, error: ERROR.to_owned() };
    made.extra.insert(RIGHT_ANSWER_FIELD.to_owned(), record.answer.as_str().into());
    made.thought_process = steps;
    made.answer = answer;
    Some(made)
}

/// The record with its own, right chain, and a reply's wrong one with what puts it right in
/// the label; nothing where the reply's chain is not wrong, or only its answer is.
pub fn harvested_correction(record: &CotRecord, text: &str) -> Option<CotRecord> {
    let Reply { steps, first, .. } = gone_wrong(record, text)?;
    if steps == record.thought_process {
        return None;
    }
    let number = first + 1;
    let written = &steps[first];
    let correction = match record.thought_process.get(first) {
        // Up to there both say the same, so the right chain's next step is the right step.
        Some(right) if steps[..first] == record.thought_process[..first] => {
            format!("step {number} is wrong: not `{written}` but `{right}`")
        }
        _ => format!(
            "step {number} is wrong: `{written}`; a right chain is: {}",
            record.thought_process.join("; ")
        ),
    };
    let mut made = record.clone();
    made.id = format!("{}-{ERROR}-corrected", record.id);
    made.label =
        Label::Corrected { wrong_thought_process: steps, first_wrong_step: first, correction };
    Some(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::family::Family;
    use crate::generate::generate;

    #[test]
    fn a_wrong_reply_is_labelled_at_its_first_wrong_step() {
        let record = generate(Family::Arith, 3, 5, 0).unwrap();
        assert_eq!(harvested_record(&record, &record.completion()), None, "it is right");
        let mut wrong = record.clone();
        let last = wrong.thought_process[1].pop().unwrap();
        wrong.thought_process[1].push(if last == '9' { '8' } else { '9' });
        let made = harvested_record(&record, &wrong.completion()).unwrap();
        assert_eq!(made.label, Label::Wrong { first_wrong_step: 1, error: "model".to_owned() });
        assert_eq!(made.thought_process, wrong.thought_process);
        assert!(!made.checks.steps[1] && made.checks.steps[0]);
        assert_eq!(made.extra[RIGHT_ANSWER_FIELD], record.answer.as_str());

        let made = harvested_correction(&record, &wrong.completion()).unwrap();
        assert_eq!(made.thought_process, record.thought_process);
        let Label::Corrected { first_wrong_step, correction, .. } = &made.label else {
            panic!("{made:?}")
        };
        assert_eq!(*first_wrong_step, 1);
        assert!(correction.contains(&record.thought_process[1]), "{correction}");
    }

    #[test]
    fn an_answer_that_does_not_follow_is_wrong_at_the_last_step() {
        let record = generate(Family::Arith, 2, 5, 0).unwrap();
        let text = format!("<think>\n{}\n</think>\n\n1234", record.reasoning());
        let made = harvested_record(&record, &text).unwrap();
        let last = record.thought_process.len() - 1;
        assert_eq!(made.label, Label::Wrong { first_wrong_step: last, error: "model".to_owned() });
        assert_eq!(made.answer, "1234");
        assert_eq!(harvested_correction(&record, &text), None, "the chain is right");
        for unread in ["<think>\n1+1=2", "12", "<think>\n</think>\n\n12"] {
            assert_eq!(harvested_record(&record, unread), None, "{unread}");
        }
    }
}
