//! What the text of a chain says of where it goes wrong.

use std::ops::Range;

use limbeck_cot_data::{
    ChainCheck, CotRecord, StepVerdict, answers_equal, check_steps, find_equations, solve,
};
use limbeck_infer::FinishReason;
use serde::{Deserialize, Serialize};

use super::repetition::first_repeated;
use super::split::{lines, split};
use super::{Breakpoint, ErrorKind, Evidence, kind};
use crate::sample::{Sample, Step};

/// A chain with what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chain<'a> {
    /// The problem.
    pub question: &'a str,
    /// The chain of thought, without its marks.
    pub reasoning: &'a str,
    /// What follows it; empty where nothing does.
    pub answer: &'a str,
    /// Whether the answer is right; nothing where the right one is not known.
    pub correct: Option<bool>,
    /// Whether the chain was closed.
    pub closed: bool,
    /// Why the reply ended.
    pub finish: FinishReason,
}

impl<'a> Chain<'a> {
    /// A chain that came to its end; `expected` is the right answer, where it is known.
    pub fn whole(
        question: &'a str,
        reasoning: &'a str,
        answer: &'a str,
        expected: Option<&str>,
    ) -> Self {
        Self {
            question,
            reasoning,
            answer,
            correct: expected.map(|expected| answers_equal(expected, answer)),
            closed: true,
            finish: FinishReason::Stop,
        }
    }

    /// Whether the reply was cut, or ended inside its chain.
    fn is_unfinished(&self) -> bool {
        !self.closed || self.finish == FinishReason::Length
    }
}

/// What is thought of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepReport {
    /// Its text.
    pub text: String,
    /// Its place in the chain, in bytes.
    pub place: Range<usize>,
    /// Whether it holds.
    pub verdict: Step,
    /// What is wrong with it, where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ErrorKind>,
    /// How much less likely than expected a model finds it, where one was asked: see
    /// [`super::likelihood`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likelihood_drop: Option<f64>,
}

/// What is thought of a chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainReport {
    /// Its steps, in order.
    pub steps: Vec<StepReport>,
    /// Where it goes wrong, if anything tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breakpoint: Option<Breakpoint>,
    /// Whether it ends in a loop.
    pub repeating: bool,
    /// Whether it was closed, and the reply not cut.
    pub closed: bool,
    /// Whether its last conclusion is the answer.
    pub consistent: bool,
    /// That conclusion, where it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<String>,
    /// Whether the answer is right, as given or, for a question of our own, as solved again;
    /// nothing where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correct: Option<bool>,
    /// Whether no reader knows the question, so that of the steps the equations alone were
    /// checked: a step that holds may still be the wrong one to take.
    pub prose: bool,
}

impl ChainReport {
    /// Whether the chain is closed, does not repeat itself and ends in an answer.
    pub fn complete(&self, answer: &str) -> bool {
        self.closed && !self.repeating && !self.steps.is_empty() && !answer.trim().is_empty()
    }
}

/// How sure a sign is that a chain goes wrong there.
///
/// Of prose: the share of wrong ones among the 5,276 solutions of four models to GSM8K's test
/// questions (62 % of them wrong) where the sign is there and the right answer was not given. Of
/// our own questions every line is read, and what is read is exact.
mod confidence {
    /// A line of a known form that does not hold.
    pub(super) const CHECKED: f64 = 0.99;
    /// A line that should have a known form, and has none.
    pub(super) const UNREAD: f64 = 0.7;
    /// An equation in prose that does not hold: 229 of 248.
    pub(super) const EQUATION: f64 = 0.92;
    /// An operand from nowhere: 238 of 284.
    pub(super) const OPERAND: f64 = 0.84;
    /// A last step that concludes something else than the answer: 129 of 134.
    pub(super) const CONCLUSION: f64 = 0.96;
    /// The form of a chain that does not end leaves no doubt.
    pub(super) const FORM: f64 = 1.0;
}

/// Checks a chain's steps and says where it goes wrong.
///
/// A chain that is right and whole has no breakpoint. Where the text tells nothing, as with a
/// calculation that holds and answers another question, a wrong chain has none either.
pub fn analyze(chain: &Chain<'_>) -> ChainReport {
    analyze_steps(chain, split(chain.reasoning))
}

