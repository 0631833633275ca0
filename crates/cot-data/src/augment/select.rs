//! Which samples become records: those whose answer is right, whose steps hold, and that
//! say something else than the others.

use std::collections::BTreeMap;

use serde::Serialize;

use super::config::AugmentConfig;
use super::journal::Sample;
use super::question::Question;
use super::similar::Shingles;
use crate::check::{
    AnswerMark, Equivalence, StepVerdict, answers_equal, check_chain, equivalence, extract_answer,
    solve,
};
use crate::error::Result;
use crate::import::chain::{lines, split_reply};
use crate::record::{Checks, CotRecord, Source};

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is a record.
    Kept,
    /// There is none: the request was given up, or the run was stopped before it.
    Unanswered,
    /// The reply was cut off.
    Incomplete,
    /// There is no reasoning.
    NoReasoning,
    /// There is no answer.
    NoAnswer,
    /// The answer is not the right one.
    WrongAnswer,
    /// A step is wrong, though the answer is right.
    WrongStep,
    /// Of a question without an answer: too few samples agree on one.
    NoMajority,
    /// Of a question without an answer: most samples have another one.
    Outvoted,
    /// It says nearly what one that is kept says.
    Similar,
    /// There are enough of its question.
    Surplus,
}

/// What became of the samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SelectReport {
    /// Questions that have samples.
    pub num_questions: u64,
    /// Questions of which a chain is kept.
    pub num_solved: u64,
    /// Questions whose answer is that of the vote.
    pub num_voted: u64,
    /// Samples by what became of them.
    pub samples: BTreeMap<Outcome, u64>,
}

/// A sample that has all its parts.
struct Chain {
    sample: Sample,
    lines: Vec<String>,
    answer: String,
}

/// Takes the samples of one question.
pub(super) fn select(
    config: &AugmentConfig,
    question: &Question,
    samples: Vec<Sample>,
    report: &mut SelectReport,
    take: &mut impl FnMut(CotRecord) -> Result<()>,
    rejected: &mut impl FnMut(&Sample, Outcome) -> Result<()>,
) -> Result<()> {
    if samples.is_empty() {
        return Ok(());
    }
    report.num_questions += 1;
    let mut count = |outcome| *report.samples.entry(outcome).or_default() += 1;
    let mut chains = Vec::new();
    for sample in samples {
        match taken_apart(&sample) {
            Ok((lines, answer)) => chains.push(Chain { sample, lines, answer }),
            Err(outcome) => {
                count(outcome);
                rejected(&sample, outcome)?;
            }
        }
    }
    // A question of ours has an answer even where the file gives none.
    let known = question.answer.clone().or_else(|| solve(&question.text));
    let voted = known.is_none();
    let answer = known.or_else(|| majority(&chains, config.min_vote_share));
    let mut kept: Vec<(CotRecord, Shingles)> = Vec::new();
    for chain in chains {
        let outcome = match &answer {
            None => Outcome::NoMajority,
            Some(answer) if !same(answer, &chain.answer) => {
                if voted {
                    Outcome::Outvoted
                } else {
                    Outcome::WrongAnswer
                }
            }
            Some(answer) => match record(config, question, &chain, answer, voted) {
                None => Outcome::WrongStep,
                Some(record) => {
                    let shingles = Shingles::of(&record.thought_process);
                    let like = |(_, other): &(CotRecord, Shingles)| {
                        shingles.similarity(other) >= config.max_similarity
                    };
                    if kept.iter().any(like) {
                        Outcome::Similar
                    } else if kept.len() >= config.max_chains {
                        Outcome::Surplus
                    } else {
                        kept.push((record, shingles));
                        Outcome::Kept
                    }
                }
            },
        };
        count(outcome);
        if outcome != Outcome::Kept {
            rejected(&chain.sample, outcome)?;
        }
    }
    report.num_solved += u64::from(!kept.is_empty());
    report.num_voted += u64::from(voted && !kept.is_empty());
    kept.into_iter().try_for_each(|(record, _)| take(record))
}

