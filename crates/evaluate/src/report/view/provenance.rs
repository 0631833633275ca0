//! How the evaluations came about.

use std::collections::BTreeSet;

use serde::Serialize;

use super::super::Report;
use super::super::chart::Table;

#[derive(Debug, Serialize)]
pub(super) struct ProvenanceView {
    table: Table,
    /// Full hashes, by model and input.
    hashes: Table,
    missing: Vec<String>,
}

impl ProvenanceView {
    /// `None` where no evaluation has a manifest.
    pub(super) fn new(report: &Report) -> Option<Self> {
        let inputs: BTreeSet<&str> = report
            .models
            .iter()
            .filter_map(|model| model.provenance.as_ref())
            .flat_map(|provenance| provenance.inputs.keys().map(String::as_str))
            .collect();
        let mut table = Table::new(
            "From the manifest of each evaluation; hashes are SHA-256, shortened.",
            &["Model", "seed", "device", "hardware", "commit", "version"],
        );
        table.headings.extend(inputs.iter().map(|&name| name.to_owned()));
        table.headings.push("chat template".to_owned());
        table.headings.push("not deterministic".to_owned());
        let mut hashes = Table::new("SHA-256 of each input", &["Model", "input", "SHA-256"]);
        let mut missing = Vec::new();
        for model in &report.models {
            let name = &model.evaluation.model;
            let Some(origin) = &model.provenance else {
                missing.push(name.clone());
                continue;
            };
            let dash = || "–".to_owned();
            let mut row = vec![
                name.clone(),
                origin.seed.to_string(),
                origin.device.clone(),
                if origin.hardware.is_empty() { dash() } else { origin.hardware.clone() },
                origin.commit.as_deref().map_or_else(dash, short),
                origin.version.clone(),
            ];
            row.extend(
                inputs
                    .iter()
                    .map(|input| origin.inputs.get(*input).map_or_else(dash, |hash| short(hash))),
            );
            row.push(short(&model.evaluation.chat_template_sha256));
            row.push(if origin.nondeterministic.is_empty() {
                "nothing".to_owned()
            } else {
                origin.nondeterministic.join(", ")
            });
            table.rows.push(row);
            hashes.rows.extend(
                origin
                    .inputs
                    .iter()
                    .map(|(input, hash)| vec![name.clone(), input.clone(), hash.clone()]),
            );
        }
        (!table.rows.is_empty()).then_some(Self { table, hashes, missing })
    }
}

fn short(hash: &str) -> String {
    hash.chars().take(12).collect()
}
