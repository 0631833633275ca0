//! Two runs side by side: what became of each model from one to the other, which problems were
//! fixed and which broke.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::comparison::{self, Comparison};
use super::view::{RunView, render_runs};
use super::{Model, format, runs};
use crate::columns;
use crate::folder::write_json;
use crate::{Error, Result};

/// What changed from one run to another.
#[derive(Debug, Serialize)]
pub struct RunComparison {
    /// The run that changes are from.
    pub first: String,
    /// The run that is held against it.
    pub second: String,
    /// The models of both, in the order of the default pipeline.
    pub changes: Vec<ModelChange>,
    /// Models of the first run alone.
    pub only_first: Vec<String>,
    /// Models of the second run alone.
    pub only_second: Vec<String>,
}

/// What became of a model.
#[derive(Debug, Serialize)]
pub struct ModelChange {
    /// Its name in both runs.
    pub model: String,
    /// The second run's model against the first's, on the problems of both.
    pub comparison: Comparison,
    /// Problems of the first run that the second lacks, and the other way round.
    pub unpaired: [usize; 2],
    /// Figures of quality and cost: in the first run, in the second.
    pub figures: BTreeMap<String, [Option<f64>; 2]>,
    /// Problems that only the second run solves.
    pub fixed: Vec<String>,
    /// Problems that only the first run solves.
    pub broken: Vec<String>,
    /// The evaluations, for what is shown of them.
    #[serde(skip)]
    pub(super) models: [Model; 2],
}

impl RunComparison {
    /// Reads two folders of runs, or of evaluations; the single models of two folders are
    /// paired whatever their names.
    ///
    /// # Errors
    /// A folder without evaluations, damaged files, no model in common, no problem in common.
    pub fn read(first: &Path, second: &Path, seed: u64) -> Result<Self> {
        let (mut firsts, mut seconds) = (runs::models(first)?, runs::models(second)?);
        if let ([one], [other]) = (&mut firsts[..], &mut seconds[..])
            && one.evaluation.model != other.evaluation.model
        {
            let name = format!("{} → {}", one.evaluation.model, other.evaluation.model);
            one.evaluation.model.clone_from(&name);
            other.evaluation.model = name;
        }
        let names = |models: &[Model]| -> Vec<String> {
            models.iter().map(|model| model.evaluation.model.clone()).collect()
        };
        let (first_names, second_names) = (names(&firsts), names(&seconds));
        let mut changes = Vec::new();
        for before in firsts {
            let name = &before.evaluation.model;
            let Some(place) = seconds.iter().position(|model| model.evaluation.model == *name)
            else {
                continue;
            };
            let after = seconds.remove(place);
            changes.push(ModelChange::new(before, after, seed)?);
        }
        if changes.is_empty() {
            return Err(Error::NoCommonModel {
                first: first.to_owned(),
                first_models: first_names,
                second: second.to_owned(),
                second_models: second_names,
            });
        }
        let mut comparisons: Vec<&mut Comparison> =
            changes.iter_mut().map(|change| &mut change.comparison).collect();
        comparison::adjust(&mut comparisons);
        let only = |names: Vec<String>, others: &[String]| {
            names.into_iter().filter(|name| !others.contains(name)).collect()
        };
        let (mut first, mut second) = (runs::name(first), runs::name(second));
        if first == second {
            first.push_str(" (first)");
            second.push_str(" (second)");
        }
        Ok(Self {
            first,
            second,
            changes,
            only_first: only(first_names.clone(), &second_names),
            only_second: only(second_names, &first_names),
        })
    }

    /// The table for a terminal.
    pub fn table(&self) -> String {
        let mut lines = vec![format!("{} against {}", self.second, self.first), String::new()];
        let (headings, rows) = self.cells();
        lines.extend(columns::text(&headings, &rows));
        lines.extend(self.unpaired());
        lines.push(String::new());
        lines.join("\n")
    }

    /// The same in Markdown.
    pub fn markdown(&self) -> String {
        let mut lines = vec![format!("## {} against {}", self.second, self.first), String::new()];
        let (headings, rows) = self.cells();
        lines.extend(columns::markdown(&headings, &rows));
        lines.push(String::new());
        lines.push(
            "Change: paired by problem, with the 95% bootstrap interval in points; p: McNemar’s, \
             corrected for the number of models (Holm)."
                .to_owned(),
        );
        lines.extend(self.unpaired().into_iter().map(|line| format!("\n{line}")));
        lines.push(String::new());
        lines.join("\n")
    }

    /// Writes `report.json`, `table.txt`, `summary.md` and `report.html` into a folder that
    /// exists.
    ///
    /// # Errors
    /// Write errors.
    pub fn write(&self, folder: &Path) -> Result<()> {
        write_json(&folder.join("report.json"), self)?;
        let files = [
            ("table.txt", self.table()),
            ("summary.md", self.markdown()),
            ("report.html", render_runs(&RunView::new(self))?),
        ];
        for (name, content) in files {
            limbeck_run::write_file(&folder.join(name), content.as_bytes())?;
        }
        Ok(())
    }

