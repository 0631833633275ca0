//! What `--adapter` names: a PEFT folder, or a version of an adapter in a registry.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use limbeck_lora::registry::{Address, BaseIdentity, Registry};

use crate::cli::UsageError;

/// The folders of adapters for the model in `model`.
///
/// With a registry, what reads as an address (`domain/medical@candidate`) is one, and is
/// refused where it belongs to another base; anything else is a folder, and so is an
/// address written as a path (`./domain/medical`). A name before it (`NAME=REF`) stays.
pub(crate) fn folders(
    model: &Path,
    adapters: &[PathBuf],
    registry: Option<&Path>,
) -> Result<Vec<PathBuf>> {
    let registry = registry.map(Registry::open).transpose()?;
    let mut base = None;
    let mut folders = Vec::with_capacity(adapters.len());
    for adapter in adapters {
        let Some((prefix, address)) = parse(adapter) else {
            folders.push(adapter.clone());
            continue;
        };
        let Some(registry) = &registry else {
            if adapter.exists() {
                folders.push(adapter.clone());
                continue;
            }
            return Err(UsageError {
                message: format!(
                    "adapter {}: there is no such folder, and no registry to look for it in",
                    adapter.display()
                ),
                hint: "add --registry DIR, or check the folder's path".to_owned(),
            }
            .into());
        };
        let found = registry.resolve(&address).with_context(|| format!("adapter {address}"))?;
        // Hashing the model takes long, so it is done once and only where it is asked for.
        if base.is_none() {
            let context = || format!("model {}", model.display());
            base = Some(BaseIdentity::of(model).with_context(context)?);
        }
        if let Some(base) = &base {
            found.manifest.base.check(&address.to_string(), base, model)?;
        }
        tracing::info!("adapter {address} is {}", found.hash);
        folders.push(match prefix {
            "" => found.folder,
            name => format!("{name}{}", found.folder.display()).into(),
        });
    }
    Ok(folders)
}

/// The address in an argument, and what stands before it, up to `=`.
fn parse(adapter: &Path) -> Option<(&str, Address)> {
    let text = adapter.to_str()?;
    let start = text.find('=').map_or(0, |place| place + 1);
    let (prefix, address) = text.split_at(start);
    Some((prefix, address.parse().ok()?))
}
