//! What every crate that touches tensors stands on: devices and dtypes, safetensors
//! files and checkpoints, tokenizers and chat templates, seeds.
//!
//! Reading order: [`device`] and [`dtype`] say where and how numbers live,
//! [`tensor_file`] reads one safetensors file, [`checkpoint`] a folder of them,
//! [`tensor_writer`] writes one; [`tokenizer`] and [`chat`] turn conversations into
//! token ids, and [`chat_templates`] are those for base models; [`seed`] derives every random
//! stream of a run from one number; [`mod@dynamic_map`] is the 8-bit code that optimiser and
//! quantisation share. Kernels that libtorch does not have stand on [`elements`], [`lanes`]
//! (vectors in the processor's instructions), [`team`] (libtorch's threads) and [`huge_pages`].

pub mod chat;
pub mod chat_templates;
pub mod checkpoint;
pub mod device;
pub mod dtype;
pub mod dynamic_map;
pub mod elements;
pub mod error;
pub mod huge_pages;
pub mod lanes;
pub mod seed;
pub mod team;
pub mod tensor_file;
pub mod tensor_writer;
pub mod token_bytes;
pub mod tokenizer;
pub mod tokenizer_training;

pub use chat::{ChatTemplate, Message};
pub use checkpoint::Checkpoint;
pub use device::{DeviceSpec, test_device};
pub use dtype::DType;
pub use dynamic_map::dynamic_map;
pub use error::{Error, Result};
pub use tensor_file::{TensorFile, TensorInfo};
pub use tensor_writer::write_tensors;
pub use token_bytes::TokenBytes;
pub use tokenizer::Tokenizer;
