//! Chains counted: how many end as they should, what holds in them, and where they go wrong.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::f1::{Located, StepF1};
use super::input::Entry;
use super::text::ChainReport;
use super::{ErrorKind, Evidence};
use crate::columns;
use crate::sample::Step;
use crate::statistics::Proportion;

/// Steps from this one on share a row of the table, from 0.
const LATE: usize = 9;

/// Breakpoints of a domain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainBreakpoints {
    /// Chains.
    pub chains: u64,
    /// Chains with a breakpoint, by its kind.
    pub kinds: BTreeMap<ErrorKind, u64>,
}

/// How well breakpoints tell wrong chains from right ones, where nothing of the answer was given
/// away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detection {
    /// Wrong chains that have one.
    pub recall: Proportion,
    /// Chains with one that are wrong.
    pub precision: Proportion,
    /// Right chains that have one.
    pub false_alarms: Proportion,
}

/// Figures of a set of chains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainSummary {
    /// Chains.
    pub chains: u64,
    /// Chains that are closed, not cut, do not repeat themselves and end in an answer.
    pub completion: Proportion,
    /// Of the chains with an answer and a conclusion that can be read, those where both agree.
    pub consistency: Proportion,
    /// Chains that end in a loop.
    pub repeating: Proportion,
    /// Of the steps that can be checked, those that hold.
    pub step_validity: Proportion,
    /// Steps that cannot be checked.
    pub unchecked_steps: u64,
    /// Of the chains with a right answer, those with a step that does not hold.
    pub right_with_wrong_step: Proportion,
    /// Breakpoints by step, from 0.
    pub by_step: BTreeMap<usize, u64>,
    /// Breakpoints by kind and evidence.
    pub by_kind: BTreeMap<ErrorKind, BTreeMap<Evidence, u64>>,
    /// By domain; without a name those of no known domain.
    pub by_domain: BTreeMap<String, DomainBreakpoints>,
    /// Against the labels of steps, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub f1: Option<StepF1>,
    /// Against whether the answer is right, of chains without labels of steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection: Option<Detection>,
}

/// A chain with its reports.
#[derive(Debug, Clone, Copy)]
pub struct Analyzed<'a> {
    /// The chain.
    pub entry: &'a Entry,
    /// What is thought of it.
    pub report: &'a ChainReport,
    /// Whether something is found without regard to its answer.
    pub flagged_blind: bool,
}

