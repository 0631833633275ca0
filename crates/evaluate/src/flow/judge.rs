//! Replies held against the right answers.

use std::collections::BTreeMap;

use limbeck_cot_data::{ReplyCheck, check_reply};
use limbeck_infer::{FinishReason, split_reasoning};

use super::journal::Answer;
use super::questions::Question;
use crate::Result;
use crate::chain::{Breakpoint, Chain, analyze, locate};
use crate::sample::{Filtered, Rated, Sample, Step};
use crate::scorer::Verdict;
use crate::scorer::exact_match::ExactMatcher;
use crate::scorer::filters::Pipeline;
use crate::scorer::robust;
use crate::task::{Judge, Problem, Task};

/// What stands for an answer that a filter does not find.
const INVALID: &str = "[invalid]";

/// A task's scorers, compiled.
pub(crate) struct Scoring<'t> {
    task: &'t Task,
    pub(crate) pipelines: Vec<(&'t str, Pipeline)>,
    pub(crate) matcher: ExactMatcher,
}

impl<'t> Scoring<'t> {
    pub(crate) fn new(task: &'t Task) -> Result<Self> {
        let pipelines = task
            .filters
            .iter()
            .map(|named| Ok((named.name.as_str(), Pipeline::new(&named.filter)?)))
            .collect::<Result<_>>()?;
        Ok(Self { task, pipelines, matcher: task.exact_match.compile()? })
    }

    /// The judged answer to a question.
    pub(crate) fn sample(&self, question: &Question<'_>, answer: Answer) -> Result<Sample> {
        let mut sample = self.empty(question);
        match answer {
            Answer::Failed { reason } => sample.failure = Some(reason),
            Answer::Rated { logprobs } => rate(&mut sample, question.problem, logprobs),
            Answer::Reply { text, tokens, finish_reason } => {
                sample.reply = text;
                sample.reply_tokens = tokens;
                sample.finish_reason = finish_reason;
                self.read(&mut sample, question)?;
            }
        }
        Ok(sample)
    }

    /// A sample without an answer.
    fn empty(&self, question: &Question<'_>) -> Sample {
        let record = &question.problem.record;
        Sample {
            task: self.task.name.clone(),
            id: record.id.clone(),
            repeat: question.repeat,
            family: record.domain.clone(),
            level: record.difficulty,
            bloom: record.bloom.clone(),
            question: record.question.clone(),
            expected: record.answer.clone(),
            reply: String::new(),
            reasoning: None,
            answer: String::new(),
            closed: false,
            finish_reason: FinishReason::Stop,
            steps: Vec::new(),
            consistent: false,
            correct: false,
            verdict: Verdict::Unparsed,
            filters: BTreeMap::new(),
            rated: None,
            breakpoint: None,
            failure: None,
            complete: false,
            prompt_tokens: question.tokens.len(),
            reply_tokens: 0,
        }
    }

    /// Reads a reply: its chain, its answer, and whether that is right.
    fn read(&self, sample: &mut Sample, question: &Question<'_>) -> Result<()> {
        let Problem { record, targets, choices, .. } = question.problem;
        let strict = self.task.judge == Judge::Strict;
        let reply = split_reasoning(&sample.reply, question.opened);
        let cut = sample.finish_reason == FinishReason::Length;
        // A model that was never taught to mark its chain reasons in the reply itself.
        let unmarked = reply.reasoning.is_none() && !strict;
        let chain = reply.reasoning.unwrap_or(if unmarked { reply.answer } else { "" });
        let ReplyCheck { steps, answer_correct, consistent } =
            check_reply(record, chain, reply.answer);
        sample.steps = steps.into_iter().map(Step::from).collect();
        sample.consistent = consistent;
        for (name, pipeline) in &self.pipelines {
            let text = pipeline.apply(&[&sample.reply], choices)?.into_iter().next();
            let text = text.unwrap_or_else(|| INVALID.to_owned());
            let correct = self.matcher.matches(&text, targets.iter().map(String::as_str))?;
            sample.filters.insert((*name).to_owned(), Filtered { text, correct });
        }
        let unread = if cut { Verdict::Truncated } else { Verdict::Unparsed };
        sample.verdict = match (self.task.judge, self.pipelines.first()) {
            (Judge::Filter, Some((name, _))) => match sample.filters.get(*name) {
                Some(Filtered { correct: true, .. }) => Verdict::Correct,
                Some(Filtered { text, .. }) if text != INVALID => Verdict::Wrong,
                _ => unread,
            },
            (Judge::Strict, _) if answer_correct => Verdict::Correct,
            (Judge::Strict, _) if reply.answer.trim().is_empty() => unread,
            (Judge::Strict, _) => Verdict::Wrong,
            (Judge::Robust | Judge::Filter, _) => robust_verdict(targets, reply.answer, cut),
        };
        if self.task.judge == Judge::Filter {
            // The target of such a task is often a whole solution.
            sample.expected = self.matcher.normalise(&record.answer)?;
        }
        sample.correct = sample.verdict == Verdict::Correct;
        let steps_hold = if strict {
            sample.steps.iter().all(|step| *step == Step::Ok)
        } else {
            !sample.steps.contains(&Step::Wrong)
        };
        sample.complete = (reply.closed || unmarked)
            && !cut
            && !reply.answer.trim().is_empty()
            && !sample.steps.is_empty()
            && steps_hold;
        sample.closed = reply.closed;
        let (reasoning, answer) = (reply.reasoning.map(str::to_owned), reply.answer.to_owned());
        sample.reasoning = reasoning;
        sample.answer = answer;
        sample.breakpoint = if unmarked { locate_unmarked(sample) } else { locate(record, sample) };
        Ok(())
    }
}

/// As [`locate`], where the reply itself is the chain; nothing where its steps are not the lines
/// that were checked.
fn locate_unmarked(sample: &Sample) -> Option<Breakpoint> {
    let chain = Chain {
        question: &sample.question,
        reasoning: &sample.answer,
        answer: &sample.answer,
        correct: Some(sample.correct),
        closed: true,
        finish: sample.finish_reason,
    };
    let report = analyze(&chain);
    report.breakpoint.filter(|_| report.steps.len() == sample.steps.len())
}

/// The verdict by value on the best of several right answers.
pub(crate) fn robust_verdict(targets: &[String], answer: &str, cut: bool) -> Verdict {
    let verdicts = targets.iter().map(|target| robust::judge(target, answer, cut));
    verdicts.min().unwrap_or(Verdict::Unparsed)
}

/// Takes the likeliest choice; of equal ones the first, as numpy's argmax.
fn rate(sample: &mut Sample, problem: &Problem, logprobs: Vec<f64>) {
    let best = |value: &dyn Fn(usize) -> f64| {
        let mut best = 0;
        for place in 1..logprobs.len() {
            if value(place) > value(best) {
                best = place;
            }
        }
        best
    };
    let characters = |place: usize| problem.choices[place].chars().count().max(1) as f64;
    let likeliest = best(&|place| logprobs[place]);
    let likeliest_normalised = best(&|place| logprobs[place] / characters(place));
    let expected = problem.gold.unwrap_or_default();
    sample.reply = problem.choices.get(likeliest).cloned().unwrap_or_default();
    sample.answer = sample.reply.clone();
    sample.correct = likeliest == expected;
    sample.consistent = true;
    sample.verdict = if sample.correct { Verdict::Correct } else { Verdict::Wrong };
    sample.rated = Some(Rated { logprobs, expected, likeliest, likeliest_normalised });
}
