//! A model's evaluation on tasks.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use limbeck_core::Tokenizer;
use limbeck_cot_data::CotRecord;
use limbeck_infer::Engine;
use limbeck_model::Decoder;
use limbeck_run::Progress;
use limbeck_run::config::Validate;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{EvaluateConfig, LoadsConfig};
use crate::cost::energy::EnergyMeter;
use crate::cost::flops::{active_parameters, flops_per_token};
use crate::cost::{Cost, Load, weight_bytes};
use crate::divergence::Divergence;
use crate::fit::DomainFit;
use crate::flow::choose::choose;
use crate::flow::generate::generate;
use crate::flow::journal::{Answer, Journal};
use crate::flow::judge::Scoring;
use crate::flow::lm_eval_samples;
use crate::flow::metrics::task_scores;
use crate::flow::questions::{Question, given, questions};
use crate::flow::replies::Replies;
use crate::sample::Sample;
use crate::scores::{Group, Scores, TaskScores};
use crate::task::{Ask, Task};
use crate::{Error, Result};

/// How a model did, as `evaluation.json` holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// What the report calls the model.
    pub model: String,
    /// How it was evaluated.
    pub config: EvaluateConfig,
    /// Over all problems.
    pub overall: Scores,
    /// By family (no level), then by family and level.
    pub groups: Vec<Group>,
    /// By task, with the figures that each task has of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskScores>,
    /// Size, speed and memory.
    pub cost: Cost,
    /// SHA-256 of the chat template; empty without one.
    pub chat_template_sha256: String,
    /// How far it is from the model that it was made from, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<Divergence>,
    /// How its replies fit the task's domain, where that was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<DomainFit>,
    /// The samples of tasks that lm-eval could have run, in its shape; written, and not read.
    #[serde(skip)]
    pub lm_eval_samples: BTreeMap<String, Vec<Value>>,
    /// Every reply, in the order of the problems; kept in `samples.jsonl`.
    #[serde(skip)]
    pub samples: Vec<Sample>,
}

/// A model and what it is called.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'m> {
    /// What the report calls it.
    pub name: &'m str,
    /// The model.
    pub decoder: &'m Decoder,
    /// Its tokenizer. The weight files of its folder are taken for the model's; a caller who
    /// loaded more (an adapter) adds to [`Cost::weight_bytes`].
    pub tokenizer: &'m Tokenizer,
}

/// Lets a model solve records and judges its replies: [`evaluate_tasks`] on a single task,
/// [`Task::of_records`].
///
/// # Errors
/// As [`evaluate_tasks`].
pub fn evaluate(
    model: &str,
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    records: &[CotRecord],
    config: &EvaluateConfig,
) -> Result<Evaluation> {
    let task = Task::of_records("records", records.to_vec());
    let subject = Subject { name: model, decoder, tokenizer };
    evaluate_tasks(subject, vec![task], config, &mut Journal::nowhere())
}

