//! Chain-of-thought records: generators, checkers, splits and files; no libtorch.
//!
//! [`CotRecord`] is the contract between stages. [`generate()`] makes one from a family, a
//! level, a seed and an index; [`check_chain`] and [`check_reply`] judge chains from
//! their text alone; [`build_splits`] makes a data set whose splits share no problem;
//! [`read_records`] and [`RecordWriter`] keep records in files.
//!
//! [`import()`] reads the formats of public chain-of-thought data, [`export()`] writes
//! them; what cannot be imported goes into a [`RejectLog`]. A [`Card`] describes the
//! data set that comes out. [`clean()`] removes what should not be trained on;
//! [`stratify`] tells levels and makes orders and samples by them; [`negatives`] makes
//! wrong chains with one labelled mistake, and their corrections; [`augment`] has a model
//! behind an endpoint write chains, and keeps those that hold.

pub mod error;
mod field;
mod partial;

pub mod input;
pub mod jsonl;
pub mod label;
pub mod output;
pub mod record;
pub mod rejects;

pub mod language;
mod rng;

pub mod card;
pub mod check;
pub mod config;
pub mod dataset;
pub mod export;
pub mod family;
pub mod generate;
pub mod import;
pub mod negatives;
pub mod prepare;
mod problem;
pub mod short;
pub mod split;
pub mod variants;

#[cfg(feature = "augment")]
pub mod augment;
pub mod clean;
pub mod stratify;

#[cfg(feature = "augment")]
pub use augment::{AugmentConfig, Augmentation};
pub use card::{Card, CardCounts, Property};
pub use check::{
    AnswerMark, AnswerVerdict, ChainCheck, Equivalence, ExtractedAnswer, Rational, ReplyCheck,
    StepFinding, StepVerdict, answers_equal, check_chain, check_reply, check_steps, equivalence,
    extract_answer, find_equations, solve,
};
pub use clean::{CleanConfig, CleanReport, JsonlSource, RecordSource, Removed, clean};
pub use config::DataConfig;
pub use dataset::{CellReport, SplitReport, Splits, build_splits};
pub use error::{ConfigError, Error, ErrorKind, FieldError, Result};
pub use export::{ExportFormat, ExportOptions, ExportReport, export};
pub use family::Family;
pub use generate::{Recipe, Shard, generate, generate_many, generate_range, signature};
pub use import::{
    Format, ImportOptions, ImportProgress, ImportReport, import, read_records, records_of,
};
pub use input::{At, Container, Fault, InputOptions, Item, ObjectReader, Place};
pub use jsonl::{read_jsonl, write_jsonl};
pub use label::Label;
pub use language::Language;
pub use negatives::{
    Mistake, corrected_record, harvested_correction, harvested_record, wrong_record,
};
pub use output::{ObjectWriter, RecordWriter, write_records};
pub use prepare::PrepareReport;
pub use record::{Checks, CotRecord, Source};
pub use rejects::{Reason, Reject, RejectLog};
pub use short::shortened;
pub use split::{Split, SplitFractions, split_of};
pub use variants::{Variant, variant};
