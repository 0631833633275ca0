//! Chain-of-thought records: generators, checkers, splits and files; no libtorch.
//!
//! [`CotRecord`] is the contract between stages. [`generate`] makes one from a family, a
//! level, a seed and an index; [`check_chain`] and [`check_reply`] judge chains from
//! their text alone; [`read_jsonl`] and [`write_jsonl`] keep records in files.

pub mod error;
mod field;

pub mod jsonl;
pub mod label;
pub mod record;

mod rng;
mod words;

mod arithmetic;
mod logic;
mod spatial;

pub mod check;
pub mod generate;
pub mod problem;

pub use check::{
    AnswerVerdict, ChainCheck, ReplyCheck, StepVerdict, answers_equal, check_chain, check_reply,
};
pub use error::{ConfigError, Error, ErrorKind, FieldError, Result};
pub use generate::{Shard, generate, generate_many, signature};
pub use jsonl::{read_jsonl, write_jsonl};
pub use label::Label;
pub use problem::Family;
pub use record::{Checks, CotRecord, Source};
