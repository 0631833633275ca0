//! Cleaning: texts put in order, unwanted records and repeats removed, benchmarks kept out.
//!
//! [`clean()`] reads its source twice. The first pass tidies and filters each record and
//! takes its fingerprint; then repeats are found; the second pass hands on what stays.
//! Records come out in their order, and neither they nor the report depend on the number
//! of threads or on the memory budget.

mod benchmark;
pub mod config;
mod decontaminate;
mod duplicate;
pub mod grammar;
mod group;
mod language;
mod length;
mod minhash;
mod repetition;
pub mod report;
pub mod scrub;
pub mod source;
mod spill;
mod text;
pub(crate) mod token;

use std::io;
use std::sync::mpsc;
use std::thread;

use rayon::prelude::*;

pub use config::{CleanConfig, DuplicateScope, UnicodeForm};
pub use grammar::GrammarKind;
pub(crate) use language::may_be_english;
pub use report::{BenchmarkReport, CleanReport, Reason, Removed};
pub use scrub::PiiKind;
pub use source::{JsonlSource, RecordSource, RecordStream};

use crate::error::{Error, Result};
use crate::label::Label;
use crate::record::CotRecord;
use benchmark::Benchmark;
use decontaminate::{Decontaminator, Overlap};
use duplicate::{DuplicateSearch, Fingerprint};
use group::Bits;
use scrub::ScrubCounts;
use token::text_hash;

/// Records of a batch, at most.
const BATCH_RECORDS: usize = 1024;
/// Bytes of text of a batch, at most, but for its last record: chains can be very long.
const BATCH_BYTES: usize = 4 << 20;

/// Cleans the records of a source. Those that stay go to `sink`, in their order; those
/// that were removed to `removed_sink`: first what the filters removed, then the repeats,
/// each in their order.
///
/// # Errors
/// An impossible configuration, a benchmark or record that cannot be read, a source that
/// gave other records when it was opened again, no room for temporary files, or what a
/// sink returned.
pub fn clean(
    source: &(impl RecordSource + ?Sized),
    config: &CleanConfig,
    mut sink: impl FnMut(CotRecord) -> Result<()>,
    mut removed_sink: impl FnMut(Removed) -> Result<()>,
) -> Result<CleanReport> {
    config.validate()?;
    let benchmarks =
        config.benchmarks.iter().map(|path| Benchmark::read(path)).collect::<Result<Vec<_>>>()?;
    let index = Decontaminator::new(&benchmarks, config);
    let mut report = CleanReport {
        benchmarks: benchmarks
            .iter()
            .map(|benchmark| BenchmarkReport {
                name: benchmark.name.clone(),
                num_items: benchmark.items.len() as u64,
                ..BenchmarkReport::default()
            })
            .collect(),
        ..CleanReport::default()
    };
    drop(benchmarks);

    let folder_path = config.temp_dir.clone().unwrap_or_else(std::env::temp_dir);
    let temp_error = |source: io::Error| Error::Write { path: folder_path.clone(), source };
    let folder = tempfile::Builder::new()
        .prefix("limbeck-clean-")
        .tempdir_in(&folder_path)
        .map_err(temp_error)?;

    let mut passed = Bits::default();
    let mut search = DuplicateSearch::new(config, folder.path());
    let mut first_ids = 0_u64;
    for_each_batch(source, |batch| {
        let judged: Vec<(String, Judgement)> = batch
            .into_par_iter()
            .map(|record| {
                let id = record.id.clone();
                (id, judge(record, config, &index))
            })
            .collect();
        for (id, judgement) in judged {
            first_ids = text_hash(&id, first_ids);
            report.num_read += 1;
            passed.push(matches!(judgement, Judgement::Passed(_)));
            let (reason, detail) = match judgement {
                Judgement::Passed(fingerprint) => {
                    search.push(&id, &fingerprint).map_err(temp_error)?;
                    continue;
                }
                Judgement::Refused(reason, detail) => (reason, detail),
                Judgement::Overlaps(overlap) => {
                    let benchmark = &mut report.benchmarks[overlap.benchmark];
                    benchmark.num_hits += overlap.num_hits;
                    benchmark.num_removed += 1;
                    (Reason::Contaminated, overlap.detail)
                }
            };
            *report.num_removed.entry(reason).or_default() += 1;
            removed_sink(Removed { id, reason, detail })?;
        }
        Ok(())
    })?;
    drop(index);

    let mut duplicates = search.finish().map_err(temp_error)?;
    let (mut place, mut number) = (0, 0_u32);
    let mut second_ids = 0_u64;
    let mut scrubbed = ScrubCounts::default();
    for_each_batch(source, |batch| {
        let mut kept = Vec::with_capacity(batch.len());
        for record in batch {
            second_ids = text_hash(&record.id, second_ids);
            place += 1;
            if !passed.get(place - 1) {
                continue;
            }
            number += 1;
            let Some((earlier, is_exact)) = duplicates.of(number - 1) else {
                kept.push(record);
                continue;
            };
            let reason = if is_exact { Reason::ExactDuplicate } else { Reason::NearDuplicate };
            *report.num_removed.entry(reason).or_default() += 1;
            let detail = duplicates.id(earlier).map_err(temp_error)?;
            removed_sink(Removed { id: record.id, reason, detail })?;
        }
        let tidied: Vec<(CotRecord, bool, ScrubCounts)> = kept
            .into_par_iter()
            .map(|mut record| {
                let mut counts = ScrubCounts::default();
                let changed = tidy_record(&mut record, config, &mut counts);
                (record, changed, counts)
            })
            .collect();
        for (record, changed, counts) in tidied {
            report.num_kept += 1;
            report.num_changed += u64::from(changed);
            for (total, count) in scrubbed.iter_mut().zip(counts) {
                *total += count;
            }
            sink(record)?;
        }
        Ok(())
    })?;
    if place != passed.len() || first_ids != second_ids {
        return Err(Error::SourceChanged { first: passed.len() as u64, second: place as u64 });
    }
    let counts = PiiKind::ALL.into_iter().zip(scrubbed).filter(|(_, count)| *count > 0);
    report.num_scrubbed = counts.collect();
    Ok(report)
}