impl ChainSummary {
    /// Counts chains.
    pub fn of(chains: &[Analyzed<'_>]) -> Self {
        let of = |holds: &dyn Fn(&Analyzed<'_>) -> bool| Proportion::of(chains.iter().map(holds));
        let readable = chains.iter().filter(|chain| {
            chain.report.conclusion.is_some() && !chain.entry.answer.trim().is_empty()
        });
        let right = chains.iter().filter(|chain| {
            chain.report.correct == Some(true) || chain.entry.correct == Some(true)
        });
        let has_wrong = |chain: &Analyzed<'_>| {
            chain.report.steps.iter().any(|step| step.verdict == Step::Wrong)
        };
        let steps = || chains.iter().flat_map(|chain| &chain.report.steps);
        let checked = steps().filter(|step| step.verdict != Step::Unchecked);
        let labelled: Vec<Located> = chains
            .iter()
            .filter_map(|chain| {
                let found = chain.report.breakpoint.as_ref();
                Some(Located {
                    label: chain.entry.label?,
                    found: Some(found.map(|found| found.step)),
                    kind: found.map(|found| found.kind),
                })
            })
            .collect();
        let judged: Vec<(bool, bool)> = chains
            .iter()
            .filter(|chain| chain.entry.label.is_none())
            .filter_map(|chain| Some((chain.flagged_blind, !chain.entry.correct?)))
            .collect();
        let mut summary = Self {
            chains: chains.len() as u64,
            completion: of(&|chain| chain.report.complete(&chain.entry.answer)),
            consistency: Proportion::of(readable.map(|chain| chain.report.consistent)),
            repeating: of(&|chain| chain.report.repeating),
            step_validity: Proportion::of(checked.map(|step| step.verdict == Step::Ok)),
            unchecked_steps: steps().filter(|step| step.verdict == Step::Unchecked).count() as u64,
            right_with_wrong_step: Proportion::of(right.map(has_wrong)),
            by_step: BTreeMap::new(),
            by_kind: BTreeMap::new(),
            by_domain: BTreeMap::new(),
            f1: (!labelled.is_empty()).then(|| StepF1::of(&labelled)),
            detection: Detection::of(&judged),
        };
        for chain in chains {
            let domain = summary.by_domain.entry(chain.entry.domain.clone()).or_default();
            domain.chains += 1;
            if let Some(found) = &chain.report.breakpoint {
                *domain.kinds.entry(found.kind).or_default() += 1;
                *summary.by_step.entry(found.step).or_default() += 1;
                let kind = summary.by_kind.entry(found.kind).or_default();
                *kind.entry(found.evidence).or_default() += 1;
            }
        }
        summary
    }

    /// The figures as tables for a terminal.
    pub fn lines(&self) -> Vec<String> {
        let mut rows = vec![vec!["chains".to_owned(), self.chains.to_string(), String::new()]];
        let mut rate = |name: &str, proportion: &Proportion| rows.push(rate(name, proportion));
        rate("complete", &self.completion);
        rate("answer follows", &self.consistency);
        rate("steps hold, of those checked", &self.step_validity);
        rate("repeating", &self.repeating);
        rate("right answer, wrong step", &self.right_with_wrong_step);
        if let Some(detection) = &self.detection {
            rate("wrong chains flagged", &detection.recall);
            rate("flagged chains wrong", &detection.precision);
            rate("right chains flagged", &detection.false_alarms);
        }
        if let Some(f1) = &self.f1 {
            rate("first wrong step found", &f1.erroneous);
            rate("right chains passed", &f1.correct);
            rows.push(vec!["F1".to_owned(), format!("{:.3}", f1.f1), String::new()]);
        }
        let mut lines = table(["", "", "95 %, of"], &rows);
        lines.extend(self.breakpoint_tables());
        if let Some(f1) = &self.f1 {
            let mut rows: Vec<Vec<String>> = f1
                .offsets
                .iter()
                .map(|(offset, count)| {
                    let name = match offset {
                        0 => "at the label".to_owned(),
                        offset => format!("{offset:+} steps"),
                    };
                    vec![name, count.to_string()]
                })
                .collect();
            rows.push(vec!["missed".to_owned(), f1.missed.to_string()]);
            rows.push(vec!["false alarms".to_owned(), f1.false_alarms.to_string()]);
            lines.push(String::new());
            lines.extend(table(["found", "chains"], &rows));
        }
        lines
    }

    fn breakpoint_tables(&self) -> Vec<String> {
        let kinds: Vec<ErrorKind> = self.by_kind.keys().copied().collect();
        if kinds.is_empty() {
            return Vec::new();
        }
        let mut steps: BTreeMap<usize, u64> = BTreeMap::new();
        for (step, count) in &self.by_step {
            *steps.entry((*step).min(LATE)).or_default() += count;
        }
        let total: u64 = steps.values().sum();
        let rows: Vec<Vec<String>> = steps
            .into_iter()
            .map(|(step, count)| {
                let later = if step == LATE { " and later" } else { "" };
                let share = 100.0 * count as f64 / total as f64;
                vec![
                    format!("step {}{later}", step + 1),
                    count.to_string(),
                    format!("{share:.1} %"),
                ]
            })
            .collect();
        let mut lines = vec![String::new()];
        lines.extend(table(["goes wrong at", "chains", ""], &rows));
        let headings: Vec<String> = ["domain".to_owned(), "chains".to_owned()]
            .into_iter()
            .chain(kinds.iter().map(|kind| kind.name().to_owned()))
            .collect();
        let mut rows = Vec::new();
        for (domain, found) in &self.by_domain {
            let name = if domain.is_empty() { "(none)" } else { domain };
            let mut row = vec![name.to_owned(), found.chains.to_string()];
            row.extend(kinds.iter().map(|kind| found.kinds.get(kind).unwrap_or(&0).to_string()));
            rows.push(row);
        }
        if rows.len() > 1 {
            let mut row = vec!["all".to_owned(), self.chains.to_string()];
            row.extend(self.by_kind.values().map(|kind| kind.values().sum::<u64>().to_string()));
            rows.push(row);
        }
        lines.push(String::new());
        lines.extend(columns::text(&headings, &rows));
        lines
    }
}

impl Detection {
    /// Of pairs: whether a chain has a breakpoint, and whether it is wrong.
    fn of(chains: &[(bool, bool)]) -> Option<Self> {
        let share = |of: fn(&(bool, bool)) -> bool, which: fn(&(bool, bool)) -> bool| {
            Proportion::of(chains.iter().filter(|chain| of(chain)).map(which))
        };
        (!chains.is_empty()).then(|| Self {
            recall: share(|(_, wrong)| *wrong, |(flagged, _)| *flagged),
            precision: share(|(flagged, _)| *flagged, |(_, wrong)| *wrong),
            false_alarms: share(|(_, wrong)| !wrong, |(flagged, _)| *flagged),
        })
    }
}

fn rate(name: &str, proportion: &Proportion) -> Vec<String> {
    let Proportion { n, value, low, high, .. } = proportion;
    if *n == 0 {
        return vec![name.to_owned(), "–".to_owned(), String::new()];
    }
    vec![
        name.to_owned(),
        format!("{:.1} %", 100.0 * value),
        format!("{:.1}–{:.1}, {n}", 100.0 * low, 100.0 * high),
    ]
}

fn table<const N: usize>(headings: [&str; N], rows: &[Vec<String>]) -> Vec<String> {
    columns::text(&headings.map(str::to_owned), rows)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entries(values: &[serde_json::Value]) -> Vec<Entry> {
        let read = |value: &serde_json::Value| {
            Entry::read(value.as_object().unwrap().clone(), "x").unwrap().remove(0)
        };
        values.iter().map(read).collect()
    }

    fn summary(entries: &[Entry]) -> ChainSummary {
        let reports: Vec<(ChainReport, ChainReport)> =
            entries.iter().map(|entry| (entry.analyze(false), entry.analyze(true))).collect();
        let chains: Vec<Analyzed<'_>> = entries
            .iter()
            .zip(&reports)
            .map(|(entry, (report, blind))| Analyzed {
                entry,
                report,
                flagged_blind: blind.breakpoint.is_some(),
            })
            .collect();
        ChainSummary::of(&chains)
    }

    #[test]
    fn chains_are_counted_by_what_they_are() {
        let chain = |text: &str, is_correct: bool| {
            json!({"question": "2 and 3, doubled?", "domain": "sums", "text": text,
                "is_correct": is_correct})
        };
        let found = summary(&entries(&[
            chain("2+3=5\n5*2=10\nA: 10", true),
            chain("2+3=5\n5*2=10.5\nA: 10", true),
            chain("2+3=6\n6*2=12\nA: 12", false),
            chain("2*3=6\n6*2=12\nA: 12", false),
            chain("2+3=5\n5*2=10\nA: 11", false),
            chain("<think>\n2+3=5\nhm, and then again\n", false),
        ]));
        let rates = |proportion: Proportion| (proportion.successes, proportion.n);
        assert_eq!(found.chains, 6);
        assert_eq!(rates(found.completion), (5, 6));
        assert_eq!(rates(found.consistency), (3, 5));
        assert_eq!(rates(found.step_validity), (9, 11));
        assert_eq!(found.unchecked_steps, 1);
        assert_eq!(rates(found.right_with_wrong_step), (1, 2));
        assert_eq!(found.by_step, [(0, 1), (1, 3)].into());
        assert_eq!(found.by_domain["sums"].kinds[&ErrorKind::Arithmetic], 2);
        assert_eq!(found.by_kind[&ErrorKind::Unfinished], [(Evidence::Form, 1)].into());
        let detection = found.detection.as_ref().unwrap();
        assert_eq!(rates(detection.recall), (3, 4));
        assert_eq!(rates(detection.precision), (3, 4));
        assert_eq!(rates(detection.false_alarms), (1, 2));
        assert_eq!(found.f1, None);
        let text = found.lines().join("\n");
        for part in ["83.3 %", "right answer, wrong step", "step 2", "unfinished", "sums"] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn labels_give_an_f1_with_its_confusion() {
        let chain = |steps: [&str; 2], label: i64| {
            json!({"problem": "2 and 3, doubled?", "steps": steps, "label": label,
                "final_answer_correct": label < 0})
        };
        let found = summary(&entries(&[
            chain(["2+3=5", "5*2=10"], -1),
            chain(["2+3=6", "6*2=12"], 0),
            chain(["2*3=6", "6*2=12"], 0),
        ]));
        let f1 = found.f1.as_ref().unwrap();
        assert!((f1.f1 - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(found.detection, None, "labels of steps say more");
        let text = found.lines().join("\n");
        assert!(text.contains("at the label") && text.contains("0.667"), "{text}");
        let empty = summary(&[]);
        assert!(empty.lines().join("\n").contains('–'));
    }
}
