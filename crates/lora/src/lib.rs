//! Low-rank adapters (LoRA, Hu et al. 2021, arXiv:2106.09685) in PEFT's file format:
//! training, loading, saving, merging.
//!
//! An adapter replaces chosen projections of a decoder in place by
//! `y = base(x) + s·B(A(x))`. The base stays as it is and frozen; taking the adapter off
//! hands the same tensors back.
//!
//! Reading order: [`scalar`] holds the numbers with an invariant, [`target`] says which
//! projections, [`config`] is PEFT's `adapter_config.json`, [`layer`] the adapted
//! projection, [`adapter`] all of them together with their file, [`mod@merge`] folds them
//! into the weights, [`train_config`] is the pipeline's `[lora]` table, [`frozen_head`] what is
//! minimised and [`mod@train`] the training run. [`registry`] keeps adapters on disk by
//! content, under names with a champion and a candidate.

pub mod adapter;
pub mod config;
pub mod error;
pub mod frozen_head;
pub mod layer;
pub mod merge;
pub mod registry;
pub mod scalar;
pub mod target;
pub mod train;
pub mod train_config;

pub use adapter::{Adapter, TrainableShare};
pub use config::AdapterConfig;
pub use error::{Error, Result};
pub use frozen_head::FrozenHeadObjective;
pub use layer::LoraLinear;
pub use merge::{MergeGate, MergeReport, merge};
pub use scalar::{Alpha, Rank};
pub use target::TargetModules;
pub use train::train;
pub use train_config::LoraConfig;
