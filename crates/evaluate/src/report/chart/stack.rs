//! Bars of parts that add up to a whole.

use serde::Serialize;

use super::{Table, Words, rounded};

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
            let total: u64 = row.parts.iter().sum();
            let whole = row.whole.unwrap_or(total).max(1) as f64;
            let mut at = 0.0;
            let mut parts = Vec::new();
            let mut cells = vec![row.name.clone()];
            for (key, &count) in keys.iter().zip(&row.parts) {
                let width = 100.0 * count as f64 / whole;
                if count > 0 {
                    let share = format!("{width:.1}%");
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
    pub(crate) parts: Vec<u64>,
    /// What a whole bar stands for, where it is more than the counts.
    pub(crate) whole: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_bar_add_up_and_the_table_says_the_same() {
        let keys = ["right", "wrong"].map(|name| Key { name: name.into(), style: name.into() });
        let rows = [
            Counts { name: "a".into(), parts: vec![3, 1], whole: None },
            Counts { name: "b".into(), parts: vec![0, 2], whole: Some(8) },
        ];
        let stack = Stack::new(Words::new("v", "Verdicts", ""), keys.to_vec(), &rows, " replies");
        let last = &stack.rows[0].parts[1];
        assert!((last.at + last.width - 100.0).abs() < 1e-9);
        // Nothing is drawn for a count of 0.
        assert_eq!(stack.rows[1].parts.len(), 1);
        assert!((stack.rows[1].parts[0].width - 25.0).abs() < 1e-9);
        assert_eq!(stack.table.rows[0], ["a", "3 (75.0%)", "1 (25.0%)", "4"]);
    }
}