/// Lets a model solve the problems of tasks and judges its replies.
///
/// What `journal` holds already is not asked again. A problem that cannot be answered (a prompt
/// that is too long, logits that are not finite) counts as wrong, and apart: see
/// [`Sample::failure`].
///
/// # Errors
/// No problem, two with the same id in one task, none that could be answered; a tokenizer
/// without the chat template that a task needs or with ids beyond the embedding; what concerns
/// all problems, such as the device.
pub fn evaluate_tasks(
    subject: Subject<'_>,
    tasks: Vec<Task>,
    config: &EvaluateConfig,
    journal: &mut Journal,
) -> Result<Evaluation> {
    config.validate()?;
    let Subject { name, decoder, tokenizer } = subject;
    tokenizer.check_fits(decoder.config().vocab_size)?;
    let tasks = settled(tasks, config);
    if tokenizer.eos_token_ids().is_empty() {
        tracing::warn!("the tokenizer names no end token: every reply will be cut");
    }
    let questions = questions(&tasks, tokenizer, config)?;
    let engine = Engine::new(decoder, config.engine())?;
    let mut answers: Vec<Option<Answer>> =
        questions.iter().map(|question| journal.get(&question.key).cloned()).collect();
    let open = |asks: Ask| -> Vec<usize> {
        let asked = |&place: &usize| answers[place].is_none() && questions[place].task.ask == asks;
        (0..questions.len()).filter(asked).collect()
    };
    let (to_reply, to_choose) = (open(Ask::Reply), open(Ask::Choose));
    let progress = Progress::new(name, questions.len() as u64, "problems");
    progress.skip((questions.len() - to_reply.len() - to_choose.len()) as u64);
    let mut meter = EnergyMeter::start(decoder.device());
    let started = Instant::now();
    let mut generated_tokens = 0;
    let mut fresh = Vec::new();
    if !to_reply.is_empty() {
        let (replies, generated) =
            generate(&engine, tokenizer, &questions, &to_reply, journal, || {
                progress.inc(1);
                // A counter that begins again twice between two readings would lie.
                if meter.as_mut().is_some_and(|meter| meter.read().is_none()) {
                    meter = None;
                }
            })?;
        generated_tokens = generated;
        fresh.extend(replies);
    }
    let seconds = started.elapsed().as_secs_f64();
    let energy = meter.and_then(|meter| meter.stop(generated_tokens));
    let rated =
        choose(&engine, tokenizer, &questions, &to_choose, config.deterministic, journal, || {
            progress.inc(1);
        })?;
    fresh.extend(rated);
    progress.finish();
    for (place, answer) in fresh {
        answers[place] = Some(answer);
    }
    let prompt_tokens = to_reply.iter().map(|&place| questions[place].tokens.len() as u64).sum();
    let parameters = decoder.num_parameters();
    let bytes = weight_bytes(tokenizer.folder())?;
    let cost = Cost {
        energy,
        loads: loads(decoder, &questions, config)?,
        active_parameters: active_parameters(decoder.config(), parameters),
        ..Cost::new(parameters, bytes, prompt_tokens, generated_tokens, seconds)
    };
    let template = tokenizer.chat_template();
    let chat_template_sha256 = template.map_or_else(String::new, |template| {
        limbeck_run::sha256_bytes(template.source().as_bytes())
    });
    let answers = answers.into_iter().flatten().collect();
    let mut evaluation = judge(name, &tasks, &questions, answers, cost, config)?;
    evaluation.chat_template_sha256 = chat_template_sha256;
    evaluation.cost.flops_per_token =
        flops_per_token(decoder.config(), mean_context(&evaluation.samples));
    Ok(evaluation)
}

/// Tasks with what the configuration says of all of them.
fn settled(mut tasks: Vec<Task>, config: &EvaluateConfig) -> Vec<Task> {
    for task in &mut tasks {
        task.limit(config.limit);
        task.classes = task.classes.take().or_else(|| config.classes.clone());
    }
    tasks
}

