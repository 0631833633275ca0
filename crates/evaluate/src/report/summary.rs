//! `summary.md`: what a model card says of an evaluation.

use super::{Report, format, table};
use crate::columns;
use crate::report::chart::Table;

/// Tables of quality and cost, conclusions, and how to reproduce them.
pub(super) fn markdown(report: &Report) -> String {
    let mut lines = vec![format!("## {}", report.title), String::new()];
    lines.push(format!("{}.", table::problems(report)));
    lines.push(String::new());
    lines.extend(quality(report));
    lines.extend(tasks(report));
    lines.push(String::new());
    lines.push("### Cost".to_owned());
    lines.push(String::new());
    lines.extend(cost(report));
    if !report.comparisons.is_empty() {
        lines.push(String::new());
        lines.push("### Conclusions".to_owned());
        lines.push(String::new());
        lines.extend(
            report
                .comparisons
                .iter()
                .map(|pair| format!("- {}: **{}**", table::sentence(pair), pair.conclusion)),
        );
        lines.push(String::new());
        lines.push(
            "Differences are paired by problem, with 95% bootstrap intervals; p-values are \
             McNemar’s, corrected for the number of comparisons (Holm)."
                .to_owned(),
        );
    }
    lines.extend(reproduction(report));
    lines.push(String::new());
    lines.join("\n")
}

fn markdown_of(table: &Table) -> Vec<String> {
    columns::markdown(&table.headings, &table.rows)
}

fn quality(report: &Report) -> Vec<String> {
    let mut table = Table::new(
        "",
        &["Model", "Accuracy [95%]", "Whole chains [95%]", "Cut replies", "Mean tokens"],
    );
    table.rows = report
        .models
        .iter()
        .map(|model| {
            let overall = &model.evaluation.overall;
            vec![
                model.evaluation.model.clone(),
                format::rate(&overall.accuracy),
                format::rate(&overall.cot_completion),
                format::percent(overall.truncation.value),
                format::whole(overall.mean_reply_tokens),
            ]
        })
        .collect();
    markdown_of(&table)
}

/// Every metric of every task, one a row: a card's reader looks for a name.
fn tasks(report: &Report) -> Vec<String> {
    let mut table = Table::new("", &["Task", "Metric", "Model", "Value [95%]", "n"]);
    for model in &report.models {
        for task in &model.evaluation.tasks {
            table.rows.extend(task.metrics.iter().map(|(metric, value)| {
                vec![
                    task.task.clone(),
                    format!("`{metric}`"),
                    model.evaluation.model.clone(),
                    format::estimate(metric, value),
                    value.n.to_string(),
                ]
            }));
        }
    }
    if table.rows.is_empty() {
        return Vec::new();
    }
    table.rows.sort_by(|left, right| left[..2].cmp(&right[..2]));
    [String::new(), "### Tasks".to_owned(), String::new()]
        .into_iter()
        .chain(markdown_of(&table))
        .collect()
}

fn cost(report: &Report) -> Vec<String> {
    let mut table = Table::new(
        "",
        &[
            "Model",
            "Parameters",
            "Size",
            "Operations a token",
            "Tokens/s",
            "First token, p50 / p95",
            "Peak memory",
            "Energy a token",
        ],
    );
    table.rows = report
        .models
        .iter()
        .map(|model| {
            let cost = &model.evaluation.cost;
            let one = cost.loads.iter().find(|load| load.batch == 1);
            vec![
                model.evaluation.model.clone(),
                format::count(cost.parameters),
                format::bytes(cost.weight_bytes),
                format::operations(cost.flops_per_token),
                format::whole(cost.tokens_per_second),
                one.map_or_else(
                    || "–".to_owned(),
                    |load| {
                        let times = load.time_to_first_token;
                        [times.p50, times.p95].map(format::short_time).join(" / ")
                    },
                ),
                cost.peak_memory_bytes.map_or_else(|| "–".to_owned(), format::bytes),
                cost.energy.as_ref().map_or_else(
                    || "not available".to_owned(),
                    |energy| format!("{:.2} mJ", 1000.0 * energy.joules_per_token),
                ),
            ]
        })
        .collect();
    markdown_of(&table)
}

fn reproduction(report: &Report) -> Vec<String> {
    let mut lines = vec![String::new(), "### How to reproduce".to_owned(), String::new()];
    for model in &report.models {
        let Some(origin) = &model.provenance else { continue };
        let inputs: Vec<String> = origin
            .inputs
            .iter()
            .map(|(name, hash)| format!("{name} `{}`", hash.chars().take(12).collect::<String>()))
            .collect();
        let commit = origin.commit.as_deref().unwrap_or("unknown");
        let hardware =
            if origin.hardware.is_empty() { "unknown hardware" } else { &origin.hardware };
        lines.push(format!(
            "- {}: limbeck {}, commit `{commit}`, seed {}, {} on {hardware}; SHA-256 of {}",
            model.evaluation.model,
            origin.version,
            origin.seed,
            origin.device,
            inputs.join(", "),
        ));
    }
    if lines.len() == 3 {
        lines.push("The evaluations carry no manifest.".to_owned());
    }
    lines.push(String::new());
    lines.push(
        "`limbeck evaluate --model MODEL --task TASK --seed SEED --output EVALUATION`, then \
         `limbeck report --input EVALUATION… --output REPORT`."
            .to_owned(),
    );
    lines
}
