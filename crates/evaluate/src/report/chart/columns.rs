//! Rows of columns over the same places.

use serde::Serialize;

use super::{Table, Tick, Words, rounded};

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
