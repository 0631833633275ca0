//! `cuda-test`: the tests that take any device, and the smoke pipeline, on the first GPU.

use anyhow::Result;
use limbeck_run::Exit;

use crate::failure::Failure;
use crate::pipeline;
use crate::workspace::Workspace;
use crate::{gpu, setup, test};

/// The test targets that ask `limbeck_core::test_device` where to run. Each runs on the
/// CPU in `xtask test`.
const TARGETS: [&str; 9] = [
    "parity",
    "engine",
    "training",
    "objective",
    "adapters",
    "determinism",
    "quantized_decoder",
    "evaluation",
    "program",
];

/// Runs the tests of [`TARGETS`] and, if they pass, the smoke pipeline on `cuda:0`.
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
    let arguments: Vec<&str> = TARGETS.iter().flat_map(|target| ["--test", target]).collect();
    let device = [("LIMBECK_TEST_DEVICE", "cuda:0")];
    test::run_cargo(workspace, "CUDA tests", &arguments, &device)?;
    let mut smoke = pipeline::Args::of_file("configs/smoke.toml");
    smoke.overrides = vec![
        "pipeline.device=cuda:0".to_owned(),
        "pipeline.name=smoke-cuda".to_owned(),
        "pipeline.output=runs/smoke-cuda".to_owned(),
    ];
    smoke.fresh = true;
    pipeline::run(workspace, &smoke)
}