/// Where a judged reply goes wrong, by the lines of its chain: the step is an index into
/// [`Sample::steps`].
pub fn locate(record: &CotRecord, sample: &Sample) -> Option<Breakpoint> {
    let whole = sample.closed && !sample.truncated();
    let holds = !sample.steps.contains(&Step::Wrong);
    if sample.correct && whole && holds && (sample.consistent || !sample.steps.contains(&Step::Ok))
    {
        return None;
    }
    let reasoning = sample.reasoning.as_deref()?;
    let chain = Chain {
        question: &record.question,
        reasoning,
        answer: &sample.answer,
        correct: Some(sample.correct),
        closed: sample.closed,
        finish: sample.finish_reason,
    };
    analyze_steps(&chain, lines(reasoning)).breakpoint
}

/// As [`analyze`], of a chain whose steps are known by their places in its text; a place that is
/// none of the text's is an empty step.
pub fn analyze_steps(chain: &Chain<'_>, places: Vec<Range<usize>>) -> ChainReport {
    let steps: Vec<&str> =
        places.iter().map(|place| chain.reasoning.get(place.clone()).unwrap_or_default()).collect();
    let check = check_steps(chain.question, &steps, chain.answer);
    // Our own questions can be solved again; the others have no second solver.
    let solved = || solve(chain.question).map(|found| answers_equal(&found, chain.answer));
    let correct = chain.correct.or_else(|| if check.is_prose { None } else { solved() });
    let repeated = first_repeated(chain.reasoning, &places);
    // Of our own questions the equations of the wrong steps tell enough; to read all of them
    // takes longer than to check the chain.
    let all = if check.is_prose { find_equations(chain.question, &steps) } else { Vec::new() };
    let equations = |index: usize| {
        if check.is_prose {
            return all.iter().filter(|finding| finding.step == index).cloned().collect();
        }
        find_equations(chain.question, &steps[index..=index])
    };
    let kinds: Vec<Option<ErrorKind>> = (0..steps.len())
        .map(|index| {
            (check.steps[index] == StepVerdict::Wrong)
                .then(|| kind::of_step(chain.question, &steps, index, &equations(index)))
        })
        .collect();
    let signs = Signs {
        wrong: kinds.iter().enumerate().find_map(|(step, kind)| Some((step, (*kind)?))),
        repeated,
        nowhere: all
            .iter()
            .find(|finding| !finding.unsourced.is_empty())
            .map(|finding| finding.step),
        unread: if check.is_prose { None } else { first_unread(&steps, &check.steps) },
    };
    ChainReport {
        breakpoint: breakpoint(chain, &check, correct, &signs),
        repeating: repeated.is_some(),
        closed: !chain.is_unfinished(),
        consistent: check.consistent,
        conclusion: check.conclusion.clone(),
        correct,
        prose: check.is_prose,
        steps: steps
            .iter()
            .zip(places)
            .zip(check.steps.iter().zip(kinds))
            .map(|((text, place), (verdict, kind))| StepReport {
                text: (*text).to_owned(),
                place,
                verdict: Step::from(*verdict),
                kind,
                likelihood_drop: None,
            })
            .collect(),
    }
}

/// The first line of a chain about a question of our own that looks like a step and cannot be
/// read: every line of a right chain can. A sentence without figures is no step.
fn first_unread(steps: &[&str], verdicts: &[StepVerdict]) -> Option<usize> {
    steps.iter().zip(verdicts).position(|(step, verdict)| {
        let figures = step.starts_with('#') || step.contains(|next: char| next.is_ascii_digit());
        let sentence = step.ends_with(['.', '!', '?', ',', '。', '！', '？', '…']);
        *verdict == StepVerdict::Unchecked && (figures || !sentence)
    })
}

/// What was found in a chain, each by its first step.
struct Signs {
    /// A step that does not hold, and why.
    wrong: Option<(usize, ErrorKind)>,
    /// One that only says again what was said.
    repeated: Option<usize>,
    /// One with an operand from nowhere.
    nowhere: Option<usize>,
    /// One that should be readable and is not.
    unread: Option<usize>,
}

