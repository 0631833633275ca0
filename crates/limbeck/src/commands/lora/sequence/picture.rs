//! The matrices of a sequence as an SVG file: a field a method, a square a task and stage.

use std::fmt::Write as _;

use super::result::{MethodResult, SequenceResult};

const SQUARE: f64 = 48.0;
/// Room for the stages' names on the left of a field.
const LEFT: f64 = 96.0;
/// Room for a field's title and the tasks' names above it.
const TOP: f64 = 56.0;
const GAP: f64 = 24.0;
/// Fields side by side.
const ACROSS: usize = 3;

/// The drawing; darker is more accurate.
pub(super) fn svg(result: &SequenceResult) -> String {
    let side = SQUARE * result.tasks.len() as f64;
    let (field_width, field_height) = (LEFT + side + GAP, TOP + side + GAP);
    let across = result.methods.len().clamp(1, ACROSS);
    let down = result.methods.len().div_ceil(across);
    let (width, height) = (field_width * across as f64, field_height * down as f64);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\">\n\
         <title>Accuracy on each task after each task</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (index, method) in result.methods.iter().enumerate() {
        let (column, row) = (index % across, index / across);
        let place = (field_width * column as f64, field_height * row as f64);
        field(&mut out, place, result, method);
    }
    out.push_str("</svg>\n");
    out
}

fn field(out: &mut String, place: (f64, f64), result: &SequenceResult, method: &MethodResult) {
    let _ = writeln!(out, "<g transform=\"translate({} {})\">", place.0, place.1);
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"20\" font-size=\"14\" font-weight=\"600\">{}</text>",
        method.name
    );
    for (index, task) in result.tasks.iter().enumerate() {
        let middle = SQUARE * (index as f64 + 0.5);
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\" font-size=\"10\">{task}</text>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{} {task}</text>",
            LEFT + middle,
            TOP - 8.0,
            LEFT - 8.0,
            TOP + middle + 4.0,
            if index == 0 { "before:" } else { "after" },
        );
    }
    for (stage, scores) in method.mean_rows().iter().enumerate() {
        for (task, score) in scores.iter().enumerate() {
            let (x, y) = (LEFT + SQUARE * task as f64, TOP + SQUARE * stage as f64);
            let ink = if *score > 0.55 { "#fff" } else { "#1a1a1a" };
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{SQUARE}\" height=\"{SQUARE}\" \
                 fill=\"{}\" stroke=\"{}\"/>\n\
                 <text x=\"{}\" y=\"{}\" text-anchor=\"middle\" fill=\"{ink}\">{:.0}</text>",
                colour(*score),
                // A square on the diagonal is a task right after it was learned.
                if stage == task { "#1a1a1a" } else { "#fff" },
                x + SQUARE / 2.0,
                y + SQUARE / 2.0 + 4.0,
                100.0 * score
            );
        }
    }
    out.push_str("</g>\n");
}

/// From near white to a dark blue.
fn colour(score: f64) -> String {
    let share = score.clamp(0.0, 1.0);
    let between = |from: f64, to: f64| (from + share * (to - from)).round() as u8;
    format!(
        "#{:02x}{:02x}{:02x}",
        between(243.0, 16.0),
        between(246.0, 66.0),
        between(250.0, 130.0)
    )
}

#[cfg(test)]
mod tests {
    use super::super::result::tests::result;
    use super::*;

    #[test]
    fn every_score_is_a_square() {
        let svg = svg(&result());
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<rect").count(), 1 + 2 * 9);
        assert!(svg.contains(">plain</text>") && svg.contains(">after b</text>"), "{svg}");
        assert_eq!((colour(0.0), colour(2.0)), ("#f3f6fa".to_owned(), "#104282".to_owned()));
    }
}
