//! Low-rank adapters (LoRA, Hu et al. 2021, arXiv:2106.09685) in PEFT's file format:
//! training, loading, saving, merging.
//!
//! An adapter replaces chosen projections of a decoder in place by
//! `y = base(x) + s·B(A(x))`. The base stays as it is and frozen; taking the adapter off
//! hands the same tensors back.
//!
//! Reading order: [`scalar`] holds the numbers with an invariant, [`target`] says which
//! modules, [`config`] is PEFT's `adapter_config.json`, [`weights`] a folder in memory;
//! [`layer`] is the adapted projection (with DoRA's `magnitude`), [`embedding`] the adapted
//! embedding, [`saved`] a module kept whole, [`pissa`] where an adapter may begin; [`adapter`]
//! is all of them on a decoder, [`mod@merge`] folds them into the weights, [`portable`] makes
//! them the same to every reader, [`mod@combine`] makes one of several; [`train_config`] is
//! the pipeline's `[lora]` table, [`frozen_head`] what is minimised and [`mod@train`] the
//! training run.
//!
//! Beside these, [`tiers`] runs several adapters on one decoder, chosen by each request;
//! [`registry`] keeps adapters on disk by content, under names with a champion and a
//! candidate; [`forgetting`] is for task after task.

pub mod adapter;
pub mod combine;
pub mod config;
pub mod embedding;
pub mod error;
pub mod forgetting;
pub mod frozen_head;
pub mod layer;
mod magnitude;
pub mod merge;
pub mod pissa;
pub mod portable;
pub mod registry;
pub mod saved;
pub mod scalar;
pub mod target;
pub mod tiers;
pub mod train;
pub mod train_config;
pub mod weights;

pub use adapter::{Adapter, TrainableShare};
pub use combine::{CombineConfig, CombineMethod, combine};
pub use config::{AdapterConfig, Init};
pub use embedding::LoraEmbedding;
pub use error::{Error, Result};
pub use frozen_head::FrozenHeadObjective;
pub use layer::LoraLinear;
pub use merge::{MergeGate, MergeReport, merge};
pub use scalar::{Alpha, Rank};
pub use target::TargetModules;
pub use tiers::{Stack, Tier, Tiers};
pub use train::train;
pub use train_config::{BaseFormat, LoraConfig};
pub use weights::{AdapterWeights, ModuleWeights, SavedModule};
