//! Lines over the runs of a history.

use serde::Serialize;

use super::super::axis::Axis;
use super::{Table, Tick, Words, rounded};

/// Lines over the runs of a history.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Trend {
    pub(crate) words: Words,
    pub(crate) height: f64,
    pub(crate) x: Vec<Tick>,
    pub(crate) y: Vec<Tick>,
    pub(crate) lines: Vec<TrendLine>,
    pub(crate) table: Table,
}

/// A model's line; points are thousandths of the field.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TrendLine {
    pub(crate) name: String,
    /// Which of the styles, from 0.
    pub(crate) style: usize,
    pub(crate) last: String,
    pub(crate) points: String,
    pub(crate) dots: Vec<TrendDot>,
}

/// Places: per cent of the width, pixels from the top.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TrendDot {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) interval: Option<[f64; 2]>,
    pub(crate) label: String,
}

/// A value of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrendPoint {
    /// The run's place among all.
    pub(crate) place: usize,
    pub(crate) value: f64,
    pub(crate) interval: Option<[f64; 2]>,
}

impl Trend {
    const HEIGHT: f64 = 200.0;
    /// Styles that lines have, by turns.
    const STYLES: usize = 8;

    /// Lines by name over the runs; `None` where no line has a value.
    pub(crate) fn new(
        words: Words,
        runs: &[String],
        lines: &[(String, Vec<TrendPoint>)],
        label: impl Fn(f64) -> String,
    ) -> Option<Self> {
        let values = || {
            lines.iter().flat_map(|(_, points)| points).flat_map(|point| {
                let [low, high] = point.interval.unwrap_or([point.value; 2]);
                [low, high]
            })
        };
        let low = values().fold(f64::INFINITY, f64::min);
        let high = values().fold(f64::NEG_INFINITY, f64::max);
        if !low.is_finite() || !high.is_finite() {
            return None;
        }
        let axis = Axis::new(low, high);
        let last = runs.len().saturating_sub(1);
        let across = |place: usize| match last {
            0 => 50.0,
            last => rounded(4.0 + 92.0 * place as f64 / last as f64),
        };
        let down = |value: f64| rounded(Self::HEIGHT * axis.place(value));
        let mut headings = vec!["Run".to_owned()];
        headings.extend(lines.iter().map(|(name, _)| name.clone()));
        let at = |points: &[TrendPoint], place: usize| {
            points.iter().rfind(|point| point.place == place).copied()
        };
        let rows = runs
            .iter()
            .enumerate()
            .map(|(place, run)| {
                let cells = lines.iter().map(|(_, points)| {
                    at(points, place).map_or_else(|| "–".to_owned(), |point| label(point.value))
                });
                [run.clone()].into_iter().chain(cells).collect()
            })
            .collect();
        let drawn = lines
            .iter()
            .enumerate()
            .filter(|(_, (_, points))| !points.is_empty())
            .map(|(index, (name, points))| TrendLine {
                name: name.clone(),
                style: index % Self::STYLES,
                last: points.last().map_or_else(String::new, |point| label(point.value)),
                points: points
                    .iter()
                    .map(|point| {
                        let y = 1000.0 * axis.place(point.value);
                        format!("{:.1},{y:.1}", 10.0 * across(point.place))
                    })
                    .collect::<Vec<_>>()
                    .join(" "),
                dots: points
                    .iter()
                    .map(|point| TrendDot {
                        x: across(point.place),
                        y: down(point.value),
                        interval: point.interval.map(|interval| interval.map(down)),
                        label: format!("{name}, {}: {}", runs[point.place], label(point.value)),
                    })
                    .collect(),
            })
            .collect();
        Some(Self {
            table: Table { caption: words.title.clone(), headings, rows },
            words,
            height: Self::HEIGHT,
            x: (0..runs.len())
                .filter(|place| last < 12 || place % last.div_ceil(8) == 0)
                .map(|place| Tick { at: across(place), label: (place + 1).to_string() })
                .collect(),
            y: axis
                .ticks()
                .into_iter()
                .map(|tick| Tick { at: down(tick), label: label(tick) })
                .collect(),
            lines: drawn,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_their_runs_places_and_the_table_says_what_is_missing() {
        let point = |place: usize, value: f64| TrendPoint { place, value, interval: None };
        let lines = [
            ("a".to_owned(), vec![point(0, 1.0), point(2, 2.0)]),
            ("b".to_owned(), vec![point(1, 1.5)]),
            ("c".to_owned(), vec![]),
        ];
        let runs = ["x", "y", "z"].map(str::to_owned);
        let trend =
            Trend::new(Words::new("t", "T", ""), &runs, &lines, |value| format!("{value:.1}"))
                .unwrap();
        assert_eq!(trend.lines.len(), 2, "a line without values is not drawn");
        let dots = &trend.lines[0].dots;
        assert!(dots[0].x < 5.0 && dots[1].x > 95.0 && dots[1].y < dots[0].y);
        assert_eq!(trend.table.rows[1], ["y", "–", "1.5", "–"]);
        let none = Trend::new(Words::new("t", "T", ""), &runs, &lines[2..], |_| String::new());
        assert!(none.is_none());
    }
}
