//! Shapes of charts as the page draws them: places are computed in Rust, the templates only
//! write them down. Each chart has a table behind it with the same figures.

use serde::Serialize;

use super::axis::{Axis, plain};

/// A table of text.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Table {
    pub(crate) caption: String,
    pub(crate) headings: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(caption: impl Into<String>, headings: &[&str]) -> Self {
        Self {
            caption: caption.into(),
            headings: headings.iter().map(|&heading| heading.to_owned()).collect(),
            rows: Vec::new(),
        }
    }
}

/// What heads and explains a chart.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Words {
    /// Unique on the page.
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) note: String,
}

impl Words {
    pub(crate) fn new(
        id: impl Into<String>,
        title: impl Into<String>,
        note: impl Into<String>,
    ) -> Self {
        Self { id: id.into(), title: title.into(), note: note.into() }
    }
}

/// A mark on an axis: per cent of its length.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Tick {
    pub(crate) at: f64,
    pub(crate) label: String,
}

/// Bars of parts that add up to a whole.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Stack {
    pub(crate) words: Words,
    pub(crate) legend: Vec<Key>,
    pub(crate) rows: Vec<StackRow>,
    pub(crate) table: Table,
}

/// What a part of a bar stands for.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) style: String,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct StackRow {
    pub(crate) name: String,
    pub(crate) detail: String,
    pub(crate) parts: Vec<Part>,
}

/// Places are per cent of the width.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Part {
    pub(crate) at: f64,
    pub(crate) width: f64,
    pub(crate) style: String,
    pub(crate) label: String,
}

impl Stack {
    /// Bars of counts, one for each row, in the order of the keys; a bar is as long as its
    /// total is among `whole`, or among its own.
    pub(crate) fn new(words: Words, keys: Vec<Key>, rows: &[Counts], unit: &str) -> Self {
        let mut headings = vec![String::new()];
        headings.extend(keys.iter().map(|key| key.name.clone()));
        headings.push("all".to_owned());
        let mut table = Table { caption: words.title.clone(), headings, rows: Vec::new() };
        let mut drawn = Vec::with_capacity(rows.len());
        for row in rows {
            let total: u64 = row.counts.iter().sum();
            let whole = row.whole.unwrap_or(total).max(1) as f64;
            let mut at = 0.0;
            let mut parts = Vec::new();
            let mut cells = vec![row.name.clone()];
            for (key, &count) in keys.iter().zip(&row.counts) {
                let width = 100.0 * count as f64 / whole;
                if count > 0 {
                    let share = format!("{:.1}%", width);
                    parts.push(Part {
                        at: rounded(at),
                        width: rounded(width),
                        style: key.style.clone(),
                        label: format!("{}: {count} ({share})", key.name),
                    });
                }
                cells.push(format!("{count} ({width:.1}%)"));
                at += width;
            }
            cells.push(row.whole.unwrap_or(total).to_string());
            table.rows.push(cells);
            drawn.push(StackRow {
                name: row.name.clone(),
                detail: format!("{total}{unit}"),
                parts,
            });
        }
        Self { words, legend: keys, rows: drawn, table }
    }
}

/// Counts of a row of a [`Stack`].
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    pub(crate) name: String,
    pub(crate) counts: Vec<u64>,
    /// What a whole bar stands for, where it is more than the counts.
    pub(crate) whole: Option<u64>,
}

/// A row of columns for each model, over the same places.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Columns {
    pub(crate) words: Words,
    pub(crate) places: Vec<Tick>,
    pub(crate) rows: Vec<ColumnRow>,
    pub(crate) table: Table,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct ColumnRow {
    pub(crate) name: String,
    pub(crate) detail: String,
    pub(crate) columns: Vec<Column>,
}

/// Place and width are per cent of the width; the height is pixels.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Column {
    pub(crate) at: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) label: String,
}

impl Columns {
    /// Height of the highest column, pixels.
    const HEIGHT: f64 = 40.0;