    fn cells(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let headings =
            ["model", "before", "after", "change [95%]", "p", "n", "fixed", "broken", "conclusion"];
        let rows = self
            .changes
            .iter()
            .map(|change| {
                let accuracy = &change.comparison.accuracy;
                let [before, after] = change.shared_accuracy();
                vec![
                    change.model.clone(),
                    format::percent(before),
                    format::percent(after),
                    format::change(accuracy.difference, accuracy.low, accuracy.high),
                    format::p_value(change.comparison.adjusted_p_value),
                    accuracy.n.to_string(),
                    change.fixed.len().to_string(),
                    change.broken.len().to_string(),
                    change.comparison.conclusion.to_string(),
                ]
            })
            .collect();
        (headings.map(str::to_owned).to_vec(), rows)
    }

    /// What could not be paired.
    pub(super) fn unpaired(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (run, models) in [(&self.first, &self.only_first), (&self.second, &self.only_second)] {
            if !models.is_empty() {
                lines.push(format!("Only in {run}: {}.", models.join(", ")));
            }
        }
        for change in &self.changes {
            let [first, second] = change.unpaired;
            if first + second > 0 {
                lines.push(format!(
                    "{}: {} problems are in both runs; {first} only in {}, {second} only in {}.",
                    change.model, change.comparison.accuracy.n, self.first, self.second
                ));
            }
        }
        lines
    }
}

impl ModelChange {
    fn new(before: Model, after: Model, seed: u64) -> Result<Self> {
        let (first, second) = (&before.evaluation, &after.evaluation);
        let comparison =
            comparison::compare(second, first, seed).ok_or_else(|| Error::NoCommonProblem {
                model: first.model.clone(),
                first: first.samples.len(),
                second: second.samples.len(),
            })?;
        let pairs = comparison::pairs(second, first);
        let changed = |fixed: bool| -> Vec<String> {
            pairs
                .iter()
                .filter(|(after, before)| after.correct == fixed && before.correct != fixed)
                .map(|(after, _)| after.id.clone())
                .collect()
        };
        let firsts = |model: &Model| {
            model.evaluation.samples.iter().filter(|sample| sample.repeat == 0).count()
        };
        Ok(Self {
            model: first.model.clone(),
            unpaired: [firsts(&before) - pairs.len(), firsts(&after) - pairs.len()],
            figures: figures(&before, &after),
            fixed: changed(true),
            broken: changed(false),
            comparison,
            models: [before, after],
        })
    }

    /// Accuracies on the problems of both runs.
    pub(super) fn shared_accuracy(&self) -> [f64; 2] {
        let pairs = comparison::pairs(&self.models[1].evaluation, &self.models[0].evaluation);
        let n = pairs.len().max(1) as f64;
        let before = pairs.iter().filter(|(_, before)| before.correct).count() as f64;
        let after = pairs.iter().filter(|(after, _)| after.correct).count() as f64;
        [before / n, after / n]
    }
}

fn figures(before: &Model, after: &Model) -> BTreeMap<String, [Option<f64>; 2]> {
    type Figure = fn(&Model) -> Option<f64>;
    let one =
        |model: &Model| model.evaluation.cost.loads.iter().find(|load| load.batch == 1).cloned();
    let mut figures: BTreeMap<String, [Option<f64>; 2]> = BTreeMap::new();
    let single: [(&str, Figure); 10] = [
        ("accuracy", |model| Some(model.evaluation.overall.accuracy.value)),
        ("completion", |model| Some(model.evaluation.overall.cot_completion.value)),
        ("truncation", |model| Some(model.evaluation.overall.truncation.value)),
        ("step_validity", |model| {
            let validity = model.chains.step_validity;
            (validity.n > 0).then_some(validity.value)
        }),
        ("consistency", |model| {
            let consistency = model.chains.consistency;
            (consistency.n > 0).then_some(consistency.value)
        }),
        ("mean_reply_tokens", |model| Some(model.evaluation.overall.mean_reply_tokens)),
        ("weight_bytes", |model| Some(model.evaluation.cost.weight_bytes as f64)),
        ("tokens_per_second", |model| Some(model.evaluation.cost.tokens_per_second)),
        ("peak_memory_bytes", |model| {
            model.evaluation.cost.peak_memory_bytes.map(|bytes| bytes as f64)
        }),
        ("joules_per_token", |model| {
            model.evaluation.cost.energy.as_ref().map(|energy| energy.joules_per_token)
        }),
    ];
    for (name, figure) in single {
        figures.insert(name.to_owned(), [figure(before), figure(after)]);
    }
    let times = [one(before), one(after)];
    let of = |which: fn(&crate::cost::Load) -> f64| {
        times.each_ref().map(|load| load.as_ref().map(which))
    };
    figures.insert("time_to_first_token".to_owned(), of(|load| load.time_to_first_token.p50));
    figures.insert("time_per_output_token".to_owned(), of(|load| load.time_per_output_token.p50));
    figures
}