fn breakpoint(
    chain: &Chain<'_>,
    check: &ChainCheck,
    correct: Option<bool>,
    signs: &Signs,
) -> Option<Breakpoint> {
    let last = check.steps.len().checked_sub(1)?;
    let at =
        |step, kind, confidence, evidence| Some(Breakpoint { step, kind, confidence, evidence });
    let unfinished = chain.is_unfinished();
    let no_answer = chain.answer.trim().is_empty();
    let repeated = signs.repeated.filter(|_| unfinished);
    if let Some((step, kind)) = signs.wrong.filter(|(step, _)| repeated.is_none_or(|at| *step < at))
    {
        return match signs.unread.filter(|&unread| unread < step) {
            Some(unread) => at(unread, ErrorKind::Unknown, confidence::UNREAD, Evidence::Check),
            None if check.is_prose => at(step, kind, confidence::EQUATION, Evidence::Check),
            None => at(step, kind, confidence::CHECKED, Evidence::Check),
        };
    }
    if let Some(step) = repeated {
        return at(step, ErrorKind::Repetition, confidence::FORM, Evidence::Form);
    }
    if unfinished && correct != Some(true) {
        return at(last, ErrorKind::Unfinished, confidence::FORM, Evidence::Form);
    }
    if !check.is_prose {
        let wrong = correct == Some(false);
        return match signs.unread.filter(|_| wrong) {
            Some(unread) => at(unread, ErrorKind::Unknown, confidence::UNREAD, Evidence::Check),
            None if !check.consistent && no_answer => {
                at(last, ErrorKind::Unfinished, confidence::FORM, Evidence::Form)
            }
            None if !check.consistent => {
                at(last, ErrorKind::Conclusion, confidence::CHECKED, Evidence::Check)
            }
            // Every step holds and the last gives the answer: what is missing is a step.
            None if wrong => at(last, ErrorKind::Unfinished, confidence::CHECKED, Evidence::Check),
            None => None,
        };
    }
    if correct == Some(true) {
        return None;
    }
    if let Some(step) = signs.nowhere {
        return at(step, ErrorKind::Copy, confidence::OPERAND, Evidence::Check);
    }
    if check.conclusion.is_some() && !check.consistent && !no_answer {
        return at(last, ErrorKind::Conclusion, confidence::CONCLUSION, Evidence::Check);
    }
    None
}

#[cfg(test)]
mod tests {
    use limbeck_cot_data::{Family, Label, Mistake, generate, wrong_record};

    use super::*;
    use crate::sample::RawReply;

    fn found(chain: &Chain<'_>) -> Option<(usize, ErrorKind, Evidence)> {
        analyze(chain).breakpoint.map(|found| (found.step, found.kind, found.evidence))
    }

    #[test]
    fn a_right_and_whole_chain_has_no_breakpoint() {
        for family in Family::ALL {
            for level in 1..=4 {
                let record = generate(family, level, 5, 2).unwrap();
                let reasoning = record.reasoning();
                for expected in [None, Some(record.answer.as_str())] {
                    let chain =
                        Chain::whole(&record.question, &reasoning, &record.answer, expected);
                    let report = analyze(&chain);
                    assert_eq!(report.breakpoint, None, "{}", record.id);
                    assert!(report.consistent && report.complete(&record.answer));
                    assert_eq!(report.correct, Some(true));
                    assert_eq!(report.steps.len(), record.thought_process.len());
                }
            }
        }
    }

    /// The kinds of the generators' own mistakes, over the families that work them out again.
    #[test]
    fn planted_mistakes_are_found_with_their_kind() {
        for (family, mistake, kind) in [
            (Family::Arith, Mistake::OffByOne, ErrorKind::Arithmetic),
            (Family::Arith, Mistake::StaleVariable, ErrorKind::Logic),
            (Family::Arith, Mistake::WrongCopy, ErrorKind::Conclusion),
            (Family::Arith, Mistake::EarlyStop, ErrorKind::Unfinished),
            (Family::Logic, Mistake::ConversePair, ErrorKind::Logic),
            (Family::Spatial, Mistake::LeftRight, ErrorKind::Logic),
            (Family::Seating, Mistake::WrongConclusion, ErrorKind::Conclusion),
        ] {
            let made: Vec<CotRecord> = (0..40)
                .filter_map(|index| {
                    let record = generate(family, 3, 5, index).unwrap();
                    wrong_record(&record, mistake, 1)
                })
                .collect();
            assert!(made.len() > 3, "{mistake}: {}", made.len());
            for wrong in made {
                let Label::Wrong { first_wrong_step, .. } = wrong.label else { panic!("a label") };
                let reasoning = wrong.reasoning();
                let chain = Chain::whole(&wrong.question, &reasoning, &wrong.answer, None);
                let expected = Some((first_wrong_step, kind, Evidence::Check));
                assert_eq!(found(&chain), expected, "{mistake}: {reasoning}");
            }
        }
    }

