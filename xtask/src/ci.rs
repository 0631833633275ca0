//! `ci`: everything that must hold of a commit.

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{check, pipeline, test};

/// Checks, tests and the smoke pipeline; the first that fails ends it.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    check::run(workspace)?;
    test::run(workspace, &test::Args::default())?;
    pipeline::run(workspace, &pipeline::Args::of_file("configs/smoke.toml"))
}
