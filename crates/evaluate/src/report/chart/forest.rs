//! Differences with their intervals.

use serde::Serialize;

use super::super::axis::Axis;
use super::{Tick, Words, rounded, signed};

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
        // Where nothing differs there still is an axis.
        let room = (1.0 - (high - low)).max(0.0) / 2.0;
        let axis = Axis::new(low - room, high + room);
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
