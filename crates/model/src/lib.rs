//! Decoders from Hugging Face folders, with replaceable linears and taps.
//!
//! One generic decoder serves every family: a family's file under `families` turns a
//! `config.json` into a [`DecoderConfig`], and everything else reads only that
//! descriptor. Projections and the embedding are trait objects ([`Linear`], [`Embedding`]), so
//! that low-rank adapters and quantised layers replace them in place
//! ([`Decoder::map_linear`], [`Decoder::map_embedding`]) instead of copying the model.
//!
//! Modules in reading order: [`config`] (the descriptor), `linear`, `embedding`, `norm`, `rope`,
//! `mask`, `attention`, `mlp`, `block`, `decoder`, `block_parts`, `cache`, [`paged`], `taps`, `load`, `init`, `assemble`, `save`, [`gguf`].

mod assemble;
mod attention;
mod block;
mod block_parts;
mod build;
mod cache;
mod cache_slots;
pub mod config;
mod decoder;
mod embedding;
mod error;
mod families;
pub mod gguf;
mod init;
mod input;
mod linear;
mod load;
mod mask;
mod mlp;
mod norm;
pub mod paged;
mod rope;
mod save;
mod single_pass;
mod taps;

pub use block_parts::BlockParts;
pub use cache::KvCache;
pub use cache_slots::CacheDtype;
pub use config::DecoderConfig;
pub use decoder::Decoder;
pub use embedding::{DenseEmbedding, Embedding};
pub use error::{Error, Result};
pub use families::SUPPORTED_MODEL_TYPES;
pub use input::{Attention, Input};
pub use linear::{DenseLinear, Linear};
pub use load::{LinearLoader, LoadOptions};
pub use paged::{PagedCache, PagedPass, PagedSpan};
pub use taps::{Projections, Taps};
