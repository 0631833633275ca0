//! What cleaning removed, and why.

use std::collections::BTreeMap;

use serde::Serialize;

use super::scrub::PiiKind;

/// Why a record was removed. Filters come in this order, so a record that several would
/// remove counts for the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The question or the answer is empty once tidied.
    Empty,
    /// The question is too short or too long.
    QuestionLength,
    /// The chain is too short or too long.
    ChainLength,
    /// The answer is too long.
    AnswerLength,
    /// The chain has too many steps.
    NumSteps,
    /// The text is in a language that was not asked for.
    Language,
    /// The question or the chain has a grammar mistake.
    Grammar,
    /// Too many lines of the chain repeat earlier ones.
    RepeatedLines,
    /// One phrase of 2 to 4 words makes up too much of the chain.
    FrequentPhrase,
    /// Too much of the chain is phrases of 5 to 10 words said before.
    RepeatedPhrases,
    /// The text overlaps a benchmark.
    Contaminated,
    /// An earlier record says the same.
    ExactDuplicate,
    /// An earlier record says nearly the same.
    NearDuplicate,
}

/// A record that was removed; a line of `removed.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Id of the record.
    pub id: String,
    /// Why it was removed.
    pub reason: Reason,
    /// What shows it: a length, the benchmark's item, the id of the record that stays.
    pub detail: String,
}

/// What a benchmark had in common with the records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BenchmarkReport {
    /// Folder and name of the file.
    pub name: String,
    /// Items in the file.
    pub num_items: u64,
    /// N-grams and whole items found in records. Those of several benchmarks count for the
    /// first that has them.
    pub num_hits: u64,
    /// Records removed.
    pub num_removed: u64,
}

/// The outcome of [`clean`](super::clean()).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CleanReport {
    /// Records read.
    pub num_read: u64,
    /// Records handed on.
    pub num_kept: u64,
    /// Records handed on with a text that tidying or scrubbing changed.
    pub num_changed: u64,
    /// Records removed, by reason; together with those kept, all that were read.
    pub num_removed: BTreeMap<Reason, u64>,
    /// Personal data replaced in the records kept, by kind.
    pub num_scrubbed: BTreeMap<PiiKind, u64>,
    /// An entry for each benchmark, in the order of the configuration.
    pub benchmarks: Vec<BenchmarkReport>,
}

impl CleanReport {
    /// Records removed for a reason.
    pub fn removed_for(&self, reason: Reason) -> u64 {
        self.num_removed.get(&reason).copied().unwrap_or(0)
    }
}
