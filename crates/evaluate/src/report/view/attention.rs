//! Attention of models over the same problems, pooled by the steps of the chain: teacher
//! beside student.

use std::fmt::Write as _;

use serde::Serialize;

use super::super::Report;
use super::super::chart::Table;
use crate::attention::{AttentionMap, Heat};

/// Problems, heats of a map and tokens of a raw heat that are drawn: the page stays small.
const PROBLEMS: usize = 3;
const HEATS: usize = 12;
const RAW_TOKENS: usize = 160;
/// Shades of a heat; a cell of the lowest is left empty.
const SHADES: usize = 9;
/// Side of a pooled heat, in units of its drawing.
const SIDE: f64 = 100.0;

#[derive(Debug, Serialize)]
pub(super) struct AttentionView {
    problems: Vec<ProblemView>,
    /// Problems with maps that are not shown.
    left_out: usize,
}

#[derive(Debug, Serialize)]
struct ProblemView {
    id: String,
    maps: Vec<MapView>,
}

#[derive(Debug, Serialize)]
struct MapView {
    model: String,
    /// Prefix of the ids within.
    id: String,
    spans: Vec<SpanView>,
    heats: Vec<HeatView>,
}

#[derive(Debug, Serialize)]
struct SpanView {
    label: String,
    text: String,
    tokens: usize,
}

#[derive(Debug, Serialize)]
struct HeatView {
    id: String,
    /// `layer 2, head 3`, `layer 2, mean of all heads`.
    title: String,
    summary: String,
    cells: Vec<ShadeView>,
    labels: Vec<LabelView>,
    table: Table,
    raw: Option<RawView>,
}

/// All cells of one shade, as one path.
#[derive(Debug, Serialize)]
struct ShadeView {
    opacity: f64,
    path: String,
}

/// Names of rows, at their middle.
#[derive(Debug, Serialize)]
struct LabelView {
    at: f64,
    text: String,
}

#[derive(Debug, Serialize)]
struct RawView {
    tokens: usize,
    cells: Vec<ShadeView>,
}

impl AttentionView {
    /// `None` without maps. Problems that most models have maps of come first.
    pub(super) fn new(report: &Report) -> Option<Self> {
        let mut ids: Vec<(usize, &str)> = Vec::new();
        for map in report.models.iter().flat_map(|model| &model.attention) {
            match ids.iter_mut().find(|(_, id)| *id == map.id) {
                Some((count, _)) => *count += 1,
                None => ids.push((1, &map.id)),
            }
        }
        ids.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        let shown = ids.iter().take(PROBLEMS).enumerate();
        let problems: Vec<ProblemView> =
            shown.map(|(index, (_, id))| ProblemView::new(report, index, id)).collect();
        let left_out = ids.len().saturating_sub(PROBLEMS);
        (!problems.is_empty()).then_some(Self { problems, left_out })
    }
}

impl ProblemView {
    fn new(report: &Report, problem: usize, id: &str) -> Self {
        let maps = report
            .models
            .iter()
            .enumerate()
            .filter_map(|(index, model)| {
                let map = model.attention.iter().find(|map| map.id == id)?;
                let prefix = format!("attention-{problem}-{index}");
                Some(MapView::new(&model.evaluation.model, &prefix, map))
            })
            .collect();
        Self { id: id.to_owned(), maps }
    }
}

impl MapView {
    fn new(model: &str, id: &str, map: &AttentionMap) -> Self {
        let labels: Vec<&str> = map.spans.iter().map(|span| span.label.as_str()).collect();
        Self {
            model: model.to_owned(),
            id: id.to_owned(),
            spans: map
                .spans
                .iter()
                .map(|span| SpanView {
                    label: span.label.clone(),
                    text: span.text.clone(),
                    tokens: span.end.saturating_sub(span.start),
                })
                .collect(),
            heats: map
                .heats
                .iter()
                .take(HEATS)
                .enumerate()
                .map(|(index, heat)| {
                    let name = format!("{model}, problem {}", map.id);
                    HeatView::new(&format!("{id}-{index}"), &name, heat, &labels)
                })
                .collect(),
        }
    }
}