    /// Columns of counts; the heights of all rows are shares of the rows' own totals, on one
    /// scale.
    pub(crate) fn new(
        words: Words,
        labels: &[String],
        rows: &[(String, Vec<u64>)],
        unit: &str,
    ) -> Self {
        let width = 100.0 / labels.len().max(1) as f64;
        let share =
            |counts: &[u64], count: u64| count as f64 / counts.iter().sum::<u64>().max(1) as f64;
        let highest = rows
            .iter()
            .flat_map(|(_, counts)| counts.iter().map(|&count| share(counts, count)))
            .fold(0.0, f64::max)
            .max(1e-9);
        let mut headings = vec!["Model".to_owned()];
        headings.extend(labels.iter().cloned());
        let table = Table {
            caption: words.title.clone(),
            headings,
            rows: rows
                .iter()
                .map(|(name, counts)| {
                    [name.clone()].into_iter().chain(counts.iter().map(u64::to_string)).collect()
                })
                .collect(),
        };
        let drawn = rows
            .iter()
            .map(|(name, counts)| ColumnRow {
                name: name.clone(),
                detail: format!("{}{unit}", counts.iter().sum::<u64>()),
                columns: counts
                    .iter()
                    .zip(labels)
                    .enumerate()
                    .filter(|(_, (count, _))| **count > 0)
                    .map(|(index, (&count, label))| Column {
                        at: rounded(width * index as f64 + 0.1 * width),
                        width: rounded(0.8 * width),
                        height: rounded((Self::HEIGHT * share(counts, count) / highest).max(1.0)),
                        label: format!("{label}: {count}"),
                    })
                    .collect(),
            })
            .collect();
        let places = labels
            .iter()
            .enumerate()
            .map(|(index, label)| Tick {
                at: rounded(width * (index as f64 + 0.5)),
                label: label.clone(),
            })
            .collect();
        Self { words, places, rows: drawn, table }
    }
}

/// Differences with their intervals, one below the other.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Forest {
    pub(crate) words: Words,
    pub(crate) ticks: Vec<Tick>,
    /// Place of no difference, per cent of the width.
    pub(crate) zero: f64,
    pub(crate) rows: Vec<ForestRow>,
}

/// Places are per cent of the width.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ForestRow {
    pub(crate) name: String,
    pub(crate) detail: String,
    pub(crate) at: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// `better`, `worse` or `neither`.
    pub(crate) style: &'static str,
}

/// A row of a [`Forest`] before it has places; values in percentage points.
#[derive(Debug, Clone)]
pub(crate) struct Interval {
    pub(crate) name: String,
    pub(crate) detail: String,
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) style: &'static str,
}

impl Forest {
    /// `None` without rows.
    pub(crate) fn new(words: Words, rows: Vec<Interval>) -> Option<Self> {
        if rows.is_empty() {
            return None;
        }
        let low = rows.iter().map(|row| row.low).fold(0.0, f64::min);
        let high = rows.iter().map(|row| row.high).fold(0.0, f64::max);
        let axis = Axis::new(low, high);
        let place = |value: f64| rounded(100.0 * (1.0 - axis.place(value)));
        Some(Self {
            words,
            ticks: axis
                .ticks()
                .into_iter()
                .map(|value| Tick { at: place(value), label: signed(value) })
                .collect(),
            zero: place(0.0),
            rows: rows
                .into_iter()
                .map(|row| ForestRow {
                    at: place(row.value),
                    low: place(row.low),
                    high: place(row.high),
                    name: row.name,
                    detail: row.detail,
                    style: row.style,
                })
                .collect(),
        })
    }
}

/// Points with an interval upwards and downwards.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Scatter {
    pub(crate) words: Words,
    pub(crate) height: f64,
    pub(crate) x: Vec<Tick>,
    pub(crate) y: Vec<Tick>,
    pub(crate) points: Vec<Dot>,
}

/// Places: per cent of the width, pixels from the top.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Dot {
    /// The letter beside the dot.
    pub(crate) mark: String,
    pub(crate) name: String,
    pub(crate) detail: String,
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// How far below the dot its letter stands, pixels.
    pub(crate) shift: f64,
}

/// A point of a [`Scatter`] before it has a place.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) name: String,
    pub(crate) detail: String,
    pub(crate) x: f64,
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Scatter {
    const HEIGHT: f64 = 260.0;

    /// `None` with fewer than two points, or where they have no place.
    pub(crate) fn new(
        words: Words,
        points: &[Point],
        x_label: impl Fn(f64) -> String,
        y_label: impl Fn(f64) -> String,
    ) -> Option<Self> {
        if points.len() < 2 || points.iter().any(|point| !point.x.is_finite()) {
            return None;
        }
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            })
        };
        let (left, right) = range(&mut points.iter().map(|point| point.x));
        let (bottom, top) = range(&mut points.iter().flat_map(|point| [point.low, point.high]));
        let (x, y) = (Axis::new(left, right), Axis::new(bottom, top));
        // Room at both sides for dots and their letters.
        let across = |value: f64| rounded(8.0 + 86.0 * (1.0 - x.place(value)));
        let down = |value: f64| rounded(Self::HEIGHT * y.place(value));
        let places: Vec<(f64, f64)> =
            points.iter().map(|point| (across(point.x), down(point.value))).collect();
        let shifts = shifts(&places);
        Some(Self {
            words,
            height: Self::HEIGHT,
            x: x.ticks()
                .into_iter()
                .map(|tick| Tick { at: across(tick), label: x_label(tick) })
                .collect(),
            y: y.ticks()
                .into_iter()
                .map(|tick| Tick { at: down(tick), label: y_label(tick) })
                .collect(),
            points: points
                .iter()
                .enumerate()
                .map(|(index, point)| Dot {
                    mark: letter(index),
                    name: point.name.clone(),
                    detail: point.detail.clone(),
                    x: across(point.x),
                    y: down(point.value),
                    low: down(point.low),
                    high: down(point.high),
                    shift: shifts[index],
                })
                .collect(),
        })
    }
}

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

