//! Evaluations held against thresholds.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::advice;
use super::config::{GatesConfig, Rule, Thresholds};
use crate::evaluation::Evaluation;
use crate::report::comparison;
use crate::sample::Sample;
use crate::statistics::{PairedDifference, Proportion};
use crate::{Error, Result};

/// What subtracting two rates may add, in points.
const ROUNDING: f64 = 1e-9;

/// A figure held against its limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The model.
    pub model: String,
    /// The threshold's key.
    pub key: String,
    /// What was measured: points of 100, seconds, tokens a second or bytes; `None` where it was
    /// not, which does not pass.
    pub found: Option<f64>,
    /// The 95% interval, of rates and drops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<[f64; 2]>,
    /// Problems that it was measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// The model that a drop is from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The threshold.
    pub limit: f64,
    /// Whether it is kept.
    pub passed: bool,
}

/// All gates of a run, as `gates.json` holds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gates {
    /// When a limit counts as broken.
    pub rule: Rule,
    /// Whether all limits are kept.
    pub passed: bool,
    /// Each figure that has a limit.
    pub held: Vec<Held>,
}

impl Gates {
    /// The file's name.
    pub const FILE: &str = "gates.json";

    /// Holds evaluations against the configuration's limits. Drops are from the model that the
    /// limits name, among the references and the evaluations, or else from the first reference.
    ///
    /// # Errors
    /// A limit on a drop without a reference, or from one that was not evaluated or has no
    /// problem in common; a table of a model that was not evaluated.
    pub fn hold(
        evaluations: &[Evaluation],
        references: &[Evaluation],
        config: &GatesConfig,
        seed: u64,
    ) -> Result<Self> {
        let known = || evaluations.iter().chain(references).map(|one| one.model.clone()).collect();
        let unknown = |name: &str| Error::UnknownModel { name: name.to_owned(), known: known() };
        if let Some(name) = config
            .models
            .keys()
            .find(|name| !evaluations.iter().any(|evaluation| evaluation.model == **name))
        {
            return Err(unknown(name));
        }
        let mut held = Vec::new();
        for evaluation in evaluations {
            let thresholds = config.of(&evaluation.model);
            let reference = match &thresholds.reference {
                Some(name) => Some(
                    references
                        .iter()
                        .chain(evaluations)
                        .find(|reference| reference.model == *name)
                        .ok_or_else(|| unknown(name))?,
                ),
                None => references.first(),
            };
            held.extend(drops(evaluation, reference, thresholds, config.rule, seed)?);
            held.extend(rates(evaluation, thresholds, config.rule));
            held.extend(amounts(evaluation, thresholds));
        }
        let passed = held.iter().all(|held| held.passed);
        Ok(Self { rule: config.rule, passed, held })
    }

    /// The limits that are broken.
    pub fn failures(&self) -> Vec<&Held> {
        self.held.iter().filter(|held| !held.passed).collect()
    }

    /// The error that says which limits are broken and how to go on; `last_good` is where the
    /// last result stands that kept them. `Ok` where all are kept.
    ///
    /// # Errors
    /// [`Error::Gates`].
    pub fn require(&self, last_good: Option<&std::path::Path>) -> Result<()> {
        let failures = self.failures();
        if failures.is_empty() {
            return Ok(());
        }
        Err(Error::Gates {
            hint: advice::of(&failures, last_good),
            failures: failures.iter().map(ToString::to_string).collect(),
            total: self.held.len(),
        })
    }
}

fn drops(
    evaluation: &Evaluation,
    reference: Option<&Evaluation>,
    thresholds: &Thresholds,
    rule: Rule,
    seed: u64,
) -> Result<Vec<Held>> {
    type Outcome = fn(&Sample) -> bool;
    let limits: [(&str, Option<f64>, Outcome); 2] = [
        ("max_accuracy_drop", thresholds.max_accuracy_drop, |sample| sample.correct),
        ("max_completion_drop", thresholds.max_completion_drop, |sample| sample.complete),
    ];
    let mut held = Vec::new();
    for (key, limit, outcome) in limits {
        let Some(limit) = limit else { continue };
        let reference = reference.ok_or_else(|| Error::GateReference {
            model: evaluation.model.clone(),
            key,
            found: "no reference".to_owned(),
        })?;
        // A reference is not held against itself.
        if reference.model == evaluation.model {
            continue;
        }
        let pairs = comparison::pairs(reference, evaluation);
        if pairs.is_empty() {
            return Err(Error::GateReference {
                model: evaluation.model.clone(),
                key,
                found: format!("no problem in common with {}", reference.model),
            });
        }
        let text = |sample: &Sample| key != "max_completion_drop" || sample.rated.is_none();
        let outcomes: Vec<(bool, bool)> = pairs
            .iter()
            .filter(|(before, after)| text(before) && text(after))
            .map(|(before, after)| (outcome(before), outcome(after)))
            .collect();
        let PairedDifference { n, difference, low, high, .. } =
            PairedDifference::new(&outcomes, seed);
        let drop = 100.0 * difference;
        let broken = drop > limit + ROUNDING && (rule == Rule::Value || low > 0.0);
        held.push(Held {
            model: evaluation.model.clone(),
            key: key.to_owned(),
            found: Some(drop),
            interval: Some([100.0 * low, 100.0 * high]),
            n: Some(n),
            reference: Some(reference.model.clone()),
            limit,
            passed: !broken,
        });
    }
    Ok(held)
}

