//! Chain-of-thought records: generators, checkers, splits and files; no libtorch.
//!
//! [`CotRecord`] is the contract between stages. [`generate()`] makes one from a family, a
//! level, a seed and an index; [`check_chain`] and [`check_reply`] judge chains from
//! their text alone; [`build_splits`] makes a data set whose splits share no problem;
//! [`read_jsonl`] and [`write_jsonl`] keep records in files.

pub mod error;
mod field;

pub mod jsonl;
pub mod label;
pub mod record;

pub mod language;
mod rng;

pub mod check;
pub mod config;
pub mod dataset;
pub mod family;
pub mod generate;
mod problem;
pub mod split;

pub use check::{
    AnswerVerdict, ChainCheck, ReplyCheck, StepVerdict, answers_equal, check_chain, check_reply,
    solve,
};
pub use config::DataConfig;
pub use dataset::{CellReport, SplitReport, Splits, build_splits};
pub use error::{ConfigError, Error, ErrorKind, FieldError, Result};
pub use family::Family;
pub use generate::{Recipe, Shard, generate, generate_many, signature};
pub use jsonl::{read_jsonl, write_jsonl};
pub use label::Label;
pub use language::Language;
pub use record::{Checks, CotRecord, Source};
pub use split::{Split, SplitFractions, split_of};
