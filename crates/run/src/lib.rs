//! What every stage needs around its work, without libtorch: exit codes and hints,
//! files and folders that appear whole or not at all, hashes and manifests, typed
//! configuration, metrics that TensorBoard reads, and progress.
//!
//! The orchestrator (`xtask`) builds on this crate alone, because it must run before
//! libtorch is there.

mod atomic_file;
pub mod config;
mod config_location;
mod crc32c;
mod error;
pub mod events;
mod exit;
mod hardware;
mod hash;
mod manifest;
mod memory;
mod metrics;
mod output_dir;
mod progress;

pub use atomic_file::{AtomicFile, write_file};
pub use error::{Error, Result};
pub use exit::{Diagnose, Exit};
pub use hardware::hardware;
pub use hash::{
    digest, sha256_bytes, sha256_file, sha256_files, sha256_files_as_recorded, sha256_path,
};
pub use manifest::Manifest;
pub use memory::{
    available_memory_bytes, peak_memory_bytes, resident_memory_bytes, total_memory_bytes,
};
pub use metrics::MetricsWriter;
pub use output_dir::OutputDir;
pub use progress::{Progress, format_duration};
