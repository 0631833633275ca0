//! What models cost beside the first of the report, which is usually the teacher.

use serde::Serialize;

use super::format;
use crate::evaluation::Evaluation;

#[derive(Debug, Serialize)]
pub(super) struct CostView {
    /// The model that the others are held against.
    first: String,
    rows: Vec<CostRow>,
}

#[derive(Debug, Serialize)]
struct CostRow {
    name: String,
    parameters: Amount,
    size: Amount,
    speed: Amount,
    memory: Amount,
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
        let rows = evaluations
            .iter()
            .enumerate()
            .map(|(index, evaluation)| {
                let (ours, theirs) = (&evaluation.cost, &first.cost);
                let share = |ours: f64, theirs: f64| {
                    let shown = index > 0 && theirs > 0.0;
                    if shown { format::percent(ours / theirs) } else { String::new() }
                };
                let times = |ours: f64, theirs: f64| {
                    let shown = index > 0 && theirs > 0.0;
                    if shown { format!("{:.1} times", ours / theirs) } else { String::new() }
                };
                CostRow {
                    name: evaluation.model.clone(),
                    parameters: Amount {
                        value: format::count(ours.parameters),
                        ratio: share(ours.parameters as f64, theirs.parameters as f64),
                    },
                    size: Amount {
                        value: format::bytes(ours.weight_bytes),
                        ratio: share(ours.weight_bytes as f64, theirs.weight_bytes as f64),
                    },
                    speed: Amount {
                        value: format::whole(ours.tokens_per_second),
                        ratio: times(ours.tokens_per_second, theirs.tokens_per_second),
                    },
                    memory: Amount {
                        value: ours.peak_memory_bytes.map_or_else(|| "–".to_owned(), format::bytes),
                        ratio: match (ours.peak_memory_bytes, theirs.peak_memory_bytes) {
                            (Some(ours), Some(theirs)) => share(ours as f64, theirs as f64),
                            _ => String::new(),
                        },
                    },
                    tokens: format!(
                        "{} + {}",
                        format::whole(ours.prompt_tokens as f64),
                        format::whole(ours.generated_tokens as f64)
                    ),
                    seconds: format::seconds(ours.seconds),
                }
            })
            .collect();
        Some(Self { first: first.model.clone(), rows })
    }
}
