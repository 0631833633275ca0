//! Verdicts on answers and the quality of chains, as charts with a table behind each.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::chains::{ChainQuality, ErrorGroup, PARTS, STEPS};
use super::super::chart::{Columns, Counts, Key, Stack, Table, Words};
use super::super::{Report, format};
use crate::chain::ErrorKind;
use crate::scorer::Verdict;

/// What may be wrong, in the order of legends.
const KINDS: [ErrorKind; 7] = [
    ErrorKind::Arithmetic,
    ErrorKind::Copy,
    ErrorKind::Logic,
    ErrorKind::Conclusion,
    ErrorKind::Repetition,
    ErrorKind::Unfinished,
    ErrorKind::Unknown,
];

#[derive(Debug, Serialize)]
pub(super) struct ChainsView {
    table: Table,
    /// None where no reply has a first wrong step.
    breakpoints: Option<BreakpointsView>,
}

#[derive(Debug, Serialize)]
struct BreakpointsView {
    by_step: Columns,
    by_position: Columns,
    kinds: Stack,
    evidence: Table,
    models: Vec<KindsView>,
}

/// The kinds of errors of one model by domain, level and Bloom's levels.
#[derive(Debug, Serialize)]
struct KindsView {
    name: String,
    charts: Vec<Stack>,
}

/// What became of the answers.
pub(super) fn verdicts(report: &Report) -> Stack {
    let keys = Verdict::ALL
        .into_iter()
        .map(|verdict| Key { name: verdict.to_string(), style: format!("verdict-{verdict}") })
        .collect();
    let rows: Vec<Counts> = report
        .models
        .iter()
        .map(|model| Counts {
            name: model.evaluation.model.clone(),
            parts: Verdict::ALL
                .into_iter()
                .map(|verdict| model.chains.verdicts.get(&verdict).copied().unwrap_or(0))
                .collect(),
            whole: None,
        })
        .collect();
    let words = Words::new(
        "verdict-bars",
        "What became of the answers",
        "Correct; read and wrong; ended without an answer that can be read (unparsed); cut at \
         the token limit before one (truncated). Only correct ones count as right.",
    );
    Stack::new(words, keys, &rows, " replies")
}

impl ChainsView {
    pub(super) fn new(report: &Report) -> Self {
        let mut table = Table::new(
            "Whole: closed, not cut, every step checked and right. Valid steps: those that hold, \
             of those that can be checked (steps of a chain depend on each other: no interval). \
             Consistent: the answer is what the last step concludes. Right by wrong steps: right \
             answers with a wrong step before them. In brackets: 95% Wilson interval.",
            &[
                "Model",
                "whole chains",
                "closed",
                "valid steps",
                "steps that can be checked",
                "consistent",
                "right by wrong steps",
            ],
        );
        for model in &report.models {
            let ChainQuality {
                closed,
                step_validity,
                checked_steps,
                consistency,
                right_by_wrong_steps,
                ..
            } = &model.chains;
            let share = |proportion: &crate::Proportion| match proportion.n {
                0 => "–".to_owned(),
                n => {
                    format!("{} of {}", format::percent(proportion.value), format::whole(n as f64))
                }
            };
            table.rows.push(vec![
                model.evaluation.model.clone(),
                format::rate(&model.evaluation.overall.cot_completion),
                format::rate(closed),
                share(step_validity),
                share(checked_steps),
                format::rate(consistency),
                format::rate(right_by_wrong_steps),
            ]);
        }
        Self { table, breakpoints: BreakpointsView::new(report) }
    }
}

