//! Evaluation of models on chain-of-thought records: quality, chains and cost together,
//! with uncertainty, and comparisons that pair models problem by problem.
//!
//! Modules in reading order: [`config`], [`sample`] (one reply and its verdicts),
//! [`scores`] (replies counted, with intervals), [`cost`], [`evaluation`] (the run and its
//! folder), [`divergence`] (from the model that it was made from) and [`gate`] (what may be
//! lost), [`gates`] (what a pipeline must reach), [`lm_eval`] (the same numbers in lm-eval's shape), [`statistics`], [`report`]
//! (several evaluations side by side, as table and page), [`history`] (runs over time), [`ablation`] (one student trained in
//! several ways).

pub mod ablation;
pub mod attention;
pub mod chain;
pub mod columns;
pub mod config;
pub mod cost;
pub mod divergence;
mod error;
pub mod evaluation;
pub mod fit;
pub mod flow;
mod folder;
pub mod gate;
pub mod gates;
pub mod history;
pub mod lm_eval;
pub mod report;
pub mod sample;
pub mod scorer;
pub mod scores;
pub mod statistics;
pub mod task;

pub use ablation::Ablation;
pub use chain::{Breakpoint, ErrorKind, Evidence};
pub use config::EvaluateConfig;
pub use cost::{Cost, weight_bytes};
pub use divergence::{Compared, Divergence};
pub use error::{Error, Result};
pub use evaluation::{Evaluation, Subject, evaluate, evaluate_replies, evaluate_tasks};
pub use flow::journal::Journal;
pub use flow::replies::Replies;

pub use gate::{Gate, GateConfig};
pub use gates::{Gates, GatesConfig, LastGood};
pub use history::History;
pub use report::{Report, ReportConfig};
pub use sample::Sample;
pub use scorer::Verdict;
pub use scores::{Group, Scores, TaskScores};
pub use statistics::{
    Conclusion, Estimate, PairedDifference, PooledAccuracy, PooledDifference, Proportion,
};
pub use task::Task;
