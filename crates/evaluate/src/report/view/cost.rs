//! What models cost beside the first of the report, which is usually the teacher, and what
//! accuracy costs.

use serde::Serialize;

use super::super::chart::{Point, Scatter, Table, Words};
use super::super::format;
use crate::cost::Percentiles;
use crate::evaluation::Evaluation;

#[derive(Debug, Serialize)]
pub(super) struct CostView {
    /// The model that the others are held against.
    first: String,
    rows: Vec<CostRow>,
    loads: Option<Table>,
    scatters: Vec<Scatter>,
}

#[derive(Debug, Serialize)]
struct CostRow {
    name: String,
    parameters: Amount,
    active: String,
    trainable: String,
    operations: String,
    size: Amount,
    speed: Amount,
    memory: Amount,
    energy: String,
    tokens: String,
    seconds: String,
}

/// A value, and how it stands to the first model's.
#[derive(Debug, Serialize)]
struct Amount {
    value: String,
    ratio: String,
}

impl CostView {
    /// `None` without models.
    pub(super) fn new(evaluations: &[&Evaluation]) -> Option<Self> {
        let first = evaluations.first()?;
        Some(Self {
            first: first.model.clone(),
            rows: evaluations
                .iter()
                .enumerate()
                .map(|(index, evaluation)| CostRow::new(evaluation, (index > 0).then_some(*first)))
                .collect(),
            loads: loads(evaluations),
            scatters: scatters(evaluations),
        })
    }
}

impl CostRow {
    fn new(evaluation: &Evaluation, first: Option<&Evaluation>) -> Self {
        let cost = &evaluation.cost;
        let theirs = first.map(|first| &first.cost);
        let share = |ours: f64, theirs: Option<f64>| match theirs {
            Some(theirs) if theirs > 0.0 => format::percent(ours / theirs),
            _ => String::new(),
        };
        Self {
            name: evaluation.model.clone(),
            parameters: Amount {
                value: format::count(cost.parameters),
                ratio: share(cost.parameters as f64, theirs.map(|cost| cost.parameters as f64)),
            },
            active: match cost.active_parameters {
                0 => "–".to_owned(),
                count => format::count(count),
            },
            trainable: cost.trainable_parameters.map_or_else(|| "–".to_owned(), format::count),
            operations: format::operations(cost.flops_per_token),
            size: Amount {
                value: format::bytes(cost.weight_bytes),
                ratio: share(cost.weight_bytes as f64, theirs.map(|cost| cost.weight_bytes as f64)),
            },
            speed: Amount {
                value: format::whole(cost.tokens_per_second),
                ratio: match theirs.map(|cost| cost.tokens_per_second) {
                    Some(theirs) if theirs > 0.0 => {
                        format!("{:.1} times", cost.tokens_per_second / theirs)
                    }
                    _ => String::new(),
                },
            },
            memory: Amount {
                value: cost.peak_memory_bytes.map_or_else(|| "–".to_owned(), format::bytes),
                ratio: cost.peak_memory_bytes.map_or_else(String::new, |ours| {
                    let theirs = theirs.and_then(|cost| cost.peak_memory_bytes);
                    share(ours as f64, theirs.map(|bytes| bytes as f64))
                }),
            },
            energy: cost.energy.as_ref().map_or_else(
                || "not available".to_owned(),
                |energy| {
                    let (joules, source) = (1000.0 * energy.joules_per_token, &energy.source);
                    format!("{joules:.2} mJ a token ({source})")
                },
            ),
            tokens: format!(
                "{} + {}",
                format::whole(cost.prompt_tokens as f64),
                format::whole(cost.generated_tokens as f64)
            ),
            seconds: format::seconds(cost.seconds),
        }
    }
}

/// Latency and throughput by requests at a time.
fn loads(evaluations: &[&Evaluation]) -> Option<Table> {
    let mut table = Table::new(
        "By requests at a time. First token: from a request’s beginning to its first token. Per \
         token: between a reply’s tokens after the first. Each: median / 95% / 99% of requests.",
        &["Model", "batch", "requests", "tokens/s", "first token", "per token", "whole reply"],
    );
    let times =
        |times: &Percentiles| [times.p50, times.p95, times.p99].map(format::short_time).join(" / ");
    for evaluation in evaluations {
        table.rows.extend(evaluation.cost.loads.iter().map(|load| {
            vec![
                evaluation.model.clone(),
                load.batch.to_string(),
                load.requests.to_string(),
                format::whole(load.tokens_per_second),
                times(&load.time_to_first_token),
                times(&load.time_per_output_token),
                times(&load.latency),
            ]
        }));
    }
    (!table.rows.is_empty()).then_some(table)
}

fn scatters(evaluations: &[&Evaluation]) -> Vec<Scatter> {
    let points = |x: &dyn Fn(&Evaluation) -> f64, words: &dyn Fn(f64) -> String| -> Vec<Point> {
        evaluations
            .iter()
            .map(|evaluation| {
                let accuracy = &evaluation.overall.accuracy;
                Point {
                    name: evaluation.model.clone(),
                    detail: format!("{}, {}", format::rate(accuracy), words(x(evaluation))),
                    x: x(evaluation),
                    value: accuracy.value,
                    low: accuracy.low,
                    high: accuracy.high,
                }
            })
            .collect()
    };
    let bytes = |value: f64| format::bytes(value as u64);
    let speed = |value: f64| format!("{}/s", format::whole(value));
    let percent = |value: f64| format::whole_percent(value);
    let size = |evaluation: &Evaluation| evaluation.cost.weight_bytes as f64;
    let rate = |evaluation: &Evaluation| evaluation.cost.tokens_per_second;
    [
        Scatter::new(
            Words::new(
                "accuracy-size",
                "Accuracy against size",
                "Bytes of the weight files from left to right; lines: 95% Wilson interval of \
                 accuracy. Better is up and left.",
            ),
            &points(&size, &bytes),
            bytes,
            percent,
        ),
        Scatter::new(
            Words::new(
                "accuracy-speed",
                "Accuracy against speed",
                "Generated tokens a second at the batch of the evaluation from left to right; \
                 lines: 95% Wilson interval of accuracy. Better is up and right.",
            ),
            &points(&rate, &|value| format!("{} tokens/s", format::whole(value))),
            speed,
            percent,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}
