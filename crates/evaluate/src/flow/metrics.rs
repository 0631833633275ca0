//! The figures that a task has of its own.

use std::collections::{BTreeMap, HashSet};

use limbeck_cot_data::answers_equal;

use super::judge::{Scoring, robust_verdict};
use super::questions::Question;
use crate::Result;
use crate::sample::Sample;
use crate::scorer::Verdict;
use crate::scorer::binary::{Binary, Case};
use crate::scorer::repeats::{majority, pass_at_k};
use crate::scorer::robust;
use crate::scores::{Scores, TaskScores};
use crate::statistics::{Estimate, Proportion, clustered};
use crate::task::{Ask, Classes, Judge, Task};

/// Adds up the samples of a task; `questions` are those that they answer, in the same order.
pub(crate) fn task_scores(
    task: &Task,
    scoring: &Scoring<'_>,
    questions: &[&Question<'_>],
    samples: &[&Sample],
) -> Result<TaskScores> {
    let mut metrics = BTreeMap::new();
    let mut problems: Vec<(&Question<'_>, Vec<&Sample>)> = Vec::new();
    for (question, sample) in questions.iter().zip(samples) {
        match problems.last_mut() {
            Some((last, replies)) if std::ptr::eq(last.problem, question.problem) => {
                replies.push(sample);
            }
            _ => problems.push((question, vec![sample])),
        }
    }
    match task.ask {
        Ask::Choose => choices(&mut metrics, samples),
        Ask::Reply => {
            filters(&mut metrics, scoring, &problems)?;
            repeats(&mut metrics, &problems);
        }
    }
    if let Some(classes) = &task.classes {
        let binary = Binary::of(&cases(task, classes, questions, samples));
        for (name, estimate) in binary.metrics() {
            metrics.entry(format!("{name},none")).or_insert(estimate);
        }
    }
    let mut failures: BTreeMap<String, u64> = BTreeMap::new();
    for reason in samples.iter().filter_map(|sample| sample.failure.as_ref()) {
        *failures.entry(kind(reason)).or_default() += 1;
    }
    Ok(TaskScores {
        task: task.name.clone(),
        scores: Scores::of(samples.iter().copied()),
        metrics,
        failures,
        skipped: task.skipped.len() as u64,
    })
}

/// Problems of two classes, as the replies tell them apart.
fn cases(
    task: &Task,
    classes: &Classes,
    questions: &[&Question<'_>],
    samples: &[&Sample],
) -> Vec<Case> {
    let Classes { positive, negative } = classes;
    let is_positive = |answer: &str| answers_equal(answer, positive);
    // What a reply must say to say anything.
    let others: HashSet<&str> = match negative {
        Some(negative) => HashSet::from([negative.as_str()]),
        None => task
            .problems
            .iter()
            .map(|problem| problem.record.answer.as_str())
            .filter(|answer| !is_positive(answer))
            .collect(),
    };
    let says = |sample: &Sample, answer: &str| match task.judge {
        Judge::Strict => answers_equal(&sample.answer, answer),
        _ => robust::judge(answer, &sample.answer, false) == Verdict::Correct,
    };
    questions
        .iter()
        .zip(samples)
        .map(|(question, sample)| (&question.problem.record.answer, question, sample))
        .filter(|(answer, ..)| {
            is_positive(answer)
                || negative.as_ref().is_none_or(|negative| answers_equal(answer, negative))
        })
        .map(|(answer, question, sample)| Case {
            positive: is_positive(answer),
            predicted: if sample.correct {
                Some(is_positive(answer))
            } else if says(sample, positive) {
                Some(true)
            } else {
                others.iter().any(|other| says(sample, other)).then_some(false)
            },
            score: preference(&question.problem.choices, sample, &is_positive),
        })
        .collect()
}

/// How much likelier the positive choice is than the likeliest other one.
fn preference(
    choices: &[String],
    sample: &Sample,
    is_positive: &impl Fn(&str) -> bool,
) -> Option<f64> {
    let rated = sample.rated.as_ref()?;
    let likeliest = |positive: bool| {
        let of = choices.iter().zip(&rated.logprobs);
        let of = of.filter(|(choice, _)| is_positive(choice) == positive);
        of.map(|(_, logprob)| *logprob).reduce(f64::max)
    };
    Some(likeliest(true)? - likeliest(false)?)
}

/// A reason without the number of the request that it happened to.
fn kind(reason: &str) -> String {
    let known = reason.split_once(": ").filter(|(request, _)| request.starts_with("request "));
    known.map_or(reason, |(_, rest)| rest).to_owned()
}

fn choices(metrics: &mut BTreeMap<String, Estimate>, samples: &[&Sample]) {
    let of = |right: fn(&crate::sample::Rated) -> bool| {
        Proportion::of(samples.iter().map(|sample| sample.rated.as_ref().is_some_and(right)))
    };
    metrics.insert("acc,none".to_owned(), of(|rated| rated.likeliest == rated.expected).into());
    metrics.insert(
        "acc_norm,none".to_owned(),
        of(|rated| rated.likeliest_normalised == rated.expected).into(),
    );
}

/// `exact_match` of each filter over all replies of a problem, as lm-eval has it; and the verdict
/// by value beside it.
fn filters(
    metrics: &mut BTreeMap<String, Estimate>,
    scoring: &Scoring<'_>,
    problems: &[(&Question<'_>, Vec<&Sample>)],
) -> Result<()> {
    if scoring.pipelines.is_empty() {
        return Ok(());
    }
    for (name, pipeline) in &scoring.pipelines {
        let mut right = Vec::with_capacity(problems.len());
        for (question, samples) in problems {
            let problem = question.problem;
            let replies: Vec<&str> = samples.iter().map(|sample| sample.reply.as_str()).collect();
            let taken = pipeline.apply(&replies, &problem.choices)?;
            let targets = problem.targets.iter().map(String::as_str);
            right.push(match taken.first() {
                Some(text) => scoring.matcher.matches(text, targets)?,
                None => false,
            });
        }
        metrics.insert(format!("exact_match,{name}"), Proportion::of(right).into());
    }
    let by_value = problems.iter().map(|(_, samples)| {
        let sample = samples[0];
        let expected = std::slice::from_ref(&sample.expected);
        robust_verdict(expected, &sample.answer, sample.truncated()) == Verdict::Correct
    });
    metrics.insert("accuracy,robust".to_owned(), Proportion::of(by_value).into());
    Ok(())
}

/// pass@k for each power of two, and the majority's answer, of problems with several replies.
fn repeats(metrics: &mut BTreeMap<String, Estimate>, problems: &[(&Question<'_>, Vec<&Sample>)]) {
    let count = problems.iter().map(|(_, samples)| samples.len()).min().unwrap_or(0);
    if count < 2 {
        return;
    }
    let mut k = 1;
    while k <= count {
        let passes: Vec<f64> = problems
            .iter()
            .filter_map(|(_, samples)| {
                let right = samples.iter().filter(|sample| sample.correct).count();
                pass_at_k(samples.len() as u64, right as u64, k as u64)
            })
            .collect();
        if let Some(estimate) = clustered(passes.chunks(1)) {
            metrics.insert(format!("pass@{k},none"), estimate);
        }
        k *= 2;
    }
    let voted = problems.iter().map(|(_, samples)| {
        let answers: Vec<Option<&str>> = samples
            .iter()
            .map(|sample| {
                let read = matches!(sample.verdict, Verdict::Correct | Verdict::Wrong);
                read.then_some(sample.answer.as_str())
            })
            .collect();
        majority(&answers).is_some_and(|(place, _)| samples[place].correct)
    });
    metrics.insert(format!("maj@{count},none"), Proportion::of(voted).into());
}
