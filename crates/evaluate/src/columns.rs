//! Tables of text: columns for a terminal, and GitHub's Markdown.

/// The headings, a rule and the rows; the first column on the left, numbers on the right.
pub fn text(headings: &[String], rows: &[Vec<String>]) -> Vec<String> {
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(column, heading)| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([heading.chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                let space = " ".repeat(width - cell.chars().count());
                if column == 0 { format!("{cell}{space}") } else { format!("{space}{cell}") }
            })
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let rule = widths.iter().map(|&width| "─".repeat(width)).collect::<Vec<_>>().join("  ");
    [line(headings), rule].into_iter().chain(rows.iter().map(|row| line(row))).collect()
}

/// The same in Markdown.
pub fn markdown(headings: &[String], rows: &[Vec<String>]) -> Vec<String> {
    let escape = |cell: &String| cell.replace('\\', r"\\").replace('|', r"\|");
    let line = |cells: &[String]| {
        format!("| {} |", cells.iter().map(escape).collect::<Vec<_>>().join(" | "))
    };
    let rule = format!("|---|{}", "---:|".repeat(headings.len().saturating_sub(1)));
    [line(headings), rule].into_iter().chain(rows.iter().map(|row| line(row))).collect()
}
