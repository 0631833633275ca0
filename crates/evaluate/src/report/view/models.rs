//! The models: their table, the bars of their accuracies and the heat tables by family and
//! level.

use serde::Serialize;

use super::super::format;
use crate::evaluation::Evaluation;
use crate::scores::Scores;
use crate::statistics::Proportion;

#[derive(Debug, Serialize)]
pub(super) struct ModelsView {
    rows: Vec<ModelView>,
    /// Columns of the heat tables.
    levels: Vec<u8>,
    diverged: bool,
}

#[derive(Debug, Serialize)]
struct ModelView {
    name: String,
    accuracy: Rate,
    cot_completion: Rate,
    divergence: Option<String>,
    truncation: Rate,
    unanswered: Rate,
    reply_tokens: String,
    parameters: String,
    size: String,
    speed: String,
    memory: String,
    heat: Vec<HeatRow>,
}

/// A proportion as text, and as per cent for the chart.
#[derive(Debug, Serialize)]
struct Rate {
    percent: String,
    interval: String,
    n: u64,
    width: f64,
    low: f64,
    high: f64,
}

/// A family's cells: one for each level, then all levels together.
#[derive(Debug, Serialize)]
struct HeatRow {
    family: String,
    cells: Vec<Option<HeatCell>>,
}

/// A proportion where room is short, with its share of the full colour.
#[derive(Debug, Serialize)]
struct HeatCell {
    percent: String,
    interval: String,
    n: u64,
    share: f64,
}

impl ModelsView {
    pub(super) fn new(evaluations: &[&Evaluation], levels: Vec<u8>) -> Self {
        Self {
            rows: evaluations.iter().map(|model| ModelView::new(model, &levels)).collect(),
            diverged: evaluations.iter().any(|model| model.divergence.is_some()),
            levels,
        }
    }
}

impl ModelView {
    fn new(evaluation: &Evaluation, levels: &[u8]) -> Self {
        let Evaluation { model, overall, cost, divergence, .. } = evaluation;
        Self {
            name: model.clone(),
            accuracy: Rate::new(&overall.accuracy),
            cot_completion: Rate::new(&overall.cot_completion),
            divergence: divergence.as_ref().map(format::divergence),
            truncation: Rate::new(&overall.truncation),
            unanswered: Rate::new(&overall.unanswered),
            reply_tokens: format::whole(overall.mean_reply_tokens),
            parameters: format::count(cost.parameters),
            size: format::bytes(cost.weight_bytes),
            speed: format::whole(cost.tokens_per_second),
            memory: cost.peak_memory_bytes.map_or_else(|| "–".to_owned(), format::bytes),
            heat: heat(evaluation, levels),
        }
    }
}

fn heat(evaluation: &Evaluation, levels: &[u8]) -> Vec<HeatRow> {
    let scores = |family: &str, level: Option<u8>| -> Option<&Scores> {
        let mut groups = evaluation.groups.iter();
        let found = groups.find(|group| group.family == family && group.level == level)?;
        Some(&found.scores)
    };
    let columns = || levels.iter().map(|&level| Some(level)).chain([None]);
    evaluation
        .groups
        .iter()
        .filter(|group| group.level.is_none())
        .map(|group| HeatRow {
            family: group.family.clone(),
            cells: columns()
                .map(|level| {
                    scores(&group.family, level).map(|scores| HeatCell::new(&scores.accuracy))
                })
                .collect(),
        })
        .collect()
}

impl Rate {
    fn new(proportion: &Proportion) -> Self {
        let percent = |value: f64| (1000.0 * value).round() / 10.0;
        let none = proportion.n == 0;
        Self {
            percent: if none { "–".to_owned() } else { format::percent(proportion.value) },
            interval: if none { String::new() } else { format::interval(proportion) },
            n: proportion.n,
            width: percent(proportion.value),
            low: percent(proportion.low),
            high: percent(proportion.high),
        }
    }
}

impl HeatCell {
    fn new(proportion: &Proportion) -> Self {
        Self {
            percent: format::whole_percent(proportion.value),
            interval: format::whole_interval(proportion),
            n: proportion.n,
            // Squared, as most cells of a useful model lie in the upper half.
            share: (100.0 * proportion.value.powi(2)).round() / 100.0,
        }
    }
}

/// How replies were generated, if all models agree on it.
pub(super) fn generation(evaluations: &[&Evaluation]) -> String {
    let words = |evaluation: &Evaluation| {
        let config = &evaluation.config;
        let choice = if config.temperature == 0.0 {
            "greedy decoding".to_owned()
        } else {
            format!(
                "sampling at temperature {}, top-p {}, seed {}",
                config.temperature, config.top_p, config.seed
            )
        };
        format!("{choice}, at most {} new tokens", config.max_new_tokens)
    };
    let mut evaluations = evaluations.iter();
    let first = evaluations.next().map(|evaluation| words(evaluation)).unwrap_or_default();
    if evaluations.all(|evaluation| words(evaluation) == first) {
        first
    } else {
        "settings of generation differ between the models: see each evaluation.json".to_owned()
    }
}
