//! Where the repository, its target folder and the tools are.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::failure::Failure;

/// The repository this program works on.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace that cargo runs this program from.
    pub(crate) fn find() -> Result<Self> {
        let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).ok_or_else(|| {
            Failure::new(limbeck_run::Exit::Usage, "CARGO_MANIFEST_DIR is not set")
                .hint("run this program as: cargo xtask")
        })?;
        let root = package.parent().context("the package has no parent folder")?.to_owned();
        Ok(Self { root })
    }

    /// One at a folder of the caller's choice.
    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The repository's root folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path of the repository, from one relative to its root.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// The link to libtorch that `.cargo/config.toml` points `LIBTORCH` to.
    pub(crate) fn libtorch_link(&self) -> PathBuf {
        self.path(".libtorch")
    }

    /// The user's own `LIBTORCH`. Cargo sets the variable too, for this program as for any
    /// other that it runs; that value is not the user's.
    pub(crate) fn user_libtorch(&self) -> Option<PathBuf> {
        let value = PathBuf::from(env::var_os("LIBTORCH")?);
        (!value.as_os_str().is_empty() && value != self.libtorch_link()).then_some(value)
    }

    /// A cargo command in the repository, without what cargo added to our environment.
    pub(crate) fn cargo(&self) -> Command {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(&self.root);
        if self.user_libtorch().is_none() {
            command.env_remove("LIBTORCH");
        }
        // Build scripts that watch these would run again for nothing.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// What `cargo metadata --no-deps` says of the workspace.
    pub(crate) fn metadata(&self) -> Result<Value> {
        let output = self
            .cargo()
            .args(["metadata", "--no-deps", "--format-version=1"])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        if !output.status.success() {
            return Err(Failure::of_child("cargo metadata", output.status).into());
        }
        serde_json::from_slice(&output.stdout).context("cargo metadata wrote no JSON")
    }

    /// The folder that cargo builds into.
    pub(crate) fn target_folder(&self) -> Result<PathBuf> {
        let metadata = self.metadata()?;
        let folder = metadata["target_directory"].as_str().context("no target directory")?;
        Ok(PathBuf::from(folder))
    }

    /// The commit that is checked out, with `-dirty` where files were changed; `None` in a
    /// copy without history.
    pub(crate) fn commit(&self) -> Option<String> {
        let mut git = Command::new("git");
        git.current_dir(&self.root).args([
            "describe",
            "--always",
            "--dirty",
            "--abbrev=40",
            "--exclude=*",
        ]);
        let output = git.stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    }

    /// Where the `limbeck` program is, or will be when it is built.
    pub(crate) fn limbeck(&self) -> Result<PathBuf> {
        let name = format!("limbeck{}", env::consts::EXE_SUFFIX);
        Ok(self.target_folder()?.join("release").join(name))
    }
}
