//! Uncertainty: of proportions, of means over problems with several replies, of differences between
//! models on the same problems, and what a difference comes to.
//!
//! Reading order: [`proportion`], [`clustered`](clustered()), [`paired`], `conclusion`,
//! `detectable`, [`pooled`].

mod bootstrap;
mod clustered;
mod conclusion;
mod detectable;
pub(crate) mod normal;
pub mod paired;
pub mod pooled;
pub mod proportion;

pub use clustered::clustered;
pub use conclusion::{Conclusion, conclude};
pub use detectable::{Design, minimum_detectable_difference};
pub use paired::{PairedDifference, holm, mcnemar_exact};
pub use pooled::{PooledAccuracy, PooledDifference};
pub use proportion::{Estimate, Proportion};

#[cfg(test)]
pub(crate) mod tests {
    #[track_caller]
    pub(crate) fn close(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "expected {expected}, found {found}");
    }
}
