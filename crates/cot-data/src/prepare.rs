//! What a data set goes through after its splits were generated: records from files join
//! the training split, which is cleaned and stratified, and wrong chains are made from it.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use crate::clean::{CleanReport, clean};
use crate::config::DataConfig;
use crate::error::Result;
use crate::generate::signature;
use crate::import::records_of;
use crate::input::InputOptions;
use crate::negatives::{Mistake, corrected_record, in_turn, wrong_record};
use crate::record::CotRecord;
use crate::short::shorten_share;
use crate::stratify::{Structure, fill_bloom, fill_difficulty, quartile_cuts};

/// How a training split was prepared.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PrepareReport {
    /// Records from the files of `sources`.
    pub num_from_sources: u64,
    /// Records from there whose problem is one of validation, test or calibration; they are
    /// left out.
    pub num_held_out: u64,
    /// Generated records that are told in short.
    pub num_short: u64,
    /// What cleaning did, where it was asked for.
    pub clean: Option<CleanReport>,
    /// Records whose level of Bloom's taxonomy was told from the text; generated ones have it
    /// by construction.
    pub num_bloom_told: u64,
    /// Training records by level of Bloom's taxonomy.
    pub bloom: BTreeMap<String, u64>,
    /// Training records by difficulty.
    pub difficulty: BTreeMap<u8, u64>,
    /// Wrong chains and corrections by mistake.
    pub negatives: BTreeMap<&'static str, u64>,
}

/// A prepared training split.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Prepared {
    pub(crate) train: Vec<CotRecord>,
    /// Chains with one labelled mistake each, and corrected ones, in turn.
    pub(crate) negatives: Vec<CotRecord>,
    pub(crate) report: PrepareReport,
}

/// Prepares a training split. `held_out` are the signatures of the other splits' problems.
///
/// # Errors
/// A source that cannot be read, or what cleaning refuses.
pub(crate) fn prepare(
    config: &DataConfig,
    generated: Vec<CotRecord>,
    held_out: &HashSet<String>,
) -> Result<Prepared> {
    let mut report = PrepareReport::default();
    let mut read = Vec::new();
    for path in &config.sources {
        for record in records_of(path, &InputOptions::default())? {
            let record = record?;
            report.num_from_sources += 1;
            if held_out.contains(&signature(&record)) {
                report.num_held_out += 1;
            } else {
                read.push(record);
            }
        }
    }
    report.num_bloom_told = read.iter_mut().map(fill_bloom).filter(|told| *told).count() as u64;
    let scores: Vec<f64> = read.iter().map(|record| Structure::of(record).score()).collect();
    if !scores.is_empty() {
        fill_difficulty(&mut read, &quartile_cuts(&scores));
    }
    let (generated, num_short) = shorten_share(generated, config.short_share);
    report.num_short = num_short;
    let mut train = mixed(generated, read);
    if let Some(rules) = &config.clean {
        let mut kept = Vec::with_capacity(train.len());
        let cleaned = clean(
            &train,
            rules,
            |record| {
                kept.push(record);
                Ok(())
            },
            |_| Ok(()),
        )?;
        train = kept;
        report.clean = Some(cleaned);
    }
    for record in &train {
        *report.bloom.entry(record.bloom.clone()).or_default() += 1;
        *report.difficulty.entry(record.difficulty).or_default() += 1;
    }
    let negatives = negatives(config, &train, &mut report.negatives);
    Ok(Prepared { train, negatives, report })
}

/// Both lists in their order, and at any place as much of each as its share, so that any
/// first part of the whole is mixed alike.
fn mixed(first: Vec<CotRecord>, second: Vec<CotRecord>) -> Vec<CotRecord> {
    let (long, total) = (first.len(), first.len() + second.len());
    let mut both = Vec::with_capacity(total);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut taken = 0;
    for place in 0..total {
        // Bresenham's line: the number of the first that should be there by now.
        let due = (place + 1) * long / total.max(1);
        if taken < due {
            both.extend(first.next());
            taken += 1;
        } else {
            both.extend(second.next());
        }
    }
    both
}

/// Wrong chains and corrections in turn, of mistakes in turn, from the first records that
/// give some.
fn negatives(
    config: &DataConfig,
    train: &[CotRecord],
    counts: &mut BTreeMap<&'static str, u64>,
) -> Vec<CotRecord> {
    let mut made = Vec::with_capacity(config.num_negatives);
    for (number, record) in train.iter().enumerate() {
        if made.len() >= config.num_negatives {
            break;
        }
        let make = if made.len() % 2 == 0 { wrong_record } else { corrected_record };
        let found = in_turn(&Mistake::ALL, number, |mistake| make(record, mistake, config.seed));
        if let Some((mistake, record)) = found {
            *counts.entry(mistake.name()).or_default() += 1;
            made.push(record);
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_mixed_evenly_and_keep_their_order() {
        let of = |prefix: &str, count: usize| -> Vec<CotRecord> {
            (0..count)
                .map(|index| CotRecord { id: format!("{prefix}{index}"), ..CotRecord::default() })
                .collect()
        };
        let ids = |records: Vec<CotRecord>| -> Vec<String> {
            records.into_iter().map(|record| record.id).collect()
        };
        assert_eq!(ids(mixed(of("a", 4), of("b", 2))), ["b0", "a0", "a1", "b1", "a2", "a3"]);
        assert_eq!(ids(mixed(of("a", 2), Vec::new())), ["a0", "a1"]);
        assert_eq!(ids(mixed(Vec::new(), of("b", 2))), ["b0", "b1"]);
        assert!(mixed(Vec::new(), Vec::new()).is_empty());
    }
}
