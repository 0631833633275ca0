//! What `--adapter` names: a PEFT folder, or a version of an adapter in a registry.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use anyhow::{Context as _, Result};
use limbeck_lora::registry::{AdapterManifest, Address, BaseIdentity, Registry};
use limbeck_run::Manifest;

use crate::cli::UsageError;
use crate::stage::Stage;

/// Records which base an adapter is for.
pub(crate) fn record_base(stage: &mut Stage, model: &Path) -> Result<()> {
    let BaseIdentity { weights, tokenizer, .. } = BaseIdentity::of(model)?;
    stage.record_input(BaseIdentity::WEIGHTS, weights);
    if let Some(tokenizer) = tokenizer {
        stage.record_input(BaseIdentity::TOKENIZER, tokenizer);
    }
    Ok(())
}

/// The base that a folder says it is for, where `limbeck lora train` made it or a registry
/// keeps it.
fn recorded_base(adapter: &Path) -> Result<Option<BaseIdentity>> {
    if let Ok(stored) = AdapterManifest::read(adapter) {
        return Ok(Some(stored.base));
    }
    let manifest = Manifest::read(adapter)?;
    Ok(manifest.and_then(|mut manifest| BaseIdentity::take_recorded(&mut manifest.inputs)))
}

/// The folders of adapters for the model in `model`.
///
/// With a registry, what reads as an address (`domain/medical@candidate`) is one; anything
/// else is a folder, and so is an address written as a path (`./domain/medical`). Either is
/// refused where it is known to belong to another base. A name before it (`NAME=REF`) stays.
pub(crate) fn folders(
    model: &Path,
    adapters: &[PathBuf],
    registry: Option<&Path>,
) -> Result<Vec<PathBuf>> {
    let registry = registry.map(Registry::open).transpose()?;
    let mut base = Base { folder: model, identity: None };
    let mut folders = Vec::with_capacity(adapters.len());
    for adapter in adapters {
        let (prefix, rest) = split(adapter);
        let folder = match (Address::from_str(&rest.to_string_lossy()), &registry) {
            (Ok(address), Some(registry)) => {
                let found =
                    registry.resolve(&address).with_context(|| format!("adapter {address}"))?;
                base.check(&found.manifest.base, &address.to_string())?;
                tracing::info!("adapter {address} is {}", found.hash);
                found.folder
            }
            (Ok(_), None) if !rest.exists() => {
                return Err(UsageError {
                    message: format!(
                        "adapter {}: there is no such folder, and no registry to look for it in",
                        rest.display()
                    ),
                    hint: "add --registry DIR, or check the folder's path".to_owned(),
                }
                .into());
            }
            _ => {
                if let Some(recorded) = recorded_base(rest)? {
                    base.check(&recorded, &rest.display().to_string())?;
                }
                rest.to_owned()
            }
        };
        folders.push(match prefix {
            "" => folder,
            name => format!("{name}{}", folder.display()).into(),
        });
    }
    Ok(folders)
}

/// The model that adapters are for. Hashing it takes long, so it is done once and only where
/// there is something to hold it against.
struct Base<'a> {
    folder: &'a Path,
    identity: Option<BaseIdentity>,
}

impl Base<'_> {
    fn check(&mut self, expected: &BaseIdentity, adapter: &str) -> Result<()> {
        let identity = match self.identity.take() {
            Some(identity) => identity,
            None => BaseIdentity::of(self.folder)
                .with_context(|| format!("model {}", self.folder.display()))?,
        };
        expected.check(adapter, self.identity.insert(identity), self.folder)?;
        Ok(())
    }
}

/// What stands before the folder or address in an argument, up to `=`, and that.
fn split(adapter: &Path) -> (&str, &Path) {
    let Some(text) = adapter.to_str().filter(|_| !adapter.exists()) else { return ("", adapter) };
    let start = text.find('=').map_or(0, |place| place + 1);
    let (prefix, rest) = text.split_at(start);
    (prefix, Path::new(rest))
}
