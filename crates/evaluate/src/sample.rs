//! One reply and what is held against it.

use std::collections::BTreeMap;

use limbeck_cot_data::{CotRecord, StepVerdict, check_reply};
use limbeck_infer::{FinishReason, split_reasoning};
use serde::{Deserialize, Serialize};

use crate::chain::Breakpoint;
use crate::scorer::Verdict;

/// Verdict on one line of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// It has a known form and holds.
    Ok,
    /// It has a known form and does not hold.
    Wrong,
    /// It has no form that can be checked.
    Unchecked,
}

impl From<StepVerdict> for Step {
    fn from(verdict: StepVerdict) -> Self {
        match verdict {
            StepVerdict::Ok => Self::Ok,
            StepVerdict::Wrong => Self::Wrong,
            StepVerdict::Unchecked => Self::Unchecked,
        }
    }
}

/// What a filter takes from a reply, as lm-eval has them: `strict-match`, `flexible-extract`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filtered {
    /// The answer that it takes; `[invalid]` where it finds none.
    pub text: String,
    /// Whether that is the expected one.
    pub correct: bool,
}

/// How a model rates the choices of a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rated {
    /// Natural log-probability of each choice after the prompt.
    pub logprobs: Vec<f64>,
    /// The right one.
    pub expected: usize,
    /// The likeliest: lm-eval's `acc`.
    pub likeliest: usize,
    /// The likeliest by the character: lm-eval's `acc_norm`.
    pub likeliest_normalised: usize,
}

/// A line of `samples.jsonl`: a model's reply to one record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The task that the problem is of.
    #[serde(default)]
    pub task: String,
    /// The record's id.
    pub id: String,
    /// Which of several replies to the same problem, from 0.
    #[serde(default)]
    pub repeat: usize,
    /// The record's domain.
    pub family: String,
    /// The record's difficulty.
    pub level: u8,
    /// The level of Bloom's taxonomy; empty where it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub bloom: String,
    /// The problem.
    pub question: String,
    /// The record's answer.
    pub expected: String,
    /// The reply as generated, without the stop token.
    pub reply: String,
    /// Its chain of thought, if it has one.
    pub reasoning: Option<String>,
    /// What follows the chain.
    pub answer: String,
    /// Whether the chain was closed.
    pub closed: bool,
    /// Why the reply ended.
    pub finish_reason: FinishReason,
    /// Verdicts on the chain's lines that are not blank.
    pub steps: Vec<Step>,
    /// Whether the last step concludes what the reply answers.
    pub consistent: bool,
    /// Whether the answer equals the record's: the verdict is [`Verdict::Correct`].
    pub correct: bool,
    /// What became of the answer.
    pub verdict: Verdict,
    /// What the task's filters take from the reply, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filters: BTreeMap<String, Filtered>,
    /// How the model rates the choices, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rated: Option<Rated>,
    /// The chain's first wrong step, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breakpoint: Option<Breakpoint>,
    /// Why there is no reply, where generation failed: the sample counts as wrong, and apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Whether the chain is whole: closed, of at least one step, every step checked and
    /// right, and the reply not cut. The answer after it may still be wrong.
    pub complete: bool,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated, without the stop token.
    pub reply_tokens: usize,
}

/// A reply as it came from the model.
#[derive(Debug, Clone, Copy)]
pub struct RawReply<'a> {
    /// The text, without special tokens at its end.
    pub text: &'a str,
    /// Whether the prompt ended inside a think block.
    pub prompt_opened: bool,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated, without the stop token.
    pub reply_tokens: usize,
}