fn rates(evaluation: &Evaluation, thresholds: &Thresholds, rule: Rule) -> Vec<Held> {
    let overall = &evaluation.overall;
    let limits: [(&str, Option<f64>, &Proportion, bool); 3] = [
        ("min_accuracy", thresholds.min_accuracy, &overall.accuracy, true),
        ("min_completion", thresholds.min_completion, &overall.cot_completion, true),
        ("max_truncation", thresholds.max_truncation, &overall.truncation, false),
    ];
    limits
        .into_iter()
        .filter_map(|(key, limit, rate, least)| {
            let limit = limit?;
            let Proportion { value, low, high, n, .. } = *rate;
            let found = match (rule, least) {
                (Rule::Value, _) => value,
                (Rule::Shown, true) => high,
                (Rule::Shown, false) => low,
            };
            let beyond = if least { limit - 100.0 * found } else { 100.0 * found - limit };
            Some(Held {
                model: evaluation.model.clone(),
                key: key.to_owned(),
                found: Some(100.0 * value),
                interval: Some([100.0 * low, 100.0 * high]),
                n: Some(n),
                reference: None,
                limit,
                passed: beyond <= ROUNDING,
            })
        })
        .collect()
}

fn amounts(evaluation: &Evaluation, thresholds: &Thresholds) -> Vec<Held> {
    let cost = &evaluation.cost;
    let one = cost.loads.iter().find(|load| load.batch == 1);
    let bytes = |limit: Option<u64>| limit.map(|bytes| bytes as f64);
    let limits = [
        (
            "max_time_to_first_token",
            thresholds.max_time_to_first_token,
            one.map(|load| load.time_to_first_token.p95),
            false,
        ),
        (
            "max_time_per_output_token",
            thresholds.max_time_per_output_token,
            one.map(|load| load.time_per_output_token.p95),
            false,
        ),
        (
            "min_tokens_per_second",
            thresholds.min_tokens_per_second,
            Some(cost.tokens_per_second),
            true,
        ),
        (
            "max_memory_bytes",
            bytes(thresholds.max_memory_bytes),
            bytes(cost.peak_memory_bytes),
            false,
        ),
        (
            "max_weight_bytes",
            bytes(thresholds.max_weight_bytes),
            Some(cost.weight_bytes as f64),
            false,
        ),
    ];
    limits
        .into_iter()
        .filter_map(|(key, limit, found, least)| {
            let limit = limit?;
            let kept = |found: f64| if least { found >= limit } else { found <= limit };
            Some(Held {
                model: evaluation.model.clone(),
                key: key.to_owned(),
                found,
                interval: None,
                n: None,
                reference: None,
                limit,
                // What a limit is on must be measured.
                passed: found.is_some_and(kept),
            })
        })
        .collect()
}

impl fmt::Display for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, key, found, interval, n, reference, limit, .. } = self;
        write!(formatter, "{model}: {key} {limit}")?;
        let Some(found) = found else {
            return formatter.write_str(", which was not measured");
        };
        let found = match key.as_str() {
            "max_memory_bytes" | "max_weight_bytes" => format!("{found:.0}"),
            "max_time_to_first_token" | "max_time_per_output_token" => format!("{found:.4}"),
            _ => format!("{found:.1}"),
        };
        write!(formatter, ", found {found}")?;
        if let Some([low, high]) = interval {
            write!(formatter, " [{low:.1} to {high:.1}]")?;
        }
        if let Some(reference) = reference {
            write!(formatter, " below {reference}")?;
        }
        match n {
            Some(n) => write!(formatter, " (n = {n})"),
            None => Ok(()),
        }
    }
}
