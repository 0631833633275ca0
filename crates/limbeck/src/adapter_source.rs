//! What `--adapter` names: a PEFT folder, or a version of an adapter in a registry.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use limbeck_lora::registry::{Address, BaseIdentity, Registry};

use crate::cli::UsageError;

/// The folders of adapters for the model in `model`.
///
/// With a registry, what reads as an address (`domain/medical@candidate`) is one, and is
/// refused where it belongs to another base; anything else is a folder, and so is an
/// address written as a path (`./domain/medical`).
pub(crate) fn folders(
    model: &Path,
    adapters: &[PathBuf],
    registry: Option<&Path>,
) -> Result<Vec<PathBuf>> {
    let registry = registry.map(Registry::open).transpose()?;
    let mut identity = None;
    let mut folders = Vec::with_capacity(adapters.len());
    for adapter in adapters {
        let address: Option<Address> = adapter.to_str().and_then(|text| text.parse().ok());
        let Some(address) = address else {
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
        let context = || format!("adapter {address}");
        let found = registry.resolve(&address).with_context(context)?;
        // Hashing the model takes long, so it is done once and only where it is asked for.
        let base = match identity.take() {
            Some(base) => base,
            None => {
                BaseIdentity::of(model).with_context(|| format!("model {}", model.display()))?
            }
        };
        found.manifest.base.check(&address.to_string(), &base, model)?;
        identity = Some(base);
        tracing::info!("adapter {address} is {}", found.hash);
        folders.push(found.folder);
    }
    Ok(folders)
}
