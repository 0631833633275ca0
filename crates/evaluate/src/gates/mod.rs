//! What evaluated models must reach for a pipeline to go on, and the last result that did.
//!
//! [`Gate`](crate::Gate) is `quantize`'s own, on two models in memory; these gates read finished
//! evaluations. Reading order: [`config`] (the thresholds), [`check`] (evaluations held against
//! them), `advice` (how to go on), [`last_good`] (what is kept).

mod advice;
pub mod check;
pub mod config;
pub mod last_good;

pub use check::{Gates, Held};
pub use config::{GatesConfig, Rule, Thresholds};
pub use last_good::LastGood;