    const QUESTION: &str = "Ann has 16 eggs, eats 3 and sells the rest for $2 each. What does she \
                            make?";

    #[test]
    fn prose_goes_wrong_at_an_equation_an_operand_or_the_conclusion() {
        let first = "She keeps 16 - 3 = 13 eggs.";
        let check = |second: &str, answer: &str, correct, expected| {
            let reasoning = format!("{first}\n{second}");
            let chain = Chain { correct, ..Chain::whole(QUESTION, &reasoning, answer, None) };
            let found = found(&chain).map(|(step, kind, _)| (step, kind));
            assert_eq!(found, expected, "{second}");
        };
        check("She makes 13 * 2 = $26.", "26", Some(true), None);
        check("She makes 13 * 2 = $26.", "26", None, None);
        check("She makes 13 * 2 = $28.", "28", Some(false), Some((1, ErrorKind::Arithmetic)));
        check("She makes 13 * 2 = $28.", "26", Some(true), Some((1, ErrorKind::Arithmetic)));
        check("She makes 13 * 55 = $715.", "715", None, Some((1, ErrorKind::Copy)));
        check("She makes 13 * 55 = $715.", "715", Some(true), None);
        check("She makes 13 * 2 = $26.", "62", Some(false), Some((1, ErrorKind::Conclusion)));
        // The arithmetic holds and follows; nothing in the text tells.
        check("She makes 13 + 3 = $16.", "16", Some(false), None);
    }

    #[test]
    fn a_cut_chain_is_unfinished_or_a_loop() {
        let record = generate(Family::Arith, 3, 5, 0).unwrap();
        let steps = &record.thought_process;
        let cut = |reasoning: &str| {
            found(&Chain {
                question: &record.question,
                reasoning,
                answer: "",
                correct: Some(false),
                closed: false,
                finish: FinishReason::Length,
            })
        };
        let open = steps[..2].join("\n");
        assert_eq!(cut(&open), Some((1, ErrorKind::Unfinished, Evidence::Form)));
        // The second time is judged as a step of its own, and wrong before the loop is one.
        let looped = format!("{}\n{}", steps[0], "and so it goes on\n".repeat(9));
        assert_eq!(cut(&looped), Some((2, ErrorKind::Repetition, Evidence::Form)));
        let wrong = format!("{}9\n{}", steps[0], "and so it goes on\n".repeat(9));
        assert_eq!(cut(&wrong), Some((0, ErrorKind::Arithmetic, Evidence::Check)));
        assert_eq!(cut(""), None);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_wrong_where_the_chain_is() {
        let record = generate(Family::Seating, 3, 5, 0).unwrap();
        let mut steps = record.thought_process.clone();
        steps[1] = "#B somewhere: 3".to_owned();
        steps.insert(1, "Let me see.".to_owned());
        let reasoning = steps.join("\n");
        let chain = Chain::whole(&record.question, &reasoning, "nobody", None);
        assert_eq!(found(&chain), Some((2, ErrorKind::Unknown, Evidence::Check)));
    }

    #[test]
    fn samples_are_located_by_their_lines() {
        let record = generate(Family::Arith, 3, 5, 0).unwrap();
        let locate_in = |text: &str| {
            let raw = RawReply {
                text,
                prompt_opened: false,
                finish_reason: FinishReason::Stop,
                prompt_tokens: 1,
                reply_tokens: 1,
            };
            let sample = Sample::judge(&record, raw);
            let found = locate(&record, &sample);
            assert!(found.as_ref().is_none_or(|found| found.step < sample.steps.len()));
            found.map(|found| (found.step, found.kind))
        };
        assert_eq!(locate_in(&record.completion()), None);
        let wrong = wrong_record(&record, Mistake::OffByOne, 3).unwrap();
        let Label::Wrong { first_wrong_step, .. } = wrong.label else { panic!("a label") };
        assert_eq!(locate_in(&wrong.completion()), Some((first_wrong_step, ErrorKind::Arithmetic)));
        let last = record.thought_process.len() - 1;
        let text = format!("<think>\n{}\n</think>\n\n-1", record.reasoning());
        assert_eq!(locate_in(&text), Some((last, ErrorKind::Conclusion)));
        assert_eq!(locate_in("-1"), None, "there is no chain to go wrong");
        assert_eq!(locate_in(&record.answer), None);
    }
}