/// What the filters say of a record.
enum Judgement {
    Passed(Fingerprint),
    Refused(Reason, String),
    Overlaps(Overlap),
}

fn judge(mut record: CotRecord, config: &CleanConfig, index: &Decontaminator) -> Judgement {
    tidy_record(&mut record, config, &mut ScrubCounts::default());
    if let Some((reason, detail)) = length::length_complaint(&record, config) {
        return Judgement::Refused(reason, detail);
    }
    let texts: Vec<&str> = [record.question.as_str()]
        .into_iter()
        .chain(record.thought_process.iter().map(String::as_str))
        .collect();
    if let Some(detail) = language::unwanted_language(&texts, config) {
        return Judgement::Refused(Reason::Language, detail);
    }
    if let Some(detail) = grammar::grammar_complaint(&record, config) {
        return Judgement::Refused(Reason::Grammar, detail);
    }
    // A generated chain was verified line by line; that a deduction repeats itself is no flaw.
    if record.source.generator.is_none()
        && let Some((reason, detail)) =
            repetition::repetition_complaint(&record.thought_process, config)
    {
        return Judgement::Refused(reason, detail);
    }
    match index.overlap(&record) {
        Some(overlap) => Judgement::Overlaps(overlap),
        None => Judgement::Passed(Fingerprint::of(&record, config)),
    }
}

/// Puts every text of a record in order; whether any changed. Steps stay as many as they
/// were, since labels and checks count them.
fn tidy_record(record: &mut CotRecord, config: &CleanConfig, counts: &mut ScrubCounts) -> bool {
    let mut changed = false;
    let mut put_in_order = |text: &mut String| {
        let before = (text.len(), text_hash(text, 0));
        let tidied = text::tidy(std::mem::take(text), config);
        *text = scrub::scrub(tidied, &config.scrub, counts);
        changed |= before != (text.len(), text_hash(text, 0));
    };
    put_in_order(&mut record.question);
    record.thought_process.iter_mut().for_each(&mut put_in_order);
    put_in_order(&mut record.answer);
    if let Label::Corrected { wrong_thought_process, correction, .. } = &mut record.label {
        wrong_thought_process.iter_mut().for_each(&mut put_in_order);
        put_in_order(correction);
    }
    changed
}

/// Reads a source on a thread of its own, so that the next batch is there when the last is
/// done, and hands on batches in order.
fn for_each_batch(
    source: &(impl RecordSource + ?Sized),
    mut take: impl FnMut(Vec<CotRecord>) -> Result<()>,
) -> Result<()> {
    let mut records = source.open()?;
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel::<Result<Vec<CotRecord>>>(2);
        scope.spawn(move || {
            loop {
                let batch = next_batch(&mut records);
                let is_last = !matches!(&batch, Ok(batch) if !batch.is_empty());
                // The receiver is gone where `take` failed; that error is the one to tell.
                if sender.send(batch).is_err() || is_last {
                    return;
                }
            }
        });
        for batch in receiver {
            take(batch?)?;
        }
        Ok(())
    })
}

fn next_batch(records: &mut RecordStream<'_>) -> Result<Vec<CotRecord>> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    while batch.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
        let Some(record) = records.next().transpose()? else { break };
        let steps: usize = record.thought_process.iter().map(String::len).sum();
        bytes += record.question.len() + steps + record.answer.len();
        batch.push(record);
    }
    Ok(batch)
}
