//! The link `.libtorch` in the repository's root.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Result;
use limbeck_run::{Error, Exit};

use crate::child;
use crate::failure::Failure;
use crate::workspace::Workspace;

/// Makes `.libtorch` a link to the folder. Returns whether anything changed.
pub(crate) fn point_to(workspace: &Workspace, folder: &Path) -> Result<bool> {
    let link = workspace.libtorch_link();
    let folder = std::path::absolute(folder).map_err(|source| Error::read(folder, source))?;
    let previous = match fs::read_link(&link) {
        Ok(target) if target == folder => return Ok(false),
        Ok(target) => Some(target),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(_) => {
            return Err(Failure::new(Exit::Failed, format!("{} is not a link", link.display()))
                .hint("move it away: cargo xtask setup makes it a link to libtorch")
                .into());
        }
    };
    replace(&link, &folder).map_err(|source| Error::write(&link, source))?;
    // The link's name stays, so the build goes on with what is behind it, but whether it
    // links CUDA was decided by the libraries that were there.
    let has_cuda = |folder: &Path| folder.join("lib/libtorch_cuda.so").is_file();
    if previous
        .is_some_and(|previous| !previous.is_dir() || has_cuda(&previous) != has_cuda(&folder))
    {
        forget_build(workspace)?;
    }
    Ok(true)
}

/// Cargo sees only that the link's name stayed the same.
fn forget_build(workspace: &Workspace) -> Result<()> {
    if !workspace.path("Cargo.toml").is_file() {
        return Ok(());
    }
    eprintln!("another libtorch than before: its bindings will be built again");
    let mut clean = workspace.cargo();
    clean.args(["clean", "--quiet", "--release", "--package", "torch-sys"]);
    child::run_aside("cargo clean", &mut clean)
}

#[cfg(unix)]
fn replace(link: &Path, target: &Path) -> std::io::Result<()> {
    let temporary = link.with_extension(std::process::id().to_string());
    std::os::unix::fs::symlink(target, &temporary)?;
    fs::rename(&temporary, link)
}

#[cfg(windows)]
fn replace(link: &Path, target: &Path) -> std::io::Result<()> {
    if link.exists() {
        fs::remove_dir(link)?;
    }
    std::os::windows::fs::symlink_dir(target, link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn the_link_follows_the_choice() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let workspace = Workspace::at(root);
        let (first, second) = (root.join("first"), root.join("second"));
        assert!(point_to(&workspace, &first).unwrap());
        assert!(!point_to(&workspace, &first).unwrap());
        assert!(point_to(&workspace, &second).unwrap());
        assert_eq!(fs::read_link(root.join(".libtorch")).unwrap(), second);
        assert_eq!(fs::read_dir(root).unwrap().count(), 1);

        fs::remove_file(root.join(".libtorch")).unwrap();
        fs::create_dir(root.join(".libtorch")).unwrap();
        let error = point_to(&workspace, &first).unwrap_err();
        assert!(error.to_string().ends_with("is not a link"), "{error}");
    }
}
