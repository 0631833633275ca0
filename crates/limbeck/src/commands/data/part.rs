//! Parts of the work: shards, and outputs that are there already.

use std::path::Path;

use anyhow::Result;
use limbeck_cot_data::Shard;
use serde_json::json;

use super::conclude;
use crate::cli::PartOptions;

/// The shard that was asked for.
pub(super) fn shard(part: &PartOptions) -> Result<Shard> {
    Ok(part.shard.as_deref().map_or(Ok(Shard::WHOLE), str::parse)?)
}

/// Whether the output need not be made, since it is there; says so.
pub(super) fn is_done(part: &PartOptions, output: &Path, json: bool) -> Result<bool> {
    let is_done = part.resume && output.exists();
    if is_done {
        conclude(&json!({ "resumed": true }), output, json)?;
    }
    Ok(is_done)
}