impl Sample {
    /// Judges a reply to a record.
    pub fn judge(record: &CotRecord, raw: RawReply<'_>) -> Self {
        let reply = split_reasoning(raw.text, raw.prompt_opened);
        let check = check_reply(record, reply.reasoning.unwrap_or_default(), reply.answer);
        let steps: Vec<Step> = check.steps.into_iter().map(Step::from).collect();
        let complete = reply.closed
            && raw.finish_reason == FinishReason::Stop
            && !steps.is_empty()
            && steps.iter().all(|step| *step == Step::Ok);
        let cut = raw.finish_reason == FinishReason::Length;
        let verdict = match (check.answer_correct, reply.answer.trim().is_empty()) {
            (true, _) => Verdict::Correct,
            (false, true) if cut => Verdict::Truncated,
            (false, true) => Verdict::Unparsed,
            (false, false) => Verdict::Wrong,
        };
        Self {
            task: String::new(),
            id: record.id.clone(),
            repeat: 0,
            bloom: record.bloom.clone(),
            verdict,
            filters: BTreeMap::new(),
            rated: None,
            breakpoint: None,
            failure: None,
            family: record.domain.clone(),
            level: record.difficulty,
            question: record.question.clone(),
            expected: record.answer.clone(),
            reply: raw.text.to_owned(),
            reasoning: reply.reasoning.map(str::to_owned),
            answer: reply.answer.to_owned(),
            closed: reply.closed,
            finish_reason: raw.finish_reason,
            steps,
            consistent: check.consistent,
            correct: check.answer_correct,
            complete,
            prompt_tokens: raw.prompt_tokens,
            reply_tokens: raw.reply_tokens,
        }
    }

    /// Whether the reply was cut at the token limit.
    pub fn truncated(&self) -> bool {
        self.finish_reason == FinishReason::Length
    }
}

#[cfg(test)]
mod tests {
    use limbeck_cot_data::{Family, generate};

    use super::*;

    fn judge(record: &CotRecord, text: &str, finish_reason: FinishReason) -> Sample {
        let raw = RawReply {
            text,
            prompt_opened: false,
            finish_reason,
            prompt_tokens: 10,
            reply_tokens: 20,
        };
        Sample::judge(record, raw)
    }

    #[test]
    fn the_record_itself_is_right_and_complete() {
        for family in Family::CORE {
            for level in 1..=4 {
                let record = generate(family, level, 9, 3).unwrap();
                let sample = judge(&record, &record.completion(), FinishReason::Stop);
                assert!(sample.correct && sample.complete && sample.consistent, "{sample:?}");
                assert_eq!(sample.steps.len(), record.thought_process.len());
                assert_eq!((sample.family.as_str(), sample.level), (family.domain(), level));
            }
        }
    }

    #[test]
    fn a_right_answer_by_a_broken_chain_is_correct_but_not_complete() {
        let record = generate(Family::Arith, 2, 9, 3).unwrap();
        let broken = record.completion().replace('=', "=9");
        let sample = judge(&record, &broken, FinishReason::Stop);
        assert!(sample.steps.contains(&Step::Wrong), "{sample:?}");
        assert!(sample.correct && !sample.complete);

        let bare = judge(&record, &record.answer, FinishReason::Stop);
        assert!(bare.correct && !bare.complete && !bare.closed);
        assert!(bare.reasoning.is_none() && bare.steps.is_empty());

        let chatter = format!("<think>\nLet me see.\n</think>\n\n{}", record.answer);
        let chatter = judge(&record, &chatter, FinishReason::Stop);
        assert_eq!(chatter.steps, [Step::Unchecked]);
        assert!(!chatter.complete);
    }

    #[test]
    fn a_cut_reply_is_not_complete() {
        let record = generate(Family::Spatial, 3, 9, 5).unwrap();
        let whole = judge(&record, &record.completion(), FinishReason::Length);
        assert!(whole.correct && !whole.complete && whole.truncated());
        let open = format!("<think>\n{}", record.reasoning());
        let open = judge(&record, &open, FinishReason::Length);
        assert!(!open.correct && !open.closed && open.answer.is_empty());
    }

    #[test]
    fn a_wrong_answer_after_a_sound_chain_is_complete_but_not_correct() {
        let record = generate(Family::Arith, 1, 9, 3).unwrap();
        let text = format!("<think>\n{}\n</think>\n\n{}0", record.reasoning(), record.answer);
        let sample = judge(&record, &text, FinishReason::Stop);
        assert!(sample.complete && !sample.correct && !sample.consistent, "{sample:?}");
    }
}