impl BreakpointsView {
    fn new(report: &Report) -> Option<Self> {
        let models: Vec<(&str, &ChainQuality)> = report
            .models
            .iter()
            .map(|model| (model.evaluation.model.as_str(), &model.chains))
            .filter(|(_, chains)| chains.breakpoints > 0)
            .collect();
        if models.is_empty() {
            return None;
        }
        let rows = |counts: fn(&ChainQuality) -> &Vec<u64>| -> Vec<(String, Vec<u64>)> {
            models
                .iter()
                .map(|(name, chains)| ((*name).to_owned(), counts(chains).clone()))
                .collect()
        };
        let steps: Vec<String> = (1..=STEPS)
            .map(|step| if step == STEPS { format!("{step}+") } else { step.to_string() })
            .collect();
        let parts: Vec<String> =
            (0..PARTS).map(|part| format!("{}%", 100 * (part + 1) / PARTS)).collect();
        let overview: Vec<Counts> = models
            .iter()
            .map(|(name, chains)| counts((*name).to_owned(), &chains.kinds, None))
            .collect();
        Some(Self {
            by_step: Columns::new(
                Words::new(
                    "by-step",
                    "First wrong step by number",
                    "How many chains go wrong first at each step, counted from 1; heights are \
                     shares of a model’s wrong chains.",
                ),
                &steps,
                &rows(|chains| &chains.by_step),
                " chains with a wrong step",
            ),
            by_position: Columns::new(
                Words::new(
                    "by-position",
                    "First wrong step by place in the chain",
                    "The same by the tenth of the chain that the step lies in: long and short \
                     chains on one scale.",
                ),
                &parts,
                &rows(|chains| &chains.by_position),
                " chains with a wrong step",
            ),
            kinds: Stack::new(
                Words::new(
                    "kinds",
                    "What is wrong with the first wrong step",
                    "Arithmetic: a result does not follow from its operands. Wrong copy: a number \
                     or statement is not the question’s or an earlier step’s. Logic: the step \
                     does not follow. Conclusion: the steps hold, the answer is another. \
                     Repetition and unfinished: the chain loops or breaks off.",
                ),
                keys(),
                &overview,
                " first wrong steps",
            ),
            evidence: evidence(&models),
            models: models
                .iter()
                .enumerate()
                .map(|(index, (name, chains))| KindsView::new(index, name, chains))
                .collect(),
        })
    }
}

impl KindsView {
    fn new(index: usize, name: &str, chains: &ChainQuality) -> Self {
        let groups: [(&str, &str, &[ErrorGroup]); 3] = [
            ("domain", "by domain", &chains.by_domain),
            ("level", "by difficulty", &chains.by_level),
            ("bloom", "by level of Bloom’s taxonomy", &chains.by_bloom),
        ];
        let charts = groups
            .into_iter()
            .filter(|(.., groups)| !groups.is_empty())
            .map(|(key, title, groups)| {
                let words = Words::new(
                    format!("kinds-{key}-{index}"),
                    format!("{name}: errors {title}"),
                    "A whole bar is all replies of the group; what is coloured has a first wrong \
                     step.",
                );
                let rows: Vec<Counts> = groups
                    .iter()
                    .map(|group| counts(group.name.clone(), &group.kinds, Some(group.replies)))
                    .collect();
                Stack::new(words, keys(), &rows, " wrong")
            })
            .collect();
        Self { name: name.to_owned(), charts }
    }
}

fn keys() -> Vec<Key> {
    KINDS
        .into_iter()
        .enumerate()
        .map(|(index, kind)| Key {
            name: format::error_kind(kind).to_owned(),
            style: format!("kind-{index}"),
        })
        .collect()
}

fn counts(name: String, kinds: &BTreeMap<ErrorKind, u64>, whole: Option<u64>) -> Counts {
    let count = |kind: &ErrorKind| kinds.get(kind).copied().unwrap_or(0);
    Counts { name, parts: KINDS.iter().map(count).collect(), whole }
}

fn evidence(models: &[(&str, &ChainQuality)]) -> Table {
    let mut table =
        Table::new("What tells that the step is wrong", &["Model", "evidence", "chains"]);
    for (name, chains) in models {
        table.rows.extend(chains.evidence.iter().map(|(evidence, count)| {
            vec![(*name).to_owned(), format::evidence(*evidence).to_owned(), count.to_string()]
        }));
    }
    table
}
