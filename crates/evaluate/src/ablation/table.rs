//! The table of variants for a terminal and for Markdown.

use super::{Ablation, Variant};
use crate::columns;
use crate::report::format;

/// The table below a line that says what was evaluated.
pub(super) fn text(ablation: &Ablation) -> String {
    let mut lines = vec![format!("Ablation ({})", scope(ablation)), String::new()];
    lines.extend(columns::text(&headings(ablation), &rows(ablation)));
    lines.push(String::new());
    lines.join("\n")
}

/// The table above what a reader needs to know.
pub(super) fn markdown(ablation: &Ablation) -> String {
    let mut lines = columns::markdown(&headings(ablation), &rows(ablation));
    lines.push(String::new());
    lines.push(format!("{}. {}", scope(ablation), note(ablation)));
    lines.push(String::new());
    lines.join("\n")
}

/// `n = 600 problems, seeds 42, 43, 44; the teacher solves 99.8% [99.1–100.0]`.
pub(crate) fn scope(ablation: &Ablation) -> String {
    let seeds: Vec<String> = ablation.seeds.iter().map(u64::to_string).collect();
    format!(
        "n = {} problem{}, seed{} {}; the teacher solves {} [{}]",
        format::whole(ablation.problems as f64),
        if ablation.problems == 1 { "" } else { "s" },
        if seeds.len() == 1 { "" } else { "s" },
        seeds.join(", "),
        format::percent(ablation.teacher.value),
        format::interval(&ablation.teacher),
    )
}

/// How the columns are to be read.
pub(crate) fn note(ablation: &Ablation) -> String {
    let devices = devices(ablation);
    let training = if devices.is_empty() {
        String::new()
    } else {
        format!(
            " Tokens/s and time are means over the seeds of training on {}, time with all that \
             the command does besides.",
            devices.join(", ")
        )
    };
    format!(
        "Accuracy is the mean over the seeds, ± the standard deviation between them. Differences \
         are in percentage points with a 95% interval, paired by problem and pooled over the \
         seeds (bootstrap over problems; not corrected for the number of comparisons): it says \
         how far other problems could move the difference of these students, and the values by \
         seed what another seed can do. Better and worse: the interval does not hold 0.{training}"
    )
}

fn devices(ablation: &Ablation) -> Vec<String> {
    let mut devices: Vec<String> = Vec::new();
    for training in ablation.variants.iter().filter_map(|variant| variant.training.as_ref()) {
        for device in &training.devices {
            if !devices.contains(device) {
                devices.push(device.clone());
            }
        }
    }
    devices
}

fn headings(ablation: &Ablation) -> Vec<String> {
    let mut headings = vec!["variant".to_owned(), "accuracy".to_owned()];
    if ablation.seeds.len() > 1 {
        headings.push("by seed".to_owned());
    }
    headings.push("of teacher".to_owned());
    for against in &ablation.against {
        headings.push(format!("vs {against} [95%]"));
        headings.push("verdict".to_owned());
    }
    headings.extend(["tokens/s".to_owned(), "training".to_owned()]);
    headings
}

fn rows(ablation: &Ablation) -> Vec<Vec<String>> {
    ablation.variants.iter().map(|variant| row(ablation, variant)).collect()
}

fn row(ablation: &Ablation, variant: &Variant) -> Vec<String> {
    let mut cells = vec![variant.name.clone(), accuracy(variant)];
    if ablation.seeds.len() > 1 {
        cells.push(by_seed(variant));
    }
    cells.push(of_teacher(variant));
    for against in &ablation.against {
        let found = variant.differences.iter().find(|difference| difference.against == *against);
        cells.extend(found.map_or_else(
            || ["–".to_owned(), "–".to_owned()],
            |difference| {
                let accuracy = &difference.accuracy;
                let change = format::change(accuracy.difference, accuracy.low, accuracy.high);
                [change, difference.words()]
            },
        ));
    }
    cells.extend(training(variant));
    cells
}

/// `95.2% ± 0.6`.
pub(crate) fn accuracy(variant: &Variant) -> String {
    let mean = format::percent(variant.accuracy.mean);
    match variant.accuracy.standard_deviation {
        Some(deviation) => format!("{mean} ± {:.1}", 100.0 * deviation),
        None => mean,
    }
}

/// `95.0, 94.8, 95.8`, in per cent.
pub(crate) fn by_seed(variant: &Variant) -> String {
    let values = variant.accuracy.by_run.iter();
    values.map(|value| format!("{:.1}", 100.0 * value)).collect::<Vec<_>>().join(", ")
}

/// `95.4%`, or a dash.
pub(crate) fn of_teacher(variant: &Variant) -> String {
    variant.share_of_teacher.map_or_else(|| "–".to_owned(), format::percent)
}

/// Tokens a second and time, or dashes.
pub(crate) fn training(variant: &Variant) -> [String; 2] {
    variant.training.as_ref().map_or_else(
        || ["–".to_owned(), "–".to_owned()],
        |training| [format::whole(training.tokens_per_second), format::seconds(training.seconds)],
    )
}
