//! The tasks, each with the figures that its own scorers and filters measure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::super::chart::Table;
use super::super::format;
use crate::evaluation::Evaluation;
use crate::scores::TaskScores;

#[derive(Debug, Serialize)]
pub(super) struct TasksView {
    /// A table for each task: a row for each model.
    tables: Vec<Table>,
    /// Problems without a reply.
    failures: Option<Table>,
}

impl TasksView {
    /// `None` where no evaluation has tasks.
    pub(super) fn new(evaluations: &[&Evaluation]) -> Option<Self> {
        let names: BTreeSet<&str> = evaluations
            .iter()
            .flat_map(|evaluation| evaluation.tasks.iter().map(|task| task.task.as_str()))
            .collect();
        if names.is_empty() {
            return None;
        }
        Some(Self {
            tables: names.iter().map(|name| table(name, evaluations)).collect(),
            failures: failures(evaluations),
        })
    }
}

fn of<'a>(evaluation: &'a Evaluation, name: &str) -> Option<&'a TaskScores> {
    evaluation.tasks.iter().find(|task| task.task == name)
}

fn table(name: &str, evaluations: &[&Evaluation]) -> Table {
    let metrics: BTreeSet<&str> = evaluations
        .iter()
        .filter_map(|evaluation| of(evaluation, name))
        .flat_map(|task| task.metrics.keys().map(String::as_str))
        .collect();
    let mut table = Table::new(name, &["Model", "n", "accuracy"]);
    // A filter that is `none` says nothing.
    table.headings.extend(
        metrics.iter().map(|metric| metric.strip_suffix(",none").unwrap_or(metric).to_owned()),
    );
    table.headings.extend(["failed", "left out"].map(str::to_owned));
    for evaluation in evaluations {
        let Some(task) = of(evaluation, name) else { continue };
        let mut row = vec![
            evaluation.model.clone(),
            format::whole(task.scores.n as f64),
            format::rate(&task.scores.accuracy),
        ];
        row.extend(metrics.iter().map(|metric| {
            let found = task.metrics.get(*metric);
            found.map_or_else(|| "–".to_owned(), |found| format::estimate(metric, found))
        }));
        row.push(task.failures.values().sum::<u64>().to_string());
        row.push(task.skipped.to_string());
        table.rows.push(row);
    }
    table
}

fn failures(evaluations: &[&Evaluation]) -> Option<Table> {
    let mut table = Table::new(
        "Problems without a reply, which count as wrong",
        &["Model", "task", "reason", "problems"],
    );
    for evaluation in evaluations {
        for task in &evaluation.tasks {
            let failures: &BTreeMap<String, u64> = &task.failures;
            table.rows.extend(failures.iter().map(|(reason, count)| {
                vec![evaluation.model.clone(), task.task.clone(), reason.clone(), count.to_string()]
            }));
        }
    }
    (!table.rows.is_empty()).then_some(table)
}