/// Shifts of letters that keep them off each other where dots lie close.
fn shifts(places: &[(f64, f64)]) -> Vec<f64> {
    const CANDIDATES: [f64; 6] = [-6.0, 15.0, -20.0, 29.0, -34.0, 43.0];
    let mut taken: Vec<(f64, f64)> = Vec::new();
    places
        .iter()
        .map(|&(x, y)| {
            let free = |shift: &f64| {
                let clear = |(left, top): &(f64, f64)| {
                    (x - left).abs() > 5.0 || (y + shift - top).abs() > 12.0
                };
                taken.iter().all(clear)
            };
            let shift = CANDIDATES.into_iter().find(free).unwrap_or(CANDIDATES[0]);
            taken.push((x, y + shift));
            shift
        })
        .collect()
}

/// `A` to `Z`, then numbers.
pub(crate) fn letter(index: usize) -> String {
    match u8::try_from(index) {
        Ok(index) if index < 26 => char::from(b'A' + index).to_string(),
        _ => (index + 1).to_string(),
    }
}

pub(crate) fn rounded(value: f64) -> f64 {
    (100.0 * value).round() / 100.0
}

/// `+5`, `0`, `−2.5`.
pub(crate) fn signed(value: f64) -> String {
    let text = plain(value.abs());
    match text.as_str() {
        "0" => text,
        _ if value < 0.0 => format!("−{text}"),
        _ => format!("+{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_bar_add_up_and_the_table_says_the_same() {
        let keys = ["right", "wrong"].map(|name| Key { name: name.into(), style: name.into() });
        let rows = [
            Counts { name: "a".into(), counts: vec![3, 1], whole: None },
            Counts { name: "b".into(), counts: vec![0, 2], whole: Some(8) },
        ];
        let stack = Stack::new(Words::new("v", "Verdicts", ""), keys.to_vec(), &rows, " replies");
        let last = &stack.rows[0].parts[1];
        assert!((last.at + last.width - 100.0).abs() < 1e-9);
        // Nothing is drawn for a count of 0.
        assert_eq!(stack.rows[1].parts.len(), 1);
        assert!((stack.rows[1].parts[0].width - 25.0).abs() < 1e-9);
        assert_eq!(stack.table.rows[0], ["a", "3 (75.0%)", "1 (25.0%)", "4"]);
    }

    #[test]
    fn columns_share_one_scale() {
        let labels: Vec<String> = ["1", "2"].map(str::to_owned).to_vec();
        let rows = [("a".to_owned(), vec![1, 3]), ("b".to_owned(), vec![10, 10])];
        let columns = Columns::new(Words::new("s", "Steps", ""), &labels, &rows, "");
        let heights: Vec<f64> = columns
            .rows
            .iter()
            .flat_map(|row| row.columns.iter().map(|column| column.height))
            .collect();
        // Shares 1/4, 3/4, 1/2, 1/2 of a highest of 3/4.
        for (found, expected) in heights.iter().zip([13.33, 40.0, 26.67, 26.67]) {
            assert!((found - expected).abs() < 0.01, "{heights:?}");
        }
    }

    #[test]
    fn intervals_keep_their_order_and_hold_nothing_outside_the_page() {
        let row = |value: f64| Interval {
            name: "a".into(),
            detail: String::new(),
            value,
            low: value - 1.0,
            high: value + 2.0,
            style: "neither",
        };
        let forest = Forest::new(Words::new("f", "F", ""), vec![row(-6.0), row(3.0)]).unwrap();
        let (worse, better) = (&forest.rows[0], &forest.rows[1]);
        let order =
            [0.0, worse.low, worse.at, worse.high, forest.zero, better.low, better.high, 100.0];
        assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{order:?}");
        assert!(Forest::new(Words::new("f", "F", ""), Vec::new()).is_none());
    }

    #[test]
    fn a_scatter_needs_two_points_and_places_larger_values_higher_and_further_right() {
        let point = |x: f64, value: f64| Point {
            name: "m".into(),
            detail: String::new(),
            x,
            value,
            low: value - 0.01,
            high: value + 0.01,
        };
        let words = || Words::new("c", "C", "");
        let one = Scatter::new(words(), &[point(1.0, 0.5)], plain, plain);
        assert!(one.is_none());
        let scatter =
            Scatter::new(words(), &[point(1e6, 0.9), point(9e7, 0.97)], plain, plain).unwrap();
        let (small, large) = (&scatter.points[0], &scatter.points[1]);
        assert!(small.x < large.x && small.y > large.y && large.high < large.low);
        assert_eq!((small.mark.as_str(), large.mark.as_str()), ("A", "B"));
    }
}