/// Reasoning and answer of a sample, or why it has none.
fn taken_apart(sample: &Sample) -> std::result::Result<(Vec<String>, String), Outcome> {
    if sample.finish_reason == "length" {
        return Err(Outcome::Incomplete);
    }
    let Ok(reply) = split_reply(&sample.content) else {
        return Err(Outcome::Incomplete);
    };
    // A model that does not think apart reasons in its reply; a line with the answer
    // alone is no step.
    let reasoning = match (sample.reasoning.trim(), reply.chain) {
        ("", Some(chain)) => chain,
        ("", None) => without_answer(&reply.rest),
        (beside, _) => beside.to_owned(),
    };
    let lines: Vec<String> = lines(&reasoning).iter().map(|line| line.trim().to_owned()).collect();
    let found = extract_answer(&reply.rest)
        .filter(|found| found.mark != AnswerMark::LastNumber || reply.rest.trim() == found.text)
        .map(|found| found.text.trim_matches(['*', ' ']).trim_end_matches('.').to_owned())
        .filter(|answer| !answer.is_empty());
    match found {
        _ if lines.is_empty() => Err(Outcome::NoReasoning),
        None => Err(Outcome::NoAnswer),
        Some(answer) => Ok((lines, answer)),
    }
}

/// The lines before the one that gives the answer.
fn without_answer(text: &str) -> String {
    let mut lines: Vec<&str> = text.trim_end().lines().collect();
    if lines.last().is_some_and(|line| line.trim_start().starts_with("The answer is")) {
        lines.pop();
    }
    lines.join("\n")
}

fn same(left: &str, right: &str) -> bool {
    answers_equal(left, right) || equivalence(left, right) == Equivalence::Equal
}

/// The answer that more than a share of the chains, and at least two, agree on.
fn majority(chains: &[Chain], min_share: f64) -> Option<String> {
    let mut groups: Vec<(&str, usize)> = Vec::new();
    for chain in chains {
        match groups.iter_mut().find(|(answer, _)| same(answer, &chain.answer)) {
            Some((_, votes)) => *votes += 1,
            None => groups.push((&chain.answer, 1)),
        }
    }
    let most = groups.iter().map(|(_, votes)| *votes).max()?;
    let mut first = groups.into_iter().filter(|(_, votes)| *votes == most);
    let (answer, votes) = first.next()?;
    let alone = first.next().is_none();
    let enough = votes >= 2 && votes as f64 > min_share * chains.len() as f64;
    (alone && enough).then(|| answer.to_owned())
}

/// The record of a chain; nothing where a step is wrong.
fn record(
    config: &AugmentConfig,
    question: &Question,
    chain: &Chain,
    answer: &str,
    voted: bool,
) -> Option<CotRecord> {
    let check = check_chain(&question.text, &chain.lines, answer);
    if check.first_wrong_step().is_some() && !config.keep_wrong_steps {
        return None;
    }
    let Sample { template, index, model, .. } = &chain.sample;
    let mut record = question.record.clone().unwrap_or_else(|| CotRecord {
        domain: "general".to_owned(),
        source: Source { name: "augmented".to_owned(), ..Source::default() },
        ..CotRecord::default()
    });
    record.id = format!("{}/{template}-{index}", question.id);
    record.question.clone_from(&question.text);
    record.thought_process.clone_from(&chain.lines);
    answer.clone_into(&mut record.answer);
    record.label = crate::label::Label::Correct;
    record.source.teacher = Some(model.clone());
    record.checks = Checks {
        answer: if voted { "voted" } else { "verified" }.to_owned(),
        steps: check.steps.iter().map(|verdict| *verdict == StepVerdict::Ok).collect(),
        ..Checks::default()
    };
    record.extra.insert("augmented_from".to_owned(), question.id.as_str().into());
    record.extra.insert("template".to_owned(), template.name().into());
    Some(record)
}