/// Measures latency on the run's own prompts, spread evenly over them.
fn loads(
    decoder: &Decoder,
    questions: &[Question<'_>],
    config: &EvaluateConfig,
) -> Result<Vec<Load>> {
    let LoadsConfig { batches, requests, new_tokens } = &config.loads;
    let limit = decoder.config().max_position_embeddings as usize;
    let fitting: Vec<&Question<'_>> = questions
        .iter()
        .filter(|question| question.repeat == 0 && question.tokens.len() + new_tokens <= limit)
        .collect();
    if fitting.is_empty() {
        return Ok(Vec::new());
    }
    let count = (*requests).min(fitting.len());
    let prompts: Vec<Vec<i64>> =
        (0..count).map(|at| fitting[at * fitting.len() / count].tokens.clone()).collect();
    let measure =
        |&batch: &usize| Load::measure(decoder, &prompts, batch, *new_tokens, &config.engine());
    batches.iter().map(measure).collect()
}

/// Tokens that a generated token has before it, on average, itself included.
fn mean_context(samples: &[Sample]) -> f64 {
    let (mut tokens, mut seen) = (0.0, 0.0);
    for sample in samples {
        let (prompt, reply) = (sample.prompt_tokens as f64, sample.reply_tokens as f64);
        tokens += reply;
        seen += reply * (prompt + f64::midpoint(reply, 1.0));
    }
    if tokens > 0.0 {
        return seen / tokens;
    }
    let prompts: usize = samples.iter().map(|sample| sample.prompt_tokens).sum();
    prompts as f64 / samples.len().max(1) as f64
}

/// Judges replies that were made elsewhere; costs are not known then, and 0.
///
/// # Errors
/// No problem, two with the same id in one task, no reply to any of them.
pub fn evaluate_replies(
    name: &str,
    tasks: Vec<Task>,
    replies: &Replies,
    config: &EvaluateConfig,
) -> Result<Evaluation> {
    config.validate()?;
    let tasks = settled(tasks, config);
    let questions = given(&tasks, replies)?;
    let answers = questions.iter().map(|question| replies.answer(question)).collect();
    judge(name, &tasks, &questions, answers, Cost::unknown(), config)
}

/// Holds answers, one for each question, against what is right.
fn judge(
    name: &str,
    tasks: &[Task],
    questions: &[Question<'_>],
    answers: Vec<Answer>,
    cost: Cost,
    config: &EvaluateConfig,
) -> Result<Evaluation> {
    let mut samples = Vec::with_capacity(questions.len());
    let mut task_figures = Vec::with_capacity(tasks.len());
    let mut in_their_shape = BTreeMap::new();
    let mut answers = answers.into_iter();
    for task in tasks {
        let scoring = Scoring::new(task)?;
        let own: Vec<&Question<'_>> =
            questions.iter().filter(|question| std::ptr::eq(question.task, task)).collect();
        let first = samples.len();
        let given: Vec<Answer> = answers.by_ref().take(own.len()).collect();
        let found: Vec<Sample> = own
            .par_iter()
            .zip(given)
            .map(|(question, answer)| scoring.sample(question, answer))
            .collect::<Result<_>>()?;
        samples.extend(found);
        let judged: Vec<&Sample> = samples[first..].iter().collect();
        task_figures.push(task_scores(task, &scoring, &own, &judged)?);
        let lines = lm_eval_samples::lines(task, &scoring, &own, &judged)?;
        if !lines.is_empty() {
            in_their_shape.insert(task.name.clone(), lines);
        }
        for reason in task.skipped.iter().take(3) {
            tracing::warn!("{}: left out: {reason}", task.name);
        }
        if task.skipped.len() > 3 {
            tracing::warn!("{}: {} more rows are left out", task.name, task.skipped.len() - 3);
        }
    }
    report_failures(&samples)?;
    Ok(Evaluation {
        model: name.to_owned(),
        config: config.clone(),
        overall: Scores::of(&samples),
        groups: Group::all(&samples),
        tasks: task_figures,
        cost,
        chat_template_sha256: String::new(),
        divergence: None,
        fit: fit(tasks, &samples, config.seed),
        lm_eval_samples: in_their_shape,
        samples,
    })
}

/// How the replies fit the chains of the records, where these have chains.
fn fit(tasks: &[Task], samples: &[Sample], seed: u64) -> Option<DomainFit> {
    let mut chains: HashMap<(&str, &str), String> = HashMap::new();
    for task in tasks {
        for problem in &task.problems {
            if !problem.record.thought_process.is_empty() {
                let key = (task.name.as_str(), problem.record.id.as_str());
                chains.insert(key, problem.record.completion());
            }
        }
    }
    let (mut replies, mut records) = (Vec::new(), Vec::new());
    for sample in samples.iter().filter(|sample| sample.repeat == 0 && !sample.reply.is_empty()) {
        if let Some(chain) = chains.get(&(sample.task.as_str(), sample.id.as_str())) {
            replies.push(sample.reply.as_str());
            records.push(chain.as_str());
        }
    }
    DomainFit::measure(&replies, &records, seed, None)
}

fn report_failures(samples: &[Sample]) -> Result<()> {
    let failed: Vec<&Sample> = samples.iter().filter(|sample| sample.failure.is_some()).collect();
    let Some(first) = failed.first() else { return Ok(()) };
    let reason = first.failure.clone().unwrap_or_default();
    if failed.len() == samples.len() {
        let (count, id) = (samples.len(), first.id.clone());
        return Err(Error::NothingAnswered { count, id, reason });
    }
    tracing::warn!("{} of {} problems failed: {}: {reason}", failed.len(), samples.len(), first.id);
    Ok(())
}
