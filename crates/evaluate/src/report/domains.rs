//! Adapters for domains: what each gained on its own problems, and what became of the
//! problems that its base was made for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::comparison::{self, Comparison};
use super::format;
use crate::columns;
use crate::evaluation::Evaluation;
use crate::statistics::{Estimate, Proportion};
use crate::{Error, Result};

/// Evaluations of a domain's folder: the base on its problems, the adapter on them, the
/// adapter on the base's own.
const BEFORE: &str = "before";
const AFTER: &str = "after";
const BASE_TASK: &str = "base-task";

pub(super) const HEADINGS: [&str; 6] = [
    "adapter",
    "its domain before",
    "with the adapter [95%]",
    "gain, points [95%]",
    "base task with the adapter",
    "change, points [95%]",
];

/// One adapter, held against its base problem by problem.
#[derive(Debug, Clone, Serialize)]
pub struct DomainAdapter {
    /// What its evaluation calls it.
    pub name: String,
    /// Accuracy of the base on the domain's problems.
    pub before: Proportion,
    /// Accuracy with the adapter on them.
    pub after: Proportion,
    /// The difference of the two.
    pub gain: Comparison,
    /// Accuracy with the adapter on the problems that the base was made for.
    pub base_task: Proportion,
    /// Its difference from the base's own accuracy on them.
    pub base_change: Comparison,
    /// What its domain's tasks measure beside accuracy, such as recall, by name.
    pub metrics: BTreeMap<String, Estimate>,
}

impl DomainAdapter {
    /// Reads a folder with the evaluations `before`, `after` and `base-task`; the base's own
    /// on its task is the one among `models` that `before` is named after.
    ///
    /// # Errors
    /// A missing or damaged evaluation; one of a base that is not among the models;
    /// evaluations without a problem in common.
    pub(super) fn read(folder: &Path, models: &[&Evaluation], seed: u64) -> Result<Self> {
        let before = Evaluation::read(&folder.join(BEFORE))?;
        let after = Evaluation::read(&folder.join(AFTER))?;
        let base_task = Evaluation::read(&folder.join(BASE_TASK))?;
        let base = models.iter().find(|model| model.model == before.model);
        let base = base.ok_or_else(|| Error::UnknownModel {
            name: before.model.clone(),
            known: models.iter().map(|model| model.model.clone()).collect(),
        })?;
        let compare = |first: &Evaluation, second: &Evaluation, which: &str| {
            comparison::compare(first, second, seed).ok_or_else(|| Error::Folder {
                path: folder.join(which),
                expected: format!("problems that {} answered too", second.model),
                found: "none".to_owned(),
            })
        };
        let metrics = after.tasks.iter().flat_map(|task| task.metrics.clone()).collect();
        Ok(Self {
            metrics,
            gain: compare(&after, &before, AFTER)?,
            base_change: compare(&base_task, base, BASE_TASK)?,
            before: before.overall.accuracy,
            after: after.overall.accuracy,
            base_task: base_task.overall.accuracy,
            name: after.model,
        })
    }

    pub(super) fn read_all(
        folders: &[PathBuf],
        models: &[&Evaluation],
        seed: u64,
    ) -> Result<Vec<Self>> {
        folders.iter().map(|folder| Self::read(folder, models, seed)).collect()
    }

    /// A row of the table under [`HEADINGS`].
    pub(super) fn row(&self) -> Vec<String> {
        let points = |comparison: &Comparison| {
            let accuracy = &comparison.accuracy;
            format::change(accuracy.difference, accuracy.low, accuracy.high)
        };
        vec![
            self.name.clone(),
            format::percent(self.before.value),
            format::rate(&self.after),
            points(&self.gain),
            format::percent(self.base_task.value),
            points(&self.base_change),
        ]
    }
}

impl DomainAdapter {
    /// Rows of a table with the columns adapter, figure, value with its interval, and n.
    pub(super) fn metric_rows(&self) -> impl Iterator<Item = Vec<String>> {
        self.metrics.iter().map(|(metric, estimate)| {
            let Estimate { value, low, high, n, .. } = estimate;
            vec![
                self.name.clone(),
                metric.strip_suffix(",none").unwrap_or(metric).to_owned(),
                format!("{value:.3} [{low:.3}–{high:.3}]"),
                n.to_string(),
            ]
        })
    }
}

/// The headings of [`DomainAdapter::metric_rows`].
pub(super) const METRIC_HEADINGS: [&str; 4] = ["adapter", "figure", "value [95%]", "n"];

/// The table for a terminal, with the tasks' own figures under it where there are any.
pub(super) fn text(adapters: &[DomainAdapter]) -> Vec<String> {
    let mut lines = columns::text(&HEADINGS.map(str::to_owned), &rows(adapters));
    let metrics: Vec<Vec<String>> = adapters.iter().flat_map(DomainAdapter::metric_rows).collect();
    if !metrics.is_empty() {
        lines.push(String::new());
        lines.extend(columns::text(&METRIC_HEADINGS.map(str::to_owned), &metrics));
    }
    lines
}

/// The table in Markdown.
pub(super) fn markdown(adapters: &[DomainAdapter]) -> Vec<String> {
    columns::markdown(&HEADINGS.map(str::to_owned), &rows(adapters))
}

fn rows(adapters: &[DomainAdapter]) -> Vec<Vec<String>> {
    adapters.iter().map(DomainAdapter::row).collect()
}
