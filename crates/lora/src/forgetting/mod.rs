//! Learning task after task without losing the ones before.
//!
//! A task is learned by an adapter, which is then absorbed: merged into the weights, kept in
//! float32, and replaced by a new one that begins at ΔW = 0 (Luo et al. 2026,
//! arXiv:2602.17559). What holds the model where it was is therefore always a penalty on the
//! update ΔW = s·BA of the adapter in training, never on A and B: the same ΔW has many A and
//! B, and a penalty that tells them apart depends on which the optimiser happened to take.
//!
//! Reading order: [`probe`] hands out what goes into a projection and the gradient that comes
//! back to it, [`fisher`] makes of them how much each weight matters to a task, [`update`]
//! names the factors of ΔW, [`penalty`] adds terms to a loss, [`ewc`] and [`orthogonal`] are
//! two of them, [`replay`] mixes earlier records in, and [`metrics`] says what was forgotten.

pub mod ewc;
pub mod fisher;
pub mod metrics;
pub mod orthogonal;
pub mod penalty;
pub mod probe;
pub mod replay;
pub mod update;

#[cfg(test)]
mod fixture;

pub use ewc::{Ewc, EwcConfig};
pub use fisher::{Fisher, FisherKind, Importance};
pub use metrics::ScoreMatrix;
pub use orthogonal::{Orthogonal, OrthogonalConfig, Subspaces};
pub use penalty::{Penalised, Penalty};
pub use replay::ReplayConfig;
pub use update::LowRankUpdate;
