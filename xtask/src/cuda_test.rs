//! `cuda-test`: the tests that run on a device of the caller's choice, on the first GPU.

use anyhow::Result;
use limbeck_run::Exit;

use crate::failure::Failure;
use crate::workspace::Workspace;
use crate::{gpu, setup, test};

/// Runs the tests whose names hold `cuda`, ignored ones too.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let names = gpu::names();
    let Some(first) = names.first() else {
        return Err(Failure::new(
            Exit::Missing,
            "no CUDA device on this machine: nothing was tested",
        )
        .into());
    };
    eprintln!("testing on {first}");
    setup::ensure(workspace)?;
    test::run_cargo(
        workspace,
        "CUDA tests",
        &["--", "--include-ignored", "cuda"],
        &[("LIMBECK_TEST_DEVICE", "cuda:0")],
    )
}
