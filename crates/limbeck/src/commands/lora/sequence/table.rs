//! The tables of a sequence for a terminal and for Markdown.

use limbeck_evaluate::columns;

use super::result::{MethodResult, SequenceResult, Spread};

/// How the columns are to be read.
const NOTE: &str = "\
Means over the seeds, ± the standard deviation between them, in per cent. *gain*: accuracy on a
task right after learning it, less before the sequence, mean over tasks. *drop rate*: what was
lost since a task was learned as a share of it, mean over the base and all tasks but the last;
*base drop*: the base's alone. *forgetting*: the same from the best stage, in points. *BWT*, *FWT*:
backward and forward transfer, in points.";

/// Summary, then a matrix a method.
pub(super) fn text(result: &SequenceResult) -> String {
    let mut lines = vec![scope(result), String::new()];
    lines.extend(columns::text(&headings(result), &rows(result)));
    for method in &result.methods {
        lines.extend([String::new(), format!("{}:", method.name)]);
        lines.extend(columns::text(&matrix_headings(result), &matrix_rows(result, method)));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The same with what a reader needs to know.
pub(super) fn markdown(result: &SequenceResult) -> String {
    let mut lines = vec![format!("{}.", scope(result)), String::new()];
    lines.extend(columns::markdown(&headings(result), &rows(result)));
    lines.extend([String::new(), NOTE.to_owned(), String::new()]);
    lines.push(
        "Accuracy on each task (columns) after each task (rows), mean over the seeds:".into(),
    );
    for method in &result.methods {
        lines.extend([String::new(), format!("**{}**", method.name), String::new()]);
        lines.extend(columns::markdown(&matrix_headings(result), &matrix_rows(result, method)));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn scope(result: &SequenceResult) -> String {
    let tasks: Vec<String> = result
        .tasks
        .iter()
        .zip(&result.problems)
        .map(|(task, problems)| format!("{task} (n = {problems})"))
        .collect();
    let seeds: Vec<String> = result.seeds.iter().map(u64::to_string).collect();
    let plural = if seeds.len() == 1 { "" } else { "s" };
    format!("{}; seed{plural} {}", tasks.join(" → "), seeds.join(", "))
}

fn headings(result: &SequenceResult) -> Vec<String> {
    let reference = result.methods.first().map_or("first", |method| method.name.as_str());
    let of_reference = format!("of {reference}'s");
    [
        "method",
        "final mean",
        "gain",
        &of_reference,
        "drop rate",
        "base drop",
        "forgetting",
        "BWT",
        "FWT",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn rows(result: &SequenceResult) -> Vec<Vec<String>> {
    let row = |method: &MethodResult| {
        let figures = method.summary.figures().map(|(_, spread)| spread_text(spread));
        std::iter::once(method.name.clone()).chain(figures).collect()
    };
    result.methods.iter().map(row).collect()
}

fn spread_text(spread: Option<Spread>) -> String {
    let Some(Spread { mean, deviation }) = spread else { return "–".to_owned() };
    let mean = percent(mean);
    deviation.map_or(mean.clone(), |deviation| format!("{mean} ± {:.1}", 100.0 * deviation))
}

/// `−3.1`, with a real minus sign and never a negative zero.
fn percent(value: f64) -> String {
    let rounded = (1000.0 * value).round() / 10.0;
    let sign = if rounded < 0.0 { "−" } else { "" };
    format!("{sign}{:.1}", rounded.abs())
}

fn matrix_headings(result: &SequenceResult) -> Vec<String> {
    std::iter::once("after")
        .chain(result.tasks.iter().map(String::as_str))
        .map(str::to_owned)
        .collect()
}

fn matrix_rows(result: &SequenceResult, method: &MethodResult) -> Vec<Vec<String>> {
    let rows = method.mean_rows();
    let rows = rows.iter().zip(&result.tasks);
    rows.map(|(row, task)| {
        let scores = row.iter().map(|score| percent(*score));
        std::iter::once(task.clone()).chain(scores).collect()
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::result::tests::result;
    use super::*;

    #[test]
    fn both_tables_have_every_method_and_matrix() {
        let result = result();
        let text = text(&result);
        assert!(
            text.starts_with("base (n = 50) → a (n = 60) → b (n = 70); seeds 1, 2\n"),
            "{text}"
        );
        assert!(text.contains("of plain's") && text.contains("37.5 ± 17.7"), "{text}");
        assert!(text.contains("\nheld:\n") && text.contains("−"), "{text}");
        let markdown = markdown(&result);
        let line = "| held | 66.7 ± 0.0 | 60.0 ± 0.0 | 75.0 ± 0.0 | 0.0 ± 0.0 | 0.0 ± 0.0 |";
        assert!(markdown.contains(line), "{markdown}");
        assert!(markdown.contains("| a | 50.0 | 80.0 | 0.0 |"), "{markdown}");
    }

    #[test]
    fn a_number_that_rounds_to_none_has_no_sign() {
        assert_eq!(percent(-0.0001), "0.0");
        assert_eq!(percent(-0.031), "−3.1");
    }
}
