//! Training curves as the page draws them: places are computed here, the template only
//! writes them down.

use serde::Serialize;

use super::axis::{Axis, plain};
use super::training::{Point, Training};

/// Height of a chart's field, pixels; its width is that of the page.
const HEIGHT: f64 = 220.0;
/// Points of a line; more would not be seen.
const MOST_POINTS: usize = 400;
/// Rows of a run's table.
const MOST_ROWS: usize = 16;

#[derive(Debug, Serialize)]
pub(super) struct CurvesView {
    height: f64,
    charts: Vec<Chart>,
    runs: Vec<RunTable>,
}

#[derive(Debug, Serialize)]
struct Chart {
    id: &'static str,
    title: &'static str,
    note: &'static str,
    scale: &'static str,
    steps: Vec<Tick>,
    values: Vec<Tick>,
    lines: Vec<Line>,
}

/// A mark on an axis: per cent of the width, or pixels from the top.
#[derive(Debug, Serialize)]
struct Tick {
    at: f64,
    label: String,
}

#[derive(Debug, Serialize)]
struct Line {
    name: String,
    /// Which of the styles, from 0.
    style: usize,
    /// `x,y` pairs in thousandths of the field.
    points: String,
    /// Place of the last point: per cent of the width, pixels from the top.
    end: [f64; 2],
    last: String,
}

#[derive(Debug, Serialize)]
struct RunTable {
    name: String,
    rows: Vec<[String; 3]>,
}

impl CurvesView {
    /// `None` without runs.
    pub(super) fn new(trainings: &[Training]) -> Option<Self> {
        if trainings.is_empty() {
            return None;
        }
        let series = |of: fn(&Training) -> &Vec<Point>| {
            trainings
                .iter()
                .enumerate()
                .map(|(style, training)| (style, training.name.as_str(), of(training).as_slice()))
                .filter(|(_, _, points)| !points.is_empty())
                .collect::<Vec<_>>()
        };
        let charts = [
            Chart::new(
                "validation-loss",
                "Validation loss",
                "Cross-entropy on the validation records, nats a token: the same measure for all runs.",
                &series(|training| &training.validation_loss),
            ),
            Chart::new(
                "training-loss",
                "Training loss",
                "What each run minimises; losses of different objectives are not to be compared.",
                &series(|training| &training.loss),
            ),
        ];
        Some(Self {
            height: HEIGHT,
            charts: charts.into_iter().flatten().collect(),
            runs: trainings.iter().map(RunTable::new).collect(),
        })
    }
}

impl Chart {
    fn new(
        id: &'static str,
        title: &'static str,
        note: &'static str,
        series: &[(usize, &str, &[Point])],
    ) -> Option<Self> {
        let points = || series.iter().flat_map(|(_, _, points)| points.iter());
        let last_step = points().map(|point| point.step).max()?.max(1);
        let low = points().map(|point| point.value).fold(f64::INFINITY, f64::min);
        let high = points().map(|point| point.value).fold(f64::NEG_INFINITY, f64::max);
        let axis = Axis::new(low, high);
        let x = |step: u64| 100.0 * step as f64 / last_step as f64;
        let lines = series
            .iter()
            .map(|&(style, name, points)| {
                let places: Vec<String> = thinned(points, MOST_POINTS)
                    .map(|point| {
                        format!(
                            "{:.1},{:.1}",
                            10.0 * x(point.step),
                            1000.0 * axis.place(point.value)
                        )
                    })
                    .collect();
                let last = points[points.len() - 1];
                Line {
                    name: name.to_owned(),
                    style: style % 4,
                    points: places.join(" "),
                    end: [rounded(x(last.step)), rounded(HEIGHT * axis.place(last.value))],
                    last: value(last.value),
                }
            })
            .collect();
        let values = axis.ticks();
        Some(Self {
            id,
            title,
            note,
            scale: if axis.logarithmic { "logarithmic scale" } else { "linear scale" },
            steps: (0..=4)
                .map(|quarter| Tick {
                    at: 25.0 * f64::from(quarter),
                    label: (last_step as f64 * f64::from(quarter) / 4.0).round().to_string(),
                })
                .collect(),
            values: values
                .into_iter()
                .map(|tick| Tick { at: rounded(HEIGHT * axis.place(tick)), label: plain(tick) })
                .collect(),
            lines,
        })
    }
}

impl RunTable {
    fn new(training: &Training) -> Self {
        let mut steps: Vec<u64> = thinned(&training.loss, MOST_ROWS)
            .chain(thinned(&training.validation_loss, MOST_ROWS))
            .map(|point| point.step)
            .collect();
        steps.sort_unstable();
        steps.dedup();
        let at = |points: &[Point], step: u64| {
            let found = points.iter().find(|point| point.step == step);
            found.map_or_else(|| "–".to_owned(), |point| value(point.value))
        };
        let rows = steps
            .into_iter()
            .map(|step| {
                let (loss, validation) =
                    (at(&training.loss, step), at(&training.validation_loss, step));
                [step.to_string(), loss, validation]
            })
            .collect();
        Self { name: training.name.clone(), rows }
    }
}

/// At most about `most` of the points, evenly, the first and the last among them.
fn thinned(points: &[Point], most: usize) -> impl Iterator<Item = &Point> {
    let last = points.len().saturating_sub(1);
    let stride = points.len().div_ceil(most).max(1);
    points
        .iter()
        .enumerate()
        .filter(move |(index, _)| index % stride == 0 || *index == last)
        .map(|(_, point)| point)
}

fn rounded(value: f64) -> f64 {
    (10.0 * value).round() / 10.0
}

/// A loss, as the table gives it.
fn value(value: f64) -> String {
    format!("{value:.4}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[f64]) -> Vec<Point> {
        values
            .iter()
            .enumerate()
            .map(|(index, &value)| Point { step: 10 * (index as u64 + 1), value })
            .collect()
    }

    #[test]
    fn charts_show_the_runs_that_have_values() {
        let trainings = [
            Training { name: "a".into(), loss: points(&[3.0, 2.0, 1.0]), validation_loss: vec![] },
            Training { name: "b".into(), loss: points(&[2.0]), validation_loss: points(&[2.5]) },
        ];
        let view = CurvesView::new(&trainings).unwrap();
        let names = |chart: &Chart| {
            chart.lines.iter().map(|line| (line.name.clone(), line.style)).collect::<Vec<_>>()
        };
        assert_eq!(names(&view.charts[0]), [("b".to_owned(), 1)]);
        assert_eq!(names(&view.charts[1]), [("a".to_owned(), 0), ("b".to_owned(), 1)]);
        let line = &view.charts[1].lines[0];
        assert_eq!((line.points.split(' ').count(), line.last.as_str()), (3, "1.0000"));
        assert!((line.end[0] - 100.0).abs() < 1e-9);
        assert_eq!(view.runs[1].rows, [["10".to_owned(), "2.0000".into(), "2.5000".into()]]);
        assert!(CurvesView::new(&[]).is_none());
    }

    #[test]
    fn long_runs_are_thinned_with_their_ends() {
        let many = points(&vec![1.0; 2001]);
        let kept: Vec<u64> = thinned(&many, 400).map(|point| point.step).collect();
        assert!(kept.len() <= 401 && kept[0] == 10 && kept[kept.len() - 1] == 20_010);
    }
}