impl HeatView {
    fn new(id: &str, name: &str, heat: &Heat, labels: &[&str]) -> Self {
        let count = heat.pooled.len().max(1);
        let side = SIDE / count as f64;
        let title = match heat.head {
            Some(head) => format!("layer {}, head {head}", heat.layer),
            None => format!("layer {}, mean of all heads", heat.layer),
        };
        let mut table =
            Table::new(format!("Share of attention in per cent, {name}: {title}"), &["from \\ to"]);
        table.headings.extend(labels.iter().map(|&label| label.to_owned()));
        table.rows = heat
            .pooled
            .iter()
            .zip(labels)
            .map(|(row, label)| {
                let cells = row.iter().map(|share| format!("{:.0}", 100.0 * share));
                [(*label).to_owned()].into_iter().chain(cells).collect()
            })
            .collect();
        Self {
            id: id.to_owned(),
            title,
            summary: summary(&heat.pooled, labels),
            cells: shades(&heat.pooled, side),
            labels: labels
                .iter()
                .enumerate()
                .map(|(index, label)| LabelView {
                    at: (10.0 * side * (index as f64 + 0.5)).round() / 10.0,
                    text: (*label).to_owned(),
                })
                .collect(),
            table,
            raw: heat
                .raw
                .as_ref()
                .filter(|rows| rows.len() <= RAW_TOKENS)
                .map(|rows| RawView { tokens: rows.len(), cells: shades(rows, 1.0) }),
        }
    }
}

/// The cells of a heat by shade; the darkest is the highest share of all.
fn shades(rows: &[Vec<f32>], side: f64) -> Vec<ShadeView> {
    let highest = rows.iter().flatten().copied().fold(0.0_f32, f32::max);
    let mut paths = vec![String::new(); SHADES + 1];
    if highest <= 0.0 {
        return Vec::new();
    }
    for (row, shares) in rows.iter().enumerate() {
        for (column, share) in shares.iter().enumerate() {
            let shade = (share / highest * SHADES as f32).round() as usize;
            // Writing to a string does not fail.
            let _ = write!(
                paths[shade.min(SHADES)],
                "M{} {}h{s}v{s}h-{s}z",
                short(column as f64 * side),
                short(row as f64 * side),
                s = short(side)
            );
        }
    }
    paths
        .into_iter()
        .enumerate()
        .skip(1)
        .filter(|(_, path)| !path.is_empty())
        .map(|(shade, path)| ShadeView {
            opacity: (100.0 * shade as f64 / SHADES as f64).round() / 100.0,
            path,
        })
        .collect()
}

fn short(value: f64) -> f64 {
    (100.0 * value).round() / 100.0
}

/// Where each span but the first looks most, itself left out.
fn summary(rows: &[Vec<f32>], labels: &[&str]) -> String {
    let sentences: Vec<String> = rows
        .iter()
        .zip(labels)
        .enumerate()
        .skip(1)
        .filter_map(|(place, (row, label))| {
            let others = row.iter().enumerate().filter(|(other, _)| *other != place);
            let (most, share) = others.max_by(|left, right| left.1.total_cmp(right.1))?;
            Some(format!("{label} to {} ({:.0}%)", labels.get(most)?, 100.0 * share))
        })
        .collect();
    sentences.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_what_is_looked_at_beside_itself() {
        let rows = [vec![1.0, 0.0, 0.0], vec![0.3, 0.7, 0.0], vec![0.1, 0.2, 0.7]];
        assert_eq!(
            summary(&rows, &["question", "step 1", "answer"]),
            "step 1 to question (30%); answer to step 1 (20%)"
        );
    }

    #[test]
    fn cells_are_drawn_once_each_and_empty_ones_not_at_all() {
        let rows = [vec![1.0, 0.0], vec![0.5, 0.5]];
        let shades = shades(&rows, 50.0);
        let cells: usize = shades.iter().map(|shade| shade.path.matches('M').count()).sum();
        assert_eq!(cells, 3);
        assert!((shades[shades.len() - 1].opacity - 1.0).abs() < 1e-9);
        assert!(shades[shades.len() - 1].path.starts_with("M0 0h50"), "{shades:?}");
        assert!(super::shades(&[vec![0.0]], 1.0).is_empty());
    }
}
