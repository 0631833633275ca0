//! Shapes of charts as the page draws them: places are computed in Rust, the templates only
//! write them down. Each chart has a table behind it with the same figures, or its figures in
//! words beside it.

mod columns;
mod forest;
mod scatter;
mod stack;
mod trend;

use serde::Serialize;

pub(crate) use columns::Columns;
pub(crate) use forest::{Forest, Interval};
pub(crate) use scatter::{Point, Scatter};
pub(crate) use stack::{Counts, Key, Stack};
pub(crate) use trend::{Trend, TrendPoint};

use super::axis::plain;

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
